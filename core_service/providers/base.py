"""What a provider module offers and the plain values that go in and out.

A provider knows its wire protocol and nothing of our tables. It raises `ProviderRefused`,
`ProviderUnknown` or `NotificationRejected`, never a library's exception. All amounts are integer
fen, all times are aware UTC datetimes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from core_service.domain.account_check import Finding


class PaymentState(StrEnum):
    """What a provider says about a payment."""

    UNPAID = "UNPAID"
    """Known (or not yet known) at the provider, no money so far."""
    PAID = "PAID"
    CLOSED = "CLOSED"
    """Ended without money."""
    FAILED = "FAILED"


class RefundState(StrEnum):
    """What a provider says about one refund number."""

    PROCESSING = "PROCESSING"
    """Accepted or not decided; ask again."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """Definitely ended without moving money."""
    NOT_FOUND = "NOT_FOUND"
    """The provider does not know the number: repeat the refund with the same number."""
    ABNORMAL = "ABNORMAL"
    """Stuck at the provider until a person acts; not final."""


@dataclass(frozen=True)
class ProviderAccount:
    """A merchant's account at a provider as the adapter sees it.

    `config` holds the keys named in operations.md ("Account configuration"), secrets in clear text;
    `parsed` is a per-account cache that belongs to the adapter (parsed keys, platform
    certificates).
    """

    id: str
    merchant_id: str
    channel_code: str
    config: Mapping[str, Any] = field(repr=False)
    callback_url: str = field(repr=False)
    """Where the provider sends notifications.

    `{public base}/api/payments/callback/{alipay|wxpay}/{id}/{token}`
    """
    parsed: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class PaymentRequest:
    """One payment to be made payable."""

    order_id: str
    amount_fen: int
    subject: str
    description: str | None
    expire_at: datetime
    return_url: str


@dataclass(frozen=True)
class Checkout:
    """Where the payer goes; the link is shown to the merchant, so it is never secret."""

    payment_mode: str
    """`redirect` or `qr_code`."""
    checkout_url: str


@dataclass(frozen=True)
class PaymentReport:
    """Verified facts about a payment, from an answer or a notification."""

    order_id: str
    state: PaymentState
    provider_status: str
    """The provider's own word, for display."""
    gateway_order_id: str | None = None
    """The provider's number of the payment."""
    paid_amount_fen: int | None = None
    """The order amount as the provider has it (not what the payer paid after coupons)."""
    currency: str | None = None
    paid_at: datetime | None = None
    has_refunds: bool = False
    """The provider hints that money went back: ask about open refunds."""


@dataclass(frozen=True)
class RefundRequest:
    """One refund; the same refund_id is sent again for ever."""

    refund_id: str
    order_id: str
    gateway_order_id: str | None
    amount_fen: int
    order_amount_fen: int
    reason: str | None


@dataclass(frozen=True)
class RefundReport:
    """Verified facts about one refund."""

    refund_id: str
    order_id: str | None
    state: RefundState
    provider_status: str
    provider_refund_id: str | None = None
    amount_fen: int | None = None
    order_amount_fen: int | None = None
    """The amount of the order the refund belongs to, when the provider names it."""
    refunded_at: datetime | None = None
    failure_code: str | None = None
    failure_message: str | None = None


@dataclass(frozen=True)
class NotificationRequest:
    """A provider's HTTP call to us, untouched."""

    method: str
    headers: Mapping[str, str]
    """Lower-case names."""
    query: bytes
    body: bytes


@dataclass(frozen=True)
class Notification:
    """A verified provider notification.

    Either about a payment or about a refund, or nothing to act on.
    """

    event_id: str | None
    payment: PaymentReport | None = None
    refund: RefundReport | None = None
    needs_query: bool = False
    """Genuine but contradictory or indecisive: change nothing, ask the provider soon."""
    contradicts_itself: bool = False
    """Its envelope says one thing and its content another: the provider is told no as well."""


@dataclass(frozen=True)
class HttpAnswer:
    """What the provider gets back, byte for byte."""

    status: int
    content_type: str
    body: bytes


_LONGEST_CODE = 64


class ProviderRefused(Exception):
    """The provider gave a definite, authenticated no to this very request.

    `retryable`: the same number may be sent again later (balance too low).
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        code = code[:_LONGEST_CODE]
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable


class ProviderUnknown(Exception):
    """No trustworthy answer: time-out, reset, 5xx, unreadable, unsigned.

    The outcome is unknown, never failed.

    `reason` is PROVIDER_TIMEOUT (the request may have had its effect) or PROVIDER_UNAVAILABLE.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AskedTooOften(ProviderUnknown):
    """The provider turned the call away because there were too many of this account's: the same later, and fewer."""

    def __init__(self, message: str) -> None:
        super().__init__("PROVIDER_UNAVAILABLE", message)


