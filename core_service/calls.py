"""One call into the core: who is calling, what they sent along, and how long there is.

The interceptors make a `Call`; use cases read it. Workers make their own with a deadline of their own.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core_service.errors import CoreError


class Principal(StrEnum):
    """What kind of caller; the names are those of the proto option without prefix."""

    PUBLIC = "PUBLIC"
    MERCHANT = "MERCHANT"
    OPERATOR = "OPERATOR"
    STAFF = "STAFF"
    SERVICE = "SERVICE"


@dataclass(frozen=True)
class OperatorIdentity:
    """A signed-in operator, as read from the database for this very call."""

    id: str
    email: str
    role: str


@dataclass(frozen=True)
class StaffIdentity:
    """A signed-in member of a merchant's staff, as read from the database for this very call."""

    id: str
    email: str
    role: str
    merchant_id: str
    merchant_code: str


@dataclass(frozen=True)
class UnspentNonce:
    """A merchant's nonce that passed every check but the last: that it was never used before."""

    merchant_id: str
    nonce: bytes
    signed_at: float
    """The request's own timestamp, Unix seconds."""
    merchant_version: int
    """The snapshot that the caller was authenticated against."""


@dataclass
class Call:
    """State of one call; belongs to one thread."""

    request_id: str
    principal: Principal
    deadline: float
    """time.monotonic() at which the caller stops waiting, less the margin for the answer."""
    client_address: str | None = None
    merchant: Any = None
    """application.merchant_cache.MerchantSnapshot of a MERCHANT caller."""
    operator: OperatorIdentity | None = None
    staff: StaffIdentity | None = None
    session_token: bytes | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    reason: str | None = None
    """Why a person does what they do, in their words; for the audit record."""
    unspent_nonce: UnspentNonce | None = None
    is_active: Callable[[], bool] = field(default=lambda: True)
    trailing: dict[str, str] = field(default_factory=dict)
    """Metadata that goes back beside the answer, also beside an error."""

    @property
    def actor(self) -> str:
        """Who, for events and audit records: merchant, operator:<email>, staff:<email>, service…"""
        match self.principal:
            case Principal.MERCHANT:
                return "merchant"
            case Principal.OPERATOR if self.operator is not None:
                return f"operator:{self.operator.email}"
            case Principal.STAFF | Principal.PUBLIC if self.staff is not None:
                return f"staff:{self.staff.email}"
            case Principal.SERVICE:
                return "service"
            case _:
                return "public"

    @property
    def is_by_person(self) -> bool:
        """Whether somebody signed in: each change that they make leaves an audit record."""
        return self.operator is not None or self.staff is not None

    def ensure_sees(self, merchant_id: str, reason: str) -> None:
        """Raises `reason` when the caller's merchant is fixed and is not this one.

        For what is named by an id alone; a `merchant_code` was compared before the handler ran.
        """
        if self.staff is not None and self.staff.merchant_id != merchant_id:
            raise CoreError(reason)

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def ensure_alive(self, needed_seconds: float = 0.1) -> None:
        """Raises OVERLOADED when the caller has gone or has too little time for what comes next.

        To be called before every effect: a Python handler runs on after its caller has given up.
        """
        if not self.is_active() or self.seconds_left() < needed_seconds:
            raise CoreError("OVERLOADED", retry_after_seconds=1)


_current = threading.local()


def current_call() -> Call | None:
    """The call that this thread works on; for logs only, never for decisions."""
    return getattr(_current, "call", None)


def set_current_call(call: Call | None) -> None:
    """Says what this thread works on from now."""
    _current.call = call
