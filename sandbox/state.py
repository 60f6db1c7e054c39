"""Everything one running sandbox holds, wired together."""

from collections.abc import Callable
from pathlib import Path

from sandbox.account_store import Accounts
from sandbox.books import Books
from sandbox.clock import Clock
from sandbox.merchant_site import MerchantSite
from sandbox.pusher import Pusher
from sandbox.scenarios import Scenarios
from sandbox.trading import Trading


class SandboxState:
    """Keys and books live in `directory`, which is made when missing (mode 700)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.accounts = Accounts(directory)
        self.accounts.load_or_create()
        self.books = Books(directory / "books.sqlite3")
        self.clock = Clock()
        self.scenarios = Scenarios()
        self.merchants = MerchantSite(directory / "merchant-site.sqlite3")
        self.pusher = Pusher(self.books, self.accounts, self.clock)
        self.trading = Trading(
            self.books, self.accounts, self.clock, self.scenarios, self.pusher.wake
        )
        self.is_running: Callable[[], bool] = lambda: True

    def start(self) -> None:
        """Starts the background work."""
        self.pusher.start(self.trading)

    def stop(self) -> None:
        """Ends the background work and closes the books."""
        self.is_running = lambda: False
        self.pusher.stop()
        self.books.close()
        self.merchants.close()

    def running(self) -> bool:
        """False once the process has been told to stop."""
        return self.is_running()

    def reset(self) -> None:
        """Empty books, real time, no rules. Accounts and shops stay."""
        self.scenarios.clear()
        self.scenarios.amount_scenarios = True
        self.clock.reset()
        self.books.clear()
        self.merchants.clear()
