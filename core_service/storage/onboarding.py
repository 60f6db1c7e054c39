"""What tells how far a merchant has come."""

from core_service.storage.database import fetch_all, fetch_one

NEWEST_ORDERS = 1000


def has_checked_account(merchant_id: str) -> bool:
    """Whether the doctor found an enabled account well."""
    return (
        fetch_one(
            "SELECT 1 AS found FROM channel_accounts a "
            "JOIN channel_account_checks c ON c.merchant_id = a.merchant_id AND c.account_id = a.id "
            "WHERE a.merchant_id = %s AND a.enabled AND c.status IN ('OK', 'WARNING') LIMIT 1",
            (merchant_id,),
        )
        is not None
    )


def has_confirmed_callback(merchant_id: str) -> bool:
    """Whether the callback address answered a test event."""
    return (
        fetch_one(
            "SELECT 1 AS found FROM merchants WHERE id = %s AND callback_confirmed_at IS NOT NULL",
            (merchant_id,),
        )
        is not None
    )


def accounts_with_payments(merchant_id: str) -> set[str]:
    """Accounts with a paid order among the merchant's newest ones."""
    rows = fetch_all(
        "SELECT DISTINCT account_id FROM ("
        "SELECT account_id, status FROM payment_orders WHERE merchant_id = %s "
        "ORDER BY created_at DESC, id DESC LIMIT %s) AS newest WHERE status = 'SUCCEEDED'",
        (merchant_id, NEWEST_ORDERS),
    )
    return {row["account_id"] for row in rows}