class NotificationRejected(Exception):
    """A notification that must not be believed.

    `reason` is a stable lower-case word such as bad_signature.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AccountConfigInvalid(Exception):
    """The account configuration cannot work.

    `violations` maps a config key to what is wrong with it.
    """

    def __init__(self, violations: Mapping[str, str]) -> None:
        super().__init__(", ".join(sorted(violations)))
        self.violations = dict(violations)


OWN_KEY = "is your own key; the one of the provider belongs here"
"""The reason of a violation that the doctor knows by itself: the commonest mix-up of all."""


class FieldKind(StrEnum):
    """How a field is entered."""

    TEXT = "TEXT"
    PEM = "PEM"
    """A key or certificate, PEM or bare base64."""
    PEM_LIST = "PEM_LIST"
    """One or several certificates one after the other."""
    URL = "URL"


@dataclass(frozen=True)
class AccountFieldGroup:
    """Fields that are given together, or not at all: one way of trusting the provider."""

    code: str
    label_zh: str
    label_en: str
    help_zh: str
    help_en: str


@dataclass(frozen=True)
class AccountField:
    """One key of an account configuration: forms, checks and the list of secrets are made from these."""

    name: str
    required: bool
    """In a group: required as soon as another field of the group is given."""
    secret: bool
    label_zh: str
    label_en: str
    kind: FieldKind = FieldKind.TEXT
    help_zh: str = ""
    """Where to find it at the provider, and what it is easily mistaken for."""
    help_en: str = ""
    group: AccountFieldGroup | None = None


class Provider(Protocol):
    """One channel of one provider.

    Methods that call out take `timeout_seconds`, the total they may use.
    """

    channel_code: str
    """Such as alipay.page."""
    provider_code: str
    """The path word of its callback route: alipay or wxpay."""
    display_name: str
    description: str
    payment_mode: str
    account_fields: tuple[AccountField, ...]
    creates_locally: bool
    """True when create_payment needs no network (Alipay page pay)."""
    can_close: bool
    can_refund: bool

    def validate_config(self, config: Mapping[str, Any], *, allow_custom_base_url: bool) -> None:
        """Raises AccountConfigInvalid.

        Parses every key, so that a bad one is refused when it is entered.
        """

    def check_account(
        self, account: ProviderAccount, *, now: datetime, timeout_seconds: float
    ) -> Sequence[Finding]:
        """What is right and wrong with an account whose configuration is valid, asked of the provider itself.

        Changes nothing at the provider, and believes nothing that other calls have learned.
        """

    def create_payment(
        self,
        account: ProviderAccount,
        request: PaymentRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> Checkout:
        """Makes the order payable. Raises ProviderRefused, ProviderUnknown."""

    def query_payment(
        self,
        account: ProviderAccount,
        order_id: str,
        *,
        amount_fen: int,
        now: datetime,
        timeout_seconds: float,
    ) -> PaymentReport:
        """Asks for the truth.

        A payment that the provider does not know yet is UNPAID with provider_status NOT_EXIST.
        Raises ProviderUnknown; also when the genuine answer is about another order or amount.
        """

    def close_payment(
        self, account: ProviderAccount, order_id: str, *, now: datetime, timeout_seconds: float
    ) -> PaymentState:
        """CLOSED: closed for sure.

        UNPAID: nothing to close there (may still be paid until it expires). PAID: it may just have
        been paid, query. Raises ProviderRefused, ProviderUnknown.
        """

    def create_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Sends (or repeats) a refund. Raises ProviderRefused, ProviderUnknown."""

    def query_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Asks about one refund number. Raises ProviderUnknown."""

    def parse_notification(
        self, account: ProviderAccount, request: NotificationRequest, *, now: datetime
    ) -> Notification:
        """Verifies over the raw bytes, decrypts and reads.

        Raises NotificationRejected. Amount, currency and order are compared by the caller, who
        knows them; app id, merchant id and seller id are compared here.
        """

    def acknowledge(self) -> HttpAnswer:
        """What tells the provider that its notification is durably taken."""

    def reject(
        self,
        http_status: int,
        message: str,
        *,
        code: str = "INVALID_NOTIFICATION",
        details: Any = None,
    ) -> HttpAnswer:
        """What tells the provider to come again, with the contract's error body.

        WeChat Pay wants `code` to be FAIL whatever ours is.
        """
