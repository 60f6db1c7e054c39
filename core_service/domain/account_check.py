"""What the doctor says about a merchant's account at a provider.

A finding is a code and facts; the text for people is made from the code where it is shown. How bad
a code is stands here, once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

ENDS_SOON = timedelta(days=30)
"""A certificate that ends within this time should be replaced now."""
CLOCK_DRIFT = timedelta(seconds=30)
CLOCK_LIMIT = timedelta(seconds=300)
"""Beyond it WeChat Pay refuses every request, and we its answers."""


class Severity(StrEnum):
    """How bad a finding is; in rising order."""

    OK = "OK"
    WARNING = "WARNING"
    """Works now."""
    ERROR = "ERROR"
    """Payments cannot be taken or cannot be believed."""


class Code(StrEnum):
    """What was found; facts that a code has are named behind it."""

    CONFIG_INVALID = "CONFIG_INVALID"  # field, reason
    OWN_KEY_GIVEN = "OWN_KEY_GIVEN"  # field
    PRIVATE_KEY_GOOD = "PRIVATE_KEY_GOOD"
    APP_ID_FORM = "APP_ID_FORM"  # value
    MERCHANT_ID_FORM = "MERCHANT_ID_FORM"  # value
    MODE_PUBLIC_KEY = "MODE_PUBLIC_KEY"
    MODE_CERTIFICATE = "MODE_CERTIFICATE"
    CERTIFICATE_VALID = "CERTIFICATE_VALID"  # field, until
    CERTIFICATE_ENDS_SOON = "CERTIFICATE_ENDS_SOON"  # field, until
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"  # field, until
    CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"  # field, from
    PROVIDER_ACCEPTS = "PROVIDER_ACCEPTS"
    PROVIDER_TRUSTED = "PROVIDER_TRUSTED"
    PROVIDER_KEY_UNPROVEN = "PROVIDER_KEY_UNPROVEN"
    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"  # message
    PROVIDER_UNCLEAR = "PROVIDER_UNCLEAR"  # providerCode, message
    APP_ID_UNKNOWN = "APP_ID_UNKNOWN"  # value
    APP_ID_UNPROVEN = "APP_ID_UNPROVEN"
    MERCHANT_UNKNOWN = "MERCHANT_UNKNOWN"  # providerCode, message
    PRODUCT_NOT_OPEN = "PRODUCT_NOT_OPEN"  # providerCode, message
    SIGNATURE_REFUSED = "SIGNATURE_REFUSED"  # providerCode, message
    CERTIFICATE_REFUSED = "CERTIFICATE_REFUSED"  # providerCode, message
    ANSWER_NOT_TRUSTED = "ANSWER_NOT_TRUSTED"  # reason
    API_V3_KEY_WORKS = "API_V3_KEY_WORKS"
    API_V3_KEY_UNPROVEN = "API_V3_KEY_UNPROVEN"
    API_V3_KEY_WRONG = "API_V3_KEY_WRONG"
    CLOCK_RIGHT = "CLOCK_RIGHT"
    CLOCK_DRIFTS = "CLOCK_DRIFTS"  # seconds: ours minus the provider's
    CLOCK_WRONG = "CLOCK_WRONG"  # seconds
    CALLBACK_REACHABLE = "CALLBACK_REACHABLE"  # url
    CALLBACK_UNREACHABLE = "CALLBACK_UNREACHABLE"  # url, message
    CALLBACK_LOCAL = "CALLBACK_LOCAL"  # url
    CALLBACK_INSECURE = "CALLBACK_INSECURE"  # url
    ACCOUNT_SERVES = "ACCOUNT_SERVES"
    ACCOUNT_SPARE = "ACCOUNT_SPARE"
    ACCOUNT_DISABLED = "ACCOUNT_DISABLED"
    CHANNEL_DISABLED = "CHANNEL_DISABLED"


_WARNINGS = frozenset(
    {
        Code.APP_ID_FORM,
        Code.MERCHANT_ID_FORM,
        Code.CERTIFICATE_ENDS_SOON,
        Code.PROVIDER_UNCLEAR,
        Code.CLOCK_DRIFTS,
        # From where we stand: a network that does not reach its own public address is no proof.
        Code.CALLBACK_UNREACHABLE,
        Code.CALLBACK_LOCAL,
        Code.ACCOUNT_DISABLED,
        Code.CHANNEL_DISABLED,
    }
)
_ERRORS = frozenset(
    {
        Code.CONFIG_INVALID,
        Code.OWN_KEY_GIVEN,
        Code.CERTIFICATE_EXPIRED,
        Code.CERTIFICATE_NOT_YET_VALID,
        Code.PROVIDER_UNREACHABLE,
        Code.APP_ID_UNKNOWN,
        Code.MERCHANT_UNKNOWN,
        Code.PRODUCT_NOT_OPEN,
        Code.SIGNATURE_REFUSED,
        Code.CERTIFICATE_REFUSED,
        Code.ANSWER_NOT_TRUSTED,
        Code.API_V3_KEY_WRONG,
        Code.CLOCK_WRONG,
        Code.CALLBACK_INSECURE,
    }
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Facts are texts that may be shown: never a secret."""

    code: Code
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        if self.code in _ERRORS:
            return Severity.ERROR
        return Severity.WARNING if self.code in _WARNINGS else Severity.OK


def worst(findings: Iterable[Finding]) -> Severity:
    """Of several findings; OK when there are none."""
    order = list(Severity)
    return max((finding.severity for finding in findings), key=order.index, default=Severity.OK)


def certificate_finding(
    name: str, begin: datetime | None, end: datetime, *, now: datetime
) -> Finding:
    """Whether a certificate counts now and for how long; `name` is its field."""
    if begin is not None and now < begin:
        return Finding(Code.CERTIFICATE_NOT_YET_VALID, {"field": name, "from": _day(begin)})
    facts = {"field": name, "until": _day(end)}
    if now > end:
        return Finding(Code.CERTIFICATE_EXPIRED, facts)
    return Finding(
        Code.CERTIFICATE_ENDS_SOON if end - now < ENDS_SOON else Code.CERTIFICATE_VALID, facts
    )


def clock_finding(offset: timedelta) -> Finding:
    """How far our clock is ahead of the provider's."""
    if abs(offset) < CLOCK_DRIFT:
        return Finding(Code.CLOCK_RIGHT)
    code = Code.CLOCK_WRONG if abs(offset) >= CLOCK_LIMIT else Code.CLOCK_DRIFTS
    return Finding(code, {"seconds": f"{offset.total_seconds():.0f}"})


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
