"""What the cashier is told of the merchant: its name, logo and return delay."""

from datetime import UTC, datetime

import pytest

from core_service.application import checkout
from core_service.application.merchants import Merchants
from core_service.errors import CoreError
from tests.core_service.admin_setup import service_call
from tests.core_service.shop import LOCAL, Shop
from tests.factories import TEST_BOX
from tests.pictures import png


def test_the_cashier_learns_of_a_new_logo_and_delay_at_once(shop: Shop) -> None:
    order, now = shop.create(LOCAL), datetime.now(UTC)
    before = checkout.look(order.id, now=now)
    assert (before.logo_etag, before.return_delay_seconds) == ("", 5)
    with pytest.raises(CoreError) as none:
        checkout.logo_of(order.id)
    assert none.value.reason == "NOT_FOUND"
    merchants = Merchants(TEST_BOX, [])
    merchants.set_logo(service_call(), shop.merchant_id, png(64, 32), now=now)
    merchants.update(service_call(), shop.merchant_id, {"return_delay_seconds": 12}, now=now)
    after = checkout.look(order.id, now=now)
    assert after.return_delay_seconds == 12
    assert checkout.logo_of(order.id).content == png(64, 32)
    assert checkout.logo_of(order.id).etag == after.logo_etag


def test_an_unknown_order_has_no_logo(shop: Shop) -> None:
    del shop
    with pytest.raises(CoreError) as refusal:
        checkout.logo_of("NP000000000000")
    assert refusal.value.reason == "ORDER_NOT_FOUND"
