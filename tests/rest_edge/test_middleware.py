"""The outermost layer: request ids, addresses, headers, admission, bodies that do not arrive."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest

from core_service.errors import CoreError
from rest_edge import admission, middleware
from rest_edge.admission import Admission, Gate
from rest_edge.client_address import client_address
from rest_edge.middleware import EdgeMiddleware
from rest_edge.refusal_page import refuse
from tests.rest_edge.conftest import Edge, RecordingCore

PROXIES = tuple(ip_network(text) for text in ("10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize("request_id", ["a", "x" * 128, "Az09._:-"])
def test_sane_request_id_is_kept(edge: Edge, core: RecordingCore, request_id: str) -> None:
    answer = edge.request("GET", "/api/channels", headers={"x-request-id": request_id})
    assert request_id == answer.headers["x-request-id"]
    assert request_id == core.only_call.metadata["x-request-id"]


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", 'a"b', "é", "{}", "a,b"])
def test_i16_odd_request_id_is_replaced(edge: Edge, core: RecordingCore, request_id: str) -> None:
    answer = edge.request("GET", "/api/channels", headers={"x-request-id": request_id.encode()})
    assert request_id != answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] == core.only_call.metadata["x-request-id"]


@pytest.mark.usefixtures("core")
def test_every_answer_has_one_request_id_and_the_security_headers(edge: Edge) -> None:
    for method, path in (
        ("GET", "/api/channels"),
        ("GET", "/nothing"),
        ("PUT", "/api/channels"),
        ("GET", "/pay/x"),
    ):
        headers = edge.request(method, path).headers
        assert 1 == len(headers.get_all("x-request-id"))
        assert "nosniff" == headers["x-content-type-options"]
        assert "no-store" == headers["cache-control"]
        assert "DENY" == headers["x-frame-options"]
        assert 1 == len(headers.get_all("content-security-policy"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"192.0.2.1"], "203.0.113.9"),
        ("10.0.0.1", [b"192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", [b"192.0.2.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [b"192.0.2.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"192.0.2.1", b"198.51.100.7,10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"192.0.2.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.1:4711"], "192.0.2.1"),
        ("10.0.0.1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", [b"::ffff:192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", [b"192.0.2.1"], "192.0.2.1"),
        ("::ffff:203.0.113.9", [b"192.0.2.1"], "203.0.113.9"),
        ("fd00::1", [b"2001:db8::5"], "2001:db8::5"),
        ("10.0.0.1", [b"\xff"], "10.0.0.1"),
        ("", [b"192.0.2.1"], ""),
        (None, [], ""),
    ],
)
def test_a10_a11_client_address(peer: str | None, forwarded: list[bytes], expected: str) -> None:
    assert expected == client_address(peer, forwarded, PROXIES)


def test_a11_forwarded_for_counts_behind_a_trusted_proxy_only(
    edge: Edge, core: RecordingCore
) -> None:
    edge.request(
        "GET",
        "/api/channels",
        headers={"x-forwarded-for": "192.0.2.1, 198.51.100.7", "x-real-ip": "9.9.9.9"},
    )
    assert "198.51.100.7" == core.only_call.metadata["x-novapay-client-address"]


# --- the layer alone, with an application of the test ---


class Answer:
    """What was sent."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert 0 == self.status, "two answers"
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message.get("body", b"")


def scope(
    path: str = "/api/payment-orders", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
    }


