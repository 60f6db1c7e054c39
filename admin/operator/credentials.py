"""A merchant's API keys: made (shown once), listed, revoked."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from admin.layout.formats import ZONE
from admin.operator.merchant_tabs import merchant_of, render_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import FieldViolation, invalid_request
from novapay.merchants.v1 import merchant_service_pb2 as merchants


class Credentials(Page):
    """All keys of a merchant."""

    path = "/admin/merchants/{code}/credentials"
    rpc = "MerchantService.ListCredentials"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """Newest first, without their secrets."""
        return await self._shown(visit, params["code"], made=None)

    async def do_create(self, visit: Visit, **params: str) -> Reply:
        """Make a key; its secret stands on the answer and nowhere else."""
        merchant = await merchant_of(visit, params["code"])
        request = merchants.CreateCredentialRequest(
            merchant_code=merchant.code,
            label=visit.form.trimmed("label"),
            expires_at=_end_of_day(visit.form.trimmed("expiresAt")),
        )
        made = await visit.call("MerchantService.CreateCredential", request)
        return await self._shown(visit, merchant.code, made=made)

    async def do_revoke(self, visit: Visit, **_params: str) -> Reply:
        """Takes effect at once and for good."""
        request = merchants.RevokeCredentialRequest(key_id=visit.form.trimmed("keyId"))
        await visit.call("MerchantService.RevokeCredential", request)
        return visit.redirect(visit.path, "credentials.revoked")

    async def _shown(
        self, visit: Visit, code: str, *, made: merchants.CreateCredentialResponse | None
    ) -> Reply:
        merchant = await merchant_of(visit, code)
        request = merchants.ListCredentialsRequest(merchant_code=merchant.code)
        listed = (await visit.call(self.rpc, request)).credentials
        return render_merchant(
            visit,
            merchant,
            "merchant_credentials",
            credentials=[(key, _state(key)) for key in listed],
            made=made,
        )


def _state(key: merchants.Credential) -> str:
    """ACTIVE, EXPIRED or REVOKED."""
    if not key.enabled:
        return "REVOKED"
    ended = key.HasField("expires_at") and key.expires_at.ToDatetime(UTC) <= datetime.now(UTC)
    return "EXPIRED" if ended else "ACTIVE"


def _end_of_day(text: str) -> Timestamp | None:
    """The end of a day in China; None when no day was chosen. Raises INVALID_REQUEST."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=ZONE)
    except ValueError:
        raise invalid_request(FieldViolation("expiresAt", "is not a date")) from None
    found = Timestamp()
    found.FromDatetime(day + timedelta(days=1))
    return found


MERCHANT_PAGES = (Credentials,)
