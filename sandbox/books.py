"""The sandbox's own books in SQLite: what the simulated providers know and did."""

from dataclasses import dataclass
from pathlib import Path

from sandbox.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trades (
  id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  out_trade_no TEXT NOT NULL,
  trade_no TEXT NOT NULL UNIQUE,
  total_fen INTEGER NOT NULL,
  subject TEXT NOT NULL,
  attach TEXT NOT NULL,
  notify_url TEXT NOT NULL,
  return_url TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('WAITING', 'PAID', 'CLOSED', 'FINISHED')),
  created_at REAL NOT NULL,
  expires_at REAL NOT NULL,
  closed_at REAL,
  awaits_late_payment INTEGER NOT NULL DEFAULT 0,
  late_payment_due REAL,
  create_calls INTEGER NOT NULL DEFAULT 1,
  UNIQUE (provider, account, out_trade_no)
);
CREATE TABLE IF NOT EXISTS cashier_tokens (
  token TEXT PRIMARY KEY,
  trade_id INTEGER NOT NULL REFERENCES trades,
  created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS payments (
  id INTEGER PRIMARY KEY,
  trade_id INTEGER NOT NULL REFERENCES trades,
  transaction_no TEXT NOT NULL UNIQUE,
  amount_fen INTEGER NOT NULL,
  refunded_fen INTEGER NOT NULL DEFAULT 0 CHECK (refunded_fen BETWEEN 0 AND amount_fen),
  late INTEGER NOT NULL,
  paid_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS refunds (
  id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  trade_id INTEGER NOT NULL REFERENCES trades,
  payment_id INTEGER NOT NULL REFERENCES payments,
  out_refund_no TEXT NOT NULL,
  refund_no TEXT NOT NULL UNIQUE,
  amount_fen INTEGER NOT NULL CHECK (amount_fen > 0),
  reason TEXT NOT NULL,
  notify_url TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('PROCESSING', 'SUCCESS', 'CLOSED', 'ABNORMAL')),
  created_at REAL NOT NULL,
  finished_at REAL,
  settles_as TEXT,
  settles_due REAL,
  calls INTEGER NOT NULL DEFAULT 1,
  UNIQUE (payment_id, out_refund_no)
);
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  operation TEXT NOT NULL,
  number TEXT NOT NULL,
  scenario TEXT NOT NULL,
  effective INTEGER NOT NULL,
  answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS notifications (
  id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  trade_id INTEGER NOT NULL REFERENCES trades,
  event TEXT NOT NULL,
  notify_id TEXT NOT NULL,
  url TEXT NOT NULL,
  content TEXT NOT NULL,
  scenario TEXT NOT NULL,
  flaw TEXT NOT NULL,
  flawed_attempts INTEGER NOT NULL,
  created_at REAL NOT NULL,
  state TEXT NOT NULL
    CHECK (state IN ('waiting', 'sending', 'accepted', 'given_up', 'lost')),
  due REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (state, due);
CREATE TABLE IF NOT EXISTS notification_attempts (
  id INTEGER PRIMARY KEY,
  notification_id INTEGER NOT NULL REFERENCES notifications,
  at REAL NOT NULL,
  milliseconds INTEGER NOT NULL,
  http_status INTEGER,
  answer TEXT NOT NULL,
  accepted INTEGER NOT NULL
);
"""

_TABLES = (
    "notification_attempts", "notifications", "calls", "refunds", "payments",
    "cashier_tokens", "trades",
)  # fmt: skip


@dataclass(frozen=True)
class Trade:
    """One out_trade_no at one account. Times are Unix seconds of the sandbox clock.

    `late_payment_due` is real time: when a promised late payment is booked.
    """

    id: int
    provider: str
    account: str
    out_trade_no: str
    trade_no: str
    total_fen: int
    subject: str
    attach: str
    notify_url: str
    return_url: str
    status: str
    created_at: float
    expires_at: float
    closed_at: float | None
    awaits_late_payment: int
    late_payment_due: float | None
    create_calls: int


@dataclass(frozen=True)
class Payment:
    """Money that a payer gave for a trade; a trade paid twice has two."""

    id: int
    trade_id: int
    transaction_no: str
    amount_fen: int
    refunded_fen: int
    late: int
    paid_at: float


@dataclass(frozen=True)
class Refund:
    """One refund number; executed exactly when its status is SUCCESS."""

    id: int
    provider: str
    account: str
    trade_id: int
    payment_id: int
    out_refund_no: str
    refund_no: str
    amount_fen: int
    reason: str
    notify_url: str
    status: str
    created_at: float
    finished_at: float | None
    settles_as: str | None
    settles_due: float | None
    calls: int


@dataclass(frozen=True)
class Notification:
    """One push with its retries. `content` is JSON text, signed anew at each attempt."""

    id: int
    provider: str
    account: str
    trade_id: int
    event: str
    notify_id: str
    url: str
    content: str
    scenario: str
    flaw: str
    flawed_attempts: int
    created_at: float
    state: str
    due: float
    attempts: int


class Books(Database):
    """The tables above, and the look-ups that several modules need."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)
        # A push that was under way when the sandbox stopped is sent again.
        self.execute("UPDATE notifications SET state = 'waiting' WHERE state = 'sending'")

    def clear(self) -> None:
        """Forgets everything."""
        with self.transaction():
            for table in _TABLES:
                self.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def trade(self, provider: str, account: str, out_trade_no: str) -> Trade | None:
        """The trade of one merchant number."""
        row = self.row(
            "SELECT * FROM trades WHERE provider = ? AND account = ? AND out_trade_no = ?",
            provider, account, out_trade_no,
        )  # fmt: skip
        return Trade(**row) if row else None

    def trade_by_id(self, trade_id: int) -> Trade:
        """A trade that is known to exist."""
        return Trade(**self.rows("SELECT * FROM trades WHERE id = ?", trade_id)[0])

    def trade_by_transaction(
        self, provider: str, account: str, transaction_no: str
    ) -> Trade | None:
        """The trade with this provider number, or with a payment of this number."""
        row = self.row(
            "SELECT t.* FROM trades t LEFT JOIN payments p ON p.trade_id = t.id"
            " WHERE t.provider = ? AND t.account = ? AND (t.trade_no = ? OR p.transaction_no = ?)",
            provider, account, transaction_no, transaction_no,
        )  # fmt: skip
        return Trade(**row) if row else None

    def payments(self, trade_id: int) -> list[Payment]:
        """The payments of a trade, oldest first."""
        found = self.rows("SELECT * FROM payments WHERE trade_id = ? ORDER BY id", trade_id)
        return [Payment(**row) for row in found]

    def refunds(self, trade_id: int) -> list[Refund]:
        """The refunds of a trade, oldest first."""
        found = self.rows("SELECT * FROM refunds WHERE trade_id = ? ORDER BY id", trade_id)
        return [Refund(**row) for row in found]

    def refund(self, provider: str, account: str, out_refund_no: str) -> Refund | None:
        """The newest refund of one merchant number."""
        row = self.row(
            "SELECT * FROM refunds WHERE provider = ? AND account = ? AND out_refund_no = ?"
            " ORDER BY id DESC",
            provider, account, out_refund_no,
        )  # fmt: skip
        return Refund(**row) if row else None
