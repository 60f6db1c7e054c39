"""What the doctor found about each channel account last, and when it looks again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import Row, execute, fetch_all, fetch_one
from core_service.storage.paging import Page, PageRequest, Position, page_of


@dataclass(frozen=True)
class AccountCheckRow:
    """The result about one account at one configuration; columns of `channel_account_checks`."""

    merchant_id: str
    account_id: str
    generation: int
    status: str | None
    """OK, WARNING or ERROR; None: not looked at since the configuration changed."""
    findings: str
    """JSON."""
    checked_at: datetime | None
    status_since: datetime | None


@dataclass(frozen=True)
class TroubleRow:
    """An enabled account that is not well."""

    check: AccountCheckRow
    merchant_code: str
    merchant_name: str
    channel_code: str
    display_name: str


_COLUMNS = "merchant_id, account_id, generation, status, findings, checked_at, status_since"
_JOINED = ", ".join(f"c.{name}" for name in _COLUMNS.split(", "))


def begin(merchant_id: str, account_id: str, *, check_at: datetime) -> None:
    """A new account, or a new configuration of an old one: what was found before counts no more."""
    execute(
        """
        INSERT INTO channel_account_checks AS c (merchant_id, account_id, check_at)
        VALUES (%s, %s, %s)
        ON CONFLICT (merchant_id, account_id) DO UPDATE
        SET generation = c.generation + 1, status = NULL, findings = '[]', checked_at = NULL,
            status_since = NULL, check_at = EXCLUDED.check_at
        """,
        (merchant_id, account_id, check_at),
    )


def find(account_id: str, merchant_id: str) -> AccountCheckRow | None:
    """The last result about an account."""
    row = fetch_one(
        f"SELECT {_COLUMNS} FROM channel_account_checks WHERE merchant_id = %s AND account_id = %s",  # noqa: S608 (constants)
        (merchant_id, account_id),
    )
    return None if row is None else _row(row)


def of_merchant(merchant_id: str) -> Mapping[str, AccountCheckRow]:
    """The last results about a merchant's accounts, by account id."""
    rows = fetch_all(
        f"SELECT {_COLUMNS} FROM channel_account_checks WHERE merchant_id = %s",  # noqa: S608 (constants)
        (merchant_id,),
    )
    return {row["account_id"]: _row(row) for row in rows}


def save(row: AccountCheckRow, *, check_at: datetime) -> bool:
    """Keeps a result unless the configuration has changed meanwhile; whether it was kept.

    `status_since` of `row` counts only where the status is another than before.
    """
    return (
        execute(
            """
            INSERT INTO channel_account_checks AS c (merchant_id, account_id, generation, status,
                findings, checked_at, status_since, check_at)
            VALUES (%(merchant_id)s, %(account_id)s, %(generation)s, %(status)s, %(findings)s,
                %(checked_at)s, %(status_since)s, %(check_at)s)
            ON CONFLICT (merchant_id, account_id) DO UPDATE
            SET status = EXCLUDED.status, findings = EXCLUDED.findings,
                checked_at = EXCLUDED.checked_at, check_at = EXCLUDED.check_at,
                status_since = CASE WHEN c.status = EXCLUDED.status
                    THEN c.status_since ELSE EXCLUDED.status_since END
            WHERE c.generation = EXCLUDED.generation
            """,
            {**vars(row), "check_at": check_at},
        )
        > 0
    )


def postpone(merchant_id: str, account_id: str, *, check_at: datetime) -> None:
    """The worker looks again at this time."""
    execute(
        "UPDATE channel_account_checks SET check_at = %s WHERE merchant_id = %s AND account_id = %s",
        (check_at, merchant_id, account_id),
    )


def claim_due(limit: int, *, lease_seconds: float) -> list[str]:
    """Ids of accounts whose time has come; nobody else gets them before the lease is over."""
    rows = fetch_all(
        """
        UPDATE channel_account_checks SET check_at = now() + %s * interval '1 second'
        WHERE (merchant_id, account_id) IN (
            SELECT merchant_id, account_id FROM channel_account_checks
            WHERE check_at <= now() ORDER BY check_at LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING account_id
        """,
        (lease_seconds, limit),
    )
    return [row["account_id"] for row in rows]


def in_trouble(status: str | None, wanted: PageRequest) -> Page[TroubleRow]:
    """Enabled accounts with a warning or an error (or just `status`), the newest trouble first."""
    after = wanted.after
    rows = fetch_all(
        f"""
        SELECT {_JOINED}, m.code, m.name, a.channel_code, a.display_name
        FROM channel_account_checks c
        JOIN channel_accounts a ON (a.merchant_id, a.id) = (c.merchant_id, c.account_id)
        JOIN merchants m ON m.id = c.merchant_id
        WHERE a.enabled AND c.status IN ('WARNING', 'ERROR')
          AND (%(status)s::text IS NULL OR c.status = %(status)s)
          AND (%(at)s::timestamptz IS NULL OR (c.status_since, c.account_id) < (%(at)s, %(id)s))
        ORDER BY c.status_since DESC, c.account_id DESC LIMIT %(limit)s
        """,  # noqa: S608 (constants)
        {
            "status": status,
            "at": after and after.created_at,
            "id": after and after.id,
            "limit": wanted.size + 1,
        },
    )
    found = [
        TroubleRow(_row(row), row["code"], row["name"], row["channel_code"], row["display_name"])
        for row in rows
    ]
    return page_of(found, wanted, _position)


def _position(row: TroubleRow) -> Position:
    assert row.check.status_since is not None
    return Position(row.check.status_since, row.check.account_id)


def _row(row: Row) -> AccountCheckRow:
    return AccountCheckRow(**{name: row[name] for name in _COLUMNS.split(", ")})
