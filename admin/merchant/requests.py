"""What became of signed requests, and why a signature does not fit."""

from typing import Any

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.texts import has_text
from admin.visit import Reply, Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants

PAGE_SIZE = 50


class RequestLog(Page):
    """The last seven days, newest first."""

    path = "/merchant/requests"
    rpc = "MerchantService.ListSignedRequests"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The table."""
        answer = await visit.call(
            self.rpc,
            merchants.ListSignedRequestsRequest(
                refused=visit.query.get("outcome") == "refused",
                key_id=visit.query.get("key_id"),
                page_size=PAGE_SIZE,
                page_token=visit.query.get("page_token"),
            ),
        )
        return render(
            visit,
            "merchant/requests.html",
            requests=[(one, _why(visit, one)) for one in answer.requests],
            next=answer.next_page_token,
            outcomes=[("refused", visit.t("requests.refused_only"))],
        )


class Explainer(Page):
    """The exact string to sign, the first check that fails, and where the caller's string differs."""

    path = "/merchant/requests/explain"
    rpc = "MerchantService.ExplainSignature"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form."""
        return render(visit, "merchant/explain.html", found=None, asked=None)

    async def do_explain(self, visit: Visit, **_params: str) -> Reply:
        """The form again with the explanation; nothing is kept."""
        asked = merchants.ExplainSignatureRequest(
            key_id=visit.form.get("keyId", ""),
            timestamp=visit.form.get("timestamp", ""),
            nonce=visit.form.get("nonce", ""),
            signature=visit.form.get("signature", ""),
            body=_sent_text(visit, "body"),
            string_to_sign=_sent_text(visit, "stringToSign"),
        )
        found = await visit.call(self.rpc, asked)
        return render(visit, "merchant/explain.html", found=_view(found), asked=asked)


def _why(visit: Visit, request: Any) -> str:
    """Why it was refused: the core's own sentence in English, ours for the reason in Chinese."""
    key = f"error.{request.outcome}"
    if visit.language == "en" or not request.detail or not has_text(key):
        return str(request.detail)
    if request.outcome != "INVALID_REQUEST":
        return visit.t(key)
    fields = [part.partition(" ") for part in request.detail.split("; ")[1:]]
    return " ".join([visit.t(key), *(f"{name} {visit.reason(why)}" for name, _, why in fields)])


def _sent_text(visit: Visit, name: str) -> bytes:
    r"""Bytes of a text area. Browsers send line ends as \r\n; unless asked otherwise they mean \n."""
    text = visit.form.get(name, "")
    if visit.form.get("lineEnds") != "crlf":
        text = text.replace("\r\n", "\n")
    return text.encode()


def _view(found: Any) -> dict[str, Any]:
    checks = [
        (check.code, check.holds if check.HasField("holds") else None) for check in found.checks
    ]
    difference = None
    if found.HasField("difference"):
        gap = found.difference
        difference = {
            "position": gap.position,
            "expected_length": gap.expected_length,
            "actual_length": gap.actual_length,
            "expected": (_text(gap.expected), gap.expected.hex(" ")),
            "actual": (_text(gap.actual), gap.actual.hex(" ")),
        }
    return {
        "string_to_sign": _text(found.string_to_sign),
        "length": len(found.string_to_sign),
        "checks": checks,
        "first": next((code for code, holds in checks if holds is False), None),
        "difference": difference,
        "findings": list(found.findings),
    }


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


FAMILY = Family("requests", "integration", (RequestLog, Explainer))