async def ok(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def whole_body() -> Any:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def nothing_comes() -> Any:
    await asyncio.Event().wait()


def layer(application: Any = ok, *, places: int = 4) -> EdgeMiddleware:
    return EdgeMiddleware(
        application,
        admission=Admission(places),
        trusted_proxies=(),
        is_https=False,
        on_drain=lambda: None,
        refuse=refuse,
    )


async def exchange(
    app: EdgeMiddleware, request: Any, receive: Callable[[], Awaitable[Any]]
) -> Answer:
    answer = Answer()
    await app(request, receive, answer.send)
    return answer


def test_n02_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(middleware, "DISCARD_SECONDS", 0.01)
    answer = asyncio.run(
        exchange(layer(), scope(headers=((b"content-length", b"9"),)), nothing_comes)
    )
    assert 400 == answer.status
    assert b"close" == answer.headers[b"connection"]


def test_short_body_of_another_server_is_refused() -> None:
    answer = asyncio.run(exchange(layer(), scope(headers=((b"content-length", b"9"),)), whole_body))
    assert (400, "body") == (answer.status, json.loads(answer.body)["details"][0]["field"])


def test_n04_client_that_goes_away_gets_no_answer() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert 0 == asyncio.run(exchange(layer(), scope(), gone)).status


def test_full_house_is_503_with_retry_after_and_others_have_their_own_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(admission, "HELD_SECONDS", (0.02, 0.02))

    async def run() -> None:
        release = asyncio.Event()

        async def busy(request: Any, receive: Any, send: Any) -> None:
            if request["path"] == "/api/payment-orders":
                await release.wait()
            await ok(request, receive, send)

        app = layer(busy)
        running = [asyncio.ensure_future(exchange(app, scope(), whole_body)) for _ in range(4)]
        await asyncio.sleep(0)
        refused = await exchange(app, scope(), whole_body)
        assert (503, "OVERLOADED") == (refused.status, json.loads(refused.body)["code"])
        assert refused.headers[b"retry-after"]
        assert refused.headers[b"x-request-id"]
        for path in (
            "/api/payments/callback/alipay/a/t",
            "/api/admin/merchants",
            "/pay/po_1",
            "/api/health",
        ):
            assert 200 == (await exchange(app, scope(path), whole_body)).status
        release.set()
        assert [200] * 4 == [answer.status for answer in await asyncio.gather(*running)]
        assert 200 == (await exchange(app, scope(), whole_body)).status

    asyncio.run(run())


def test_whoever_looks_at_a_page_of_a_busy_edge_is_told_to_wait() -> None:
    async def run() -> None:
        async def busy(_scope: Any, _receive: Any, _send: Any) -> None:
            raise CoreError("OVERLOADED", retry_after_seconds=1)

        browser = ((b"accept", b"text/html,*/*"), (b"accept-language", b"en"))
        page = await exchange(layer(busy), scope("/pay/po_1", browser), whole_body)
        assert (503, b"1") == (page.status, page.headers[b"retry-after"])
        assert page.headers[b"content-type"].startswith(b"text/html")
        assert b"do not pay again" in page.body
        assert len(page.body) == int(page.headers[b"content-length"])

    asyncio.run(run())


def test_slow_bodies_hold_no_place() -> None:
    async def run() -> None:
        app = layer()
        slow = [asyncio.ensure_future(exchange(app, scope(), nothing_comes)) for _ in range(50)]
        await asyncio.sleep(0)
        assert 200 == (await exchange(app, scope(), whole_body)).status
        for task in slow:
            task.cancel()

    asyncio.run(run())


async def in_line(gate: Gate, count: int) -> list[asyncio.Task[None]]:
    waiting = [asyncio.ensure_future(gate.__aenter__()) for _ in range(count)]
    await asyncio.sleep(0)
    return waiting


async def turned_away(waiting: list[asyncio.Task[None]]) -> None:
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_line_is_long_until_somebody_leaves_it() -> None:
    async def run() -> None:
        gate = Gate(1)
        await gate.__aenter__()
        waiting = await in_line(gate, admission.WAITING_PER_PLACE - 1)
        said = [gate.is_long]
        waiting += await in_line(gate, 1)
        said.append(gate.is_long)
        await turned_away(waiting)
        said.append(gate.is_long)
        assert [False, True, False] == said

    asyncio.run(run())


def test_short_line_is_served_in_order_and_in_a_long_one_the_newest_overtake() -> None:
    async def run() -> None:
        gate = Gate(2)
        for _ in range(2):
            await gate.__aenter__()
        served = []
        first, second, third, fourth, fifth = waiting = await in_line(gate, 5)
        for _ in range(5):
            await gate.__aexit__(None, None, None)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            served += [task for task in waiting if task.done() and task not in served]
        # Two of the newest at a time: by then the others would have waited in vain.
        assert [fourth, third, second, first, fifth] == served

    asyncio.run(run())


def test_place_that_comes_when_the_wait_ends_goes_to_the_next() -> None:
    async def run() -> None:
        gate = Gate(1)
        await gate.__aenter__()
        given_up, next_one = await in_line(gate, 2)
        given_up.cancel()  # its end and the place come together
        await gate.__aexit__(None, None, None)
        await asyncio.wait_for(next_one, 1)
        await gate.__aexit__(None, None, None)
        await asyncio.wait_for(gate.__aenter__(), 1)

    asyncio.run(run())


def test_o02_refusal_is_held_back_and_its_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WAITING_PER_PLACE", 0)
    monkeypatch.setattr(admission, "HELD_SECONDS", (0.05, 0.05))

    async def run() -> None:
        release = asyncio.Event()

        async def busy(request: Any, receive: Any, send: Any) -> None:
            await release.wait()
            await ok(request, receive, send)

        app = layer(busy)
        running = [asyncio.ensure_future(exchange(app, scope(), whole_body)) for _ in range(4)]
        await asyncio.sleep(0)
        refusal = asyncio.ensure_future(exchange(app, scope(), whole_body))
        await asyncio.sleep(0.01)
        assert not refusal.done()
        answer = await refusal
        assert (503, b"1") == (answer.status, answer.headers[b"retry-after"])
        assert b"connection" not in answer.headers
        release.set()
        await asyncio.gather(*running)

    asyncio.run(run())


def test_refusals_beyond_what_can_be_held_are_given_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "HELD_PART", 0)

    async def run() -> None:
        with Admission(4).holding() as seconds:
            assert 0 == seconds

    asyncio.run(run())


def test_place_is_given_back_after_a_crash() -> None:
    async def run() -> None:
        gate = Gate(1)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                async with gate:
                    raise RuntimeError
        async with gate:
            pass

    asyncio.run(run())
