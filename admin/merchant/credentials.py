"""API keys: made, rotated, revoked; a secret is shown once, in the answer that made it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from admin.console import Family
from admin.layout.formats import ZONE
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import FieldViolation, invalid_request
from novapay.merchants.v1 import merchant_service_pb2 as merchants


class Credentials(Page):
    """All keys on one page."""

    path = "/merchant/credentials"
    rpc = "MerchantService.ListCredentials"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The table."""
        return await self._show(visit)

    async def do_create(self, visit: Visit, **_params: str) -> Reply:
        """A new key; several live at a time, so that one can follow the other without a gap."""
        answer = await visit.call(
            "MerchantService.CreateCredential",
            merchants.CreateCredentialRequest(
                label=visit.form.trimmed("label"), expires_at=_expiry(visit)
            ),
        )
        return await self._show(visit, made=answer)

    async def do_revoke(self, visit: Visit, **_params: str) -> Reply:
        """For good, at once."""
        key_id = visit.form.get("keyId", "")
        await visit.call(
            "MerchantService.RevokeCredential", merchants.RevokeCredentialRequest(key_id=key_id)
        )
        return visit.redirect(self.path, "credentials.revoked")

    async def _show(self, visit: Visit, *, made: Any = None) -> Reply:
        answer = await visit.call(self.rpc, merchants.ListCredentialsRequest())
        return render(
            visit,
            "merchant/credentials.html",
            credentials=[(one, _status(one)) for one in answer.credentials],
            made=made,
        )


def _expiry(visit: Visit) -> Timestamp | None:
    """The end of a day in China; None when no day was chosen. Raises INVALID_REQUEST."""
    text = visit.form.trimmed("expiresAt")
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=ZONE)
    except ValueError:
        raise invalid_request(FieldViolation("expiresAt", "is not a date")) from None
    moment = Timestamp()
    moment.FromDatetime(day + timedelta(days=1))
    return moment


def _status(credential: merchants.Credential) -> str:
    if not credential.enabled:
        return "REVOKED"
    ends = credential.expires_at if credential.HasField("expires_at") else None
    return "EXPIRED" if ends is not None and ends.ToDatetime(UTC) <= datetime.now(UTC) else "ACTIVE"


FAMILY = Family("credentials", "integration", (Credentials,))
