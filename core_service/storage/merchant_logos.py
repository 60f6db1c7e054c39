"""Merchants' logos; `merchants.logo_etag` says whether there is one."""

from dataclasses import dataclass

from core_service.storage.database import execute, fetch_one


@dataclass(frozen=True)
class MerchantLogo:
    """A small picture; `etag` changes with its content."""

    content_type: str
    content: bytes
    etag: str


def find(merchant_id: str) -> MerchantLogo | None:
    """None: the merchant has no logo."""
    row = fetch_one(
        "SELECT content_type, content, etag FROM merchant_logos WHERE merchant_id = %s",
        (merchant_id,),
    )
    if row is None:
        return None
    return MerchantLogo(row["content_type"], bytes(row["content"]), row["etag"])


def put(merchant_id: str, logo: MerchantLogo | None) -> None:
    """Sets the logo in place of the one before; None removes it."""
    if logo is None:
        execute("DELETE FROM merchant_logos WHERE merchant_id = %s", (merchant_id,))
        return
    execute(
        """
        INSERT INTO merchant_logos (merchant_id, content_type, content, etag)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (merchant_id) DO UPDATE
        SET content_type = EXCLUDED.content_type, content = EXCLUDED.content, etag = EXCLUDED.etag
        """,
        (merchant_id, logo.content_type, logo.content, logo.etag),
    )
