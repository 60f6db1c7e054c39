"""What happens on the socket before any application sees a request, against a real gunicorn."""

import json
import socket

import pytest

from tests.rest_edge.conftest import Edge, RecordingCore

CREATE = b"POST /api/payment-orders HTTP/1.1\r\nHost: x\r\n"
SLOW_CONNECTIONS = 500


def parsed(received: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the one answer in these bytes."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }
    assert int(headers[b"content-length"]) == len(body)
    return int(first.split(b" ")[1]), headers, body


def refused(edge: Edge, data: bytes, status: int, *, half_close: bool = False) -> None:
    """Exactly one answer, in the shape of the contract, and the connection is closed after it."""
    got, headers, body = parsed(edge.raw(data, half_close=half_close))
    assert status == got
    error = json.loads(body)
    assert {"error", "code", "details"} == set(error)
    assert "INVALID_REQUEST" == error["code"]
    assert headers[b"x-request-id"]
    assert b"application/json" == headers[b"content-type"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (b"Content-Length: +2\r\n\r\n{}", 400),
        (b"Content-Length: 0x2\r\n\r\n{}", 400),
        (b"Content-Length: -2\r\n\r\n{}", 400),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", 400),
        (b"Content-Length: " + b"0" * 4400 + b"2\r\n\r\n{}", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n", 400),
        (b"X-A: b\r\n folded: c\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"X A: b\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"X-A : b\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"X-A: b\nContent-Length: 2\r\n\r\n{}", 400),
        (b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}", 400),
    ],
)
def test_i13_bad_framing_is_refused_once_and_closed(
    edge: Edge, core: RecordingCore, head: bytes, status: int
) -> None:
    refused(edge, CREATE + head, status)
    assert [] == core.calls


@pytest.mark.parametrize(
    "line",
    [b"GET /\x00 HTTP/1.1", b"GET / HTTP/9.9", b"get / HTTP/1.1", b"GET  / HTTP/1.1", b"nonsense"],
)
def test_i13_bad_request_line(edge: Edge, line: bytes) -> None:
    refused(edge, line + b"\r\nHost: x\r\n\r\n", 400)


def test_i13_bytes_behind_a_refused_request_are_not_answered(edge: Edge) -> None:
    smuggled = b"GET /api/channels HTTP/1.1\r\nHost: x\r\n\r\n"
    refused(
        edge, CREATE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, 400
    )


def test_short_body_is_400_before_anything_else(edge: Edge, core: RecordingCore) -> None:
    refused(
        edge, CREATE + b'Content-Length: 50\r\n\r\n{"merchantCode":"acme"}', 400, half_close=True
    )
    assert [] == core.calls


def test_chunked_body_is_read_whole(edge: Edge, core: RecordingCore) -> None:
    body = json.dumps({"merchantCode": "acme", "subject": "Tea"}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    received = edge.raw(
        CREATE + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert 200 == parsed(received)[0]
    assert body == core.only_call.metadata["x-novapay-body-bin"]


@pytest.mark.usefixtures("core")
def test_half_closed_client_still_gets_its_answer(edge: Edge) -> None:
    body = b'{"merchantCode":"acme"}'
    received = edge.raw(CREATE + b"Content-Length: %d\r\n\r\n" % len(body) + body, half_close=True)
    assert 200 == parsed(received)[0]


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 65537\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"],
    ids=["declared", "chunked"],
)
def test_n03_large_body_is_413_without_reading_it_all(
    edge: Edge, core: RecordingCore, head: bytes
) -> None:
    block = b"10000\r\n" + b" " * 65536 + b"\r\n1\r\n \r\n" if b"chunked" in head else b""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=20) as connection:
        connection.sendall(CREATE + head + block)  # and nothing more: the answer comes all the same
        received = connection.recv(65536)
    head_bytes, _, body = received.partition(b"\r\n\r\n")
    assert head_bytes.startswith(b"HTTP/1.1 413 ")
    assert "BODY_TOO_LARGE" == json.loads(body)["code"]
    assert [] == core.calls


def test_n03_413_arrives_although_the_client_sends_everything(edge: Edge) -> None:
    answer = edge.request("POST", "/api/payment-orders", b" " * 600_000)
    assert (413, "BODY_TOO_LARGE") == (answer.status, answer.json["code"])


def test_n03_exactly_the_limit_is_read(edge: Edge, core: RecordingCore) -> None:
    start = b'{"merchantCode":"acme"'
    body = start + b" " * (65536 - len(start) - 1) + b"}"
    assert 200 == edge.request("POST", "/api/payment-orders", body).status
    assert body == core.only_call.metadata["x-novapay-body-bin"]


def test_callbacks_may_be_larger(edge: Edge, core: RecordingCore) -> None:
    path = "/api/payments/callback/alipay/acc_1/token"
    edge.request("POST", path, b"x" * 100_000)
    assert 100_000 == len(core.only_call.request.body)
    assert 413 == edge.request("POST", path, b"x" * (256 * 1024 + 1)).status


def test_n08_long_request_line_is_414(edge: Edge) -> None:
    refused(edge, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414)


def test_n08_long_header_is_431(edge: Edge) -> None:
    refused(edge, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n", 431)


def test_n08_many_headers_are_431(edge: Edge) -> None:
    many = b"".join(b"X-%d: a\r\n" % number for number in range(300))
    refused(edge, b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n", 431)


def test_two_pipelined_requests_get_two_answers(edge: Edge) -> None:
    one = b"GET /api/openapi-nothing HTTP/1.1\r\nHost: x\r\n"
    received = edge.raw(one + b"\r\n" + one + b"Connection: close\r\n\r\n")
    assert 2 == received.count(b"HTTP/1.1 404 ")


@pytest.mark.usefixtures("core")
def test_n01_n02_five_hundred_slow_or_idle_connections_do_not_stop_the_edge(edge: Edge) -> None:
    starts = (
        b"POST /api/payment-orders HTTP/1.1\r\nHost",
        CREATE + b"Content-Length: 100\r\n\r\n{",
        b"",
    )
    held = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(SLOW_CONNECTIONS)]
    try:
        for index, connection in enumerate(held):
            connection.sendall(starts[index % len(starts)])
        for _ in range(10):
            body = {"merchantCode": "acme"}
            assert 200 == edge.request("POST", "/api/payment-orders", body).status
    finally:
        for connection in held:
            connection.close()


def test_upgrades_are_plain_requests(edge: Edge) -> None:
    answer = edge.request(
        "GET",
        "/nothing",
        headers={
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
        },
    )
    assert (404, "NOT_FOUND") == (answer.status, answer.json["code"])


@pytest.mark.usefixtures("core")
def test_expect_continue_is_honoured(edge: Edge) -> None:
    body = b'{"merchantCode":"acme"}'
    with socket.create_connection(("127.0.0.1", edge.port), timeout=20) as connection:
        connection.sendall(
            CREATE + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_n01_a_header_block_that_does_not_end_is_given_up(edge: Edge) -> None:
    """The first of a connection and a later one; a connection that is only idle stays."""
    whole = b"GET /api/openapi HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", edge.port), timeout=30) as first,
        socket.create_connection(("127.0.0.1", edge.port), timeout=30) as later,
        socket.create_connection(("127.0.0.1", edge.port), timeout=30) as idle,
    ):
        first.sendall(CREATE)
        for connection in (later, idle):
            connection.sendall(whole)
            answer_of(connection)
        later.sendall(CREATE)
        assert first.recv(1) == b""
        assert later.recv(1) == b""
        idle.sendall(whole)
        assert answer_of(idle).startswith(b"HTTP/1.1 200")


def answer_of(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head
