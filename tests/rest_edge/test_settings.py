"""Settings of the edge, its route list and its health."""

import os
from pathlib import Path

import pytest

from core_service.client import ClientTls
from rest_edge.routes import route_table
from rest_edge.settings import InvalidSettings, load_settings
from tests.rest_edge.conftest import Edge, RecordingCore


def test_defaults() -> None:
    settings = load_settings({})
    assert ("127.0.0.1:8000", "127.0.0.1:50051") == (settings.http_bind, settings.core_address)
    assert not settings.is_https
    assert settings.calls_at_once >= 8


def test_values_are_taken() -> None:
    settings = load_settings(
        {
            "NOVAPAY_GRPC_BIND": "unix:/run/novapay/core.sock",
            "NOVAPAY_PUBLIC_BASE_URL": "https://pay.example.test/",
            "NOVAPAY_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "NOVAPAY_EDGE_PROCESSES": "2",
            "NOVAPAY_CORE_PROCESSES": "4",
        }
    )
    assert "https://pay.example.test" == settings.public_base_url
    assert 2 == len(settings.trusted_proxies)
    assert (1, 32) == (settings.channels, settings.calls_at_once)


def test_channels_outnumber_the_core_processes_that_share_a_port() -> None:
    assert 1 == load_settings({"NOVAPAY_CORE_PROCESSES": "1"}).channels
    assert 16 == load_settings({"NOVAPAY_CORE_PROCESSES": "2"}).channels


def test_default_processes_fit_the_cores_of_this_process_and_the_maximum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(130)))
    settings = load_settings({})
    assert (64, 64) == (settings.core_processes, settings.edge_processes)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7})
    settings = load_settings({})
    assert (1, 1) == (settings.core_processes, settings.edge_processes)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InvalidSettings) as problems:
        load_settings(
            {
                "NOVAPAY_PUBLIC_BASE_URL": "ftp://pay.example.test",
                "NOVAPAY_TRUSTED_PROXIES": "10.0.0.0/99",
                "NOVAPAY_EDGE_PROCESSES": "none",
                "NOVAPAY_ENV": "staging",
                "NOVAPAY_GRPC_TLS_CERT": "cert.pem",
                "NOVAPAY_GRPC_TLS_CLIENT_KEY": "/nothing.pem",
            }
        )
    for name in (
        "NOVAPAY_PUBLIC_BASE_URL",
        "NOVAPAY_TRUSTED_PROXIES",
        "NOVAPAY_EDGE_PROCESSES",
        "NOVAPAY_ENV",
        "NOVAPAY_GRPC_TLS_CA",
        "NOVAPAY_GRPC_TLS_CLIENT_KEY",
    ):
        assert name in str(problems.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOVAPAY_HTTP_BIND", "8000"),
        ("NOVAPAY_HTTP_BIND", "127.0.0.1:99999"),
        ("NOVAPAY_HTTP_BIND", "[::1:8000"),
        ("NOVAPAY_HTTP_BIND", ":8000"),
        ("NOVAPAY_METRICS_BIND", "x"),
        ("NOVAPAY_GRPC_BIND", "foo"),
        ("NOVAPAY_GRPC_BIND", "unix:"),
        ("NOVAPAY_PUBLIC_BASE_URL", "http://[::1"),
    ],
)
def test_an_address_that_is_none_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as problem:
        load_settings({name: value})
    assert str(problem.value).startswith(f"{name}={value}: must be ")
    assert ";" not in str(problem.value)


def test_addresses() -> None:
    for bind in ("[::1]:8000", "0.0.0.0:0", "core.test:65535"):
        environ = {
            "NOVAPAY_HTTP_BIND": bind,
            "NOVAPAY_GRPC_BIND": bind,
            "NOVAPAY_METRICS_BIND": bind,
        }
        settings = load_settings(environ)
        assert (bind, bind) == (settings.http_bind, settings.core_address)


def test_production_needs_https() -> None:
    with pytest.raises(InvalidSettings, match="https in production"):
        load_settings({"NOVAPAY_ENV": "production"})


def test_route_table_has_every_binding() -> None:
    rows = list(route_table())
    assert (
        "POST",
        "/api/payment-orders",
        "PaymentService.CreatePaymentOrder",
        "MERCHANT",
        "payment_order.create",
        "200",
    ) in rows
    assert 5 == sum("(deprecated)" in row[1] for row in rows)


def test_health_follows_the_core(edge: Edge, core: RecordingCore) -> None:
    answer = edge.request("GET", "/api/health")
    assert (200, {"ok": True, "database": "ok"}) == (answer.status, answer.json)
    core.serving = False
    answer = edge.request("GET", "/api/health")
    assert (503, {"ok": False, "database": "unavailable"}) == (answer.status, answer.json)
    assert answer.headers["retry-after"]


def test_tls_to_the_core(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_bytes(name.encode())
    environ = {
        "NOVAPAY_GRPC_TLS_CA": str(tmp_path / "ca"),
        "NOVAPAY_GRPC_TLS_CLIENT_CERT": str(tmp_path / "cert"),
        "NOVAPAY_GRPC_TLS_CLIENT_KEY": str(tmp_path / "key"),
    }
    assert ClientTls(b"ca", b"cert", b"key") == load_settings(environ).core_tls
    assert load_settings({}).core_tls is None


def test_base_url_follows_the_bind() -> None:
    assert (
        "http://127.0.0.1:9000"
        == load_settings({"NOVAPAY_HTTP_BIND": "0.0.0.0:9000"}).public_base_url
    )
