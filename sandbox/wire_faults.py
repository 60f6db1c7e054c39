"""Faults of the connection itself: an answer that never comes, a reset in its middle.

A handler leaves a fault in the WSGI environment; this wrapper around the application carries it
out on gunicorn's socket, after the handler's effect has been done.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.scenarios import Chosen

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_KEY = "sandbox.wire_fault"
_SLOW_SECONDS = 3.0
_LINGER_RESET = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN


@dataclass(frozen=True)
class WireFault:
    """What happens to the connection.

    `hold`: no answer for `seconds` or until the caller goes; `delay`: the answer comes after
    `seconds`; `reset`: RST in the middle of the answer; `drop`: RST before any byte of it.
    """

    kind: Literal["hold", "delay", "reset", "drop"]
    seconds: float = 60.0


def inject(environment: dict[str, Any], fault: WireFault) -> None:
    """Marks the answer of this request as faulty."""
    environment[_KEY] = fault


def wait_before_effect(chosen: Chosen | None) -> None:
    """Scenario `slow_effect`: others may act before this call does."""
    if chosen and chosen.name == "slow_effect":
        time.sleep(chosen.seconds(_SLOW_SECONDS) or 0.0)


def inject_scenario(environment: dict[str, Any], chosen: Chosen) -> None:
    """Marks the answer if the scenario is one of the connection."""
    match chosen.name:
        case "timeout_after_success" | "timeout_without_effect":
            inject(environment, WireFault("hold", float(chosen.options.get("holdSeconds", 60))))
        case "slow_answer":
            inject(environment, WireFault("delay", chosen.seconds(_SLOW_SECONDS) or 0.0))
        case "reset_after_success":
            inject(environment, WireFault("reset"))
        case "reset_without_effect":
            inject(environment, WireFault("drop"))


class WireFaultMiddleware:
    """WSGI wrapper. `is_running` tells a held answer that the process wants to stop.

    Without gunicorn's socket (an embedded application) answers come without faults.
    """

    def __init__(self, app: WsgiApp, is_running: Callable[[], bool]) -> None:
        self._app = app
        self._is_running = is_running

    def __call__(
        self, environment: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answers normally unless a fault was left; then ends the connection by an exception."""
        started: list[tuple[Any, ...]] = []

        def remember(*arguments: Any) -> None:
            started.append(arguments)

        body = self._app(environment, remember)
        fault: WireFault | None = environment.get(_KEY)
        connection: socket.socket | None = environment.get("gunicorn.socket")
        if fault and fault.kind == "delay" and connection:
            self._hold(connection, fault.seconds)
        if fault is None or fault.kind == "delay" or connection is None:
            start_response(*started[0])
            return body
        if fault.kind == "hold":
            self._hold(connection, fault.seconds)
        elif fault.kind == "reset":
            status, headers = started[0][0], started[0][1]
            _send_half(connection, status, headers, b"".join(body))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        connection.close()
        raise ConnectionResetError(104, "reset by scenario")

    def _hold(self, connection: socket.socket, seconds: float) -> None:
        """Waits until the time is over, the caller closes, or the sandbox stops."""
        end = time.monotonic() + seconds
        while self._is_running() and time.monotonic() < end:
            readable, _, _ = select.select([connection], [], [], 0.2)
            if readable:
                if not connection.recv(1, socket.MSG_PEEK):
                    return
                time.sleep(0.2)  # bytes of a further request stay unread


def _send_half(
    connection: socket.socket, status: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Sends the head with the full length but half of the body; without a body, half the head."""
    head = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "content-length" for name, _ in headers):
        head.append(f"content-length: {len(body)}")
    encoded = "\r\n".join([*head, "", ""]).encode("latin-1")
    sent = encoded + body[: len(body) // 2] if body else encoded[: len(encoded) // 2]
    connection.sendall(sent)
