"""Peers that neither speak nor hang up: N05."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.slow_network import SlowNetwork
from tests.stack import Merchant, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONGEST_SECONDS = 30
PEERS = 64
HEAD = b"POST /api/payment-orders HTTP/1.1\r\nHost: novapay\r\nContent-Length: 1000\r\n"
BEGINNINGS = (b"", b"POST /api/pay", HEAD, HEAD + b'\r\n{"merchantCode":')
"""What came before the silence: nothing, part of a line, headers without an end, part of a body."""


@pytest.fixture
def network(stack: Stack) -> Iterator[SlowNetwork]:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", stack.http_port))

    with SlowNetwork(connect) as running:
        yield running


def test_n05_half_open_peers_are_dropped_and_honest_callers_served(
    stack: Stack, merchant: Merchant, network: SlowNetwork
) -> None:
    with ExitStack() as open_sockets:
        for number in range(PEERS):
            peer = open_sockets.enter_context(
                closing(socket.create_connection(("127.0.0.1", network.port)))
            )
            peer.sendall(BEGINNINGS[number % len(BEGINNINGS)])
        wait_until(lambda: network.forwarded >= PEERS * 3 // 4, what="the beginnings to arrive")
        # From here on nothing of theirs gets through any more, not even that they hang up.
        network.black_hole.set()
        assert merchant.create_order().status == 200
        wait_until(
            lambda: network.ended_by_server >= PEERS,
            seconds=LONGEST_SECONDS,
            what="the edge to drop every silent peer",
        )
        assert merchant.create_order().status == 200
