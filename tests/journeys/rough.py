"""A stack whose processes are killed, and what the tests need beside it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

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

    def arm(self, point: str, action: str = "kill") -> None:
        """The next process that comes by the point dies (or waits), once."""
        waiting = self.failpoints / f".{point}"
        waiting.write_text(action)
        waiting.rename(self.failpoints / point)

    def has_struck(self, point: str) -> bool:
        return not (self.failpoints / point).exists()

    def disarm(self, point: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.failpoints / point).unlink()

    def until_struck(self, point: str, *, seconds: float = 20) -> None:
        wait_until(lambda: self.has_struck(point), seconds=seconds, what=f"failpoint {point}")

    def until_healthy(self, *, seconds: float = 30) -> None:
        """Every core process serves and the edge sees it."""
        wait_until(
            lambda: self.stack.http.request("GET", "/api/health").status == 200,
            seconds=seconds,
            what="health",
        )
