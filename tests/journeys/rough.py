"""A stack whose processes are killed, and what the tests need beside it."""

from dataclasses import dataclass
from pathlib import Path

import urllib3

from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until


@dataclass(frozen=True)
class RoughStack:
    """The stack with one merchant, whose callbacks go to `receiver`."""

    stack: Stack
    merchant: Merchant
    payer: Payer
    receiver: Receiver
    notify_secret: str
    failpoints: Path
    connections: Path
    """One line for each address that a process connected to (journeys/watch)."""

    def arm(self, point: str, action: str = "kill") -> None:
        """The next process that comes by the point dies (or waits), once."""
        waiting = self.failpoints / f".{point}"
        waiting.write_text(action)
        waiting.rename(self.failpoints / point)

    def has_struck(self, point: str) -> bool:
        return not (self.failpoints / point).exists()

    def until_struck(self, point: str, *, seconds: float = 20) -> None:
        wait_until(lambda: self.has_struck(point), seconds=seconds, what=f"failpoint {point}")

    def until_healthy(self, *, seconds: float = 30) -> None:
        """Whichever core process the edge asks, it serves."""

        def all_serve() -> bool:
            answers = (self.stack.http.request("GET", "/api/health") for _ in range(12))
            try:
                return all(answer.status == 200 for answer in answers)
            except urllib3.exceptions.HTTPError:
                return False  # the edge's process that was asked has just ended

        wait_until(all_serve, seconds=seconds, what="health")
