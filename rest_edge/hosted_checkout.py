"""The payer's pages: the hosted cashier and the result page.

Both show what the core says about the order and nothing that the query string claims. A payer is sent to one place
only: the return address that the merchant gave with the order.
"""

from datetime import UTC, datetime

import falcon.asgi

from core_service.errors import CoreError
from core_service.schema import method_named
from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.checkout_page import order_values
from rest_edge.checkout_texts import TEXTS
from rest_edge.checkout_watch import CheckoutWatches
from rest_edge.core_connection import CoreConnection
from rest_edge.errors import STATUS_BY_FAMILY, retry_after_seconds
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.pages import chosen_language, render, show
from rest_edge.wallets import device_of

PAY_PATH = "/pay/{order_id}"
RETURN_PATH = "/pay/{order_id}/return"
LOGO_PATH = "/pay/{order_id}/logo"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class CheckoutPage:
    """GET /pay/{id}: how to pay while the order can be paid, then what became of it.

    GET /pay/{id}/return is the same page for who comes back from paying.
    """

    def __init__(self, watches: CheckoutWatches, route: str) -> None:
        self._watches = watches
        self._route = route

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, order_id: str
    ) -> None:
        """The page; unknown orders and failures are small HTML pages too."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = self._route
        language = chosen_language(req, resp)
        texts = TEXTS[language]
        try:
            checkout = await self._watches.look(order_id, request)
        except CoreError as error:
            _show_problem(resp, error, language, request.request_id)
            return
        values = order_values(
            checkout,
            texts,
            device_of(req.user_agent or ""),
            is_result=self._route == RETURN_PATH,
            now=datetime.now(UTC),
        )
        page = render("checkout.html", language, texts=texts, **values)
        show(resp, page, language, policy=_POLICY)


class CheckoutLogo:
    """GET /pay/{id}/logo: the merchant's picture; its address changes with it."""

    def __init__(self, core: CoreConnection) -> None:
        self._core = core

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, order_id: str
    ) -> None:
        """A bitmap that the core has looked at, or a JSON error."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = LOGO_PATH
        logo = await self._core.ask(
            method_named("PaymentService.GetCheckoutLogo"),
            payments.GetCheckoutLogoRequest(order_id=order_id),
            request,
        )
        resp.content_type = logo.content_type
        resp.set_header("cache-control", "private, max-age=86400")
        resp.data = logo.content


def _show_problem(
    resp: falcon.asgi.Response, error: CoreError, language: str, request_id: str
) -> None:
    status = STATUS_BY_FAMILY[error.family]
    # What cannot be an order id is an order that does not exist.
    status = 404 if status == 400 else status
    wait = retry_after_seconds(error)
    if wait is not None:
        resp.set_header("retry-after", str(wait))
    problem = "not_found" if status == 404 else "failed"
    page = render(
        "checkout_problem.html",
        language,
        texts=TEXTS[language],
        problem=problem,
        request_id=request_id,
    )
    show(resp, page, language, status, policy=_POLICY)
