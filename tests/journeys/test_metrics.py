"""What an operator watches: every metric that the dashboard and the alert rules use is there, and counts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
_NAME = re.compile(r"\bnovapay_\w+")


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


class Metrics:
    """What the metrics port shows."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"http://127.0.0.1:{stack.metrics_port}/metrics"

    def samples(self) -> list[Any]:
        text = urllib3.request("GET", self._url).data.decode()
        return [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        return sum(
            float(sample.value)
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def metrics(stack: Stack, merchant: Merchant, payer: Payer) -> Metrics:
    """After an order was paid and told, and a provider was asked about another."""
    with Receiver() as receiver:
        order = merchant.create_order("alipay.page", callbackUrl=receiver.url).json["order"]
        assert payer.notify(order).status == 200
        wait_until(lambda: receiver.about(order["id"]), what="the callback")
    other = merchant.create_order("wxpay.native").json["order"]
    merchant.order(other["id"], sync=True)
    found = Metrics(stack)
    wait_until(lambda: found.sum("novapay_callback_attempts_total", outcome="delivered"))
    return found


def test_every_metric_of_dashboard_and_alerts_exists(metrics: Metrics) -> None:
    used = {name for expression in expressions() for name in _NAME.findall(expression)}
    assert used - {sample.name for sample in metrics.samples()} == set()
    assert len(used) > 10


def test_requests_are_counted_by_route_and_rpcs_by_reason(
    metrics: Metrics, merchant: Merchant
) -> None:
    route, method = "/api/payment-orders", "CreatePaymentOrder"

    def counted() -> tuple[float, ...]:
        return (
            metrics.sum("novapay_http_total", route=route, status="200"),
            metrics.sum("novapay_http_total", route=route, status="400"),
            metrics.sum("novapay_http_seconds_count", route=route),
            metrics.sum("novapay_rpc_total", method=method, reason="OK"),
            metrics.sum("novapay_rpc_total", method=method, reason="INVALID_AMOUNT"),
        )

    before = counted()
    assert merchant.create_order().status == 200
    assert merchant.create_order(amount="1.005").code == "INVALID_AMOUNT"
    wait_until(
        lambda: counted() == tuple(a + b for a, b in zip(before, (1, 1, 2, 1, 1), strict=True))
    )


def test_what_tells_us_of_payments_is_counted(metrics: Metrics) -> None:
    assert metrics.sum("novapay_payments_total", learned_by="notification") >= 1
    assert metrics.sum("novapay_provider_calls_total", outcome="200") >= 1
    assert metrics.sum("novapay_database_up") == 1


def test_no_label_names_anybody(metrics: Metrics, merchant: Merchant) -> None:
    text = repr([(sample.name, sample.labels) for sample in metrics.samples()])
    assert merchant.code not in text
    assert "po_" not in text


def test_metrics_are_not_on_the_public_port(stack: Stack) -> None:
    assert stack.http.request("GET", "/metrics").status == 404


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
            assert rule["annotations"]["summary"], rule["alert"]
            assert rule["annotations"]["action"], rule["alert"]
