"""The second step of an operator's sign-in: one-time codes of an authenticator, and recovery codes in their place.

Whoever switches it on or off, or wants new recovery codes, proves that they know the password; wrong passwords
and codes count like failed sign-ins.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core_service.application import passwords, throttle
from core_service.calls import Call
from core_service.domain import one_time_code
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.storage import access, audit, operators, sealed_places
from core_service.storage.access import OperatorRow
from core_service.storage.database import transact
from core_service.storage.secret_box import SecretBox

KEY_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 10
MAX_TRIES = 10
LOCKED_FOR = timedelta(minutes=30)

_SIX_DIGITS = re.compile(r"[0-9]{6}")
_box: list[SecretBox] = []


@dataclass(frozen=True)
class NewKey:
    """A key to be put into an authenticator; shown this once."""

    text: str = field(repr=False)
    uri: str = field(repr=False)


def configure(box: SecretBox) -> None:
    """Set the keys that seal TOTP keys."""
    _box[:] = [box]


def begin(call: Call, *, password: str, now: datetime) -> NewKey:
    """A new key that counts once it is confirmed. Raises INVALID_REQUEST for a wrong password, RATE_LIMITED."""
    operator = _proved(call, password, now)
    if operator.totp_sealed is not None:
        raise CoreError("PERMISSION_DENIED", "Two-step sign-in is on; switch it off first.")
    key = secrets.token_bytes(KEY_BYTES)
    sealed = _box[0].seal(key, sealed_places.pending_operator_totp(operator.id))

    def keep() -> None:
        operators.keep_pending_totp(operator.id, sealed)
        _record(call, operator, "begin_totp")

    transact(keep)
    return NewKey(one_time_code.key_text(key), one_time_code.key_uri(key, operator.email))


def confirm(call: Call, *, code: str, this_session: bytes, now: datetime) -> list[str]:
    """Switch it on with a code of the new key; ends every session but this one (its token's hash).

    Answers the recovery codes.

    Raises INVALID_REQUEST for a wrong code and when there is nothing to confirm, RATE_LIMITED.
    """
    operator = _signed_in(call)
    _count_try(operator, now)
    pending = operators.pending_totp(operator.id)
    if pending is None or operator.totp_sealed is not None:
        raise _wrong("code", "there is no new key to confirm; begin again")
    key = _box[0].open(pending, sealed_places.pending_operator_totp(operator.id))
    step = one_time_code.matching_step(key, code.strip(), now.timestamp())
    if step is None:
        raise _wrong("code", "is wrong; enter the newest code of the authenticator")
    sealed = _box[0].seal(key, sealed_places.operator_totp(operator.id))

    def switch_on() -> list[str]:
        if not operators.switch_totp_on(operator.id, pending=pending, sealed=sealed, step=step):
            raise _wrong("code", "there is no new key to confirm; begin again")
        access.delete_sessions_of(operator.id, but=this_session)
        _forgive(operator)
        _record(call, operator, "enable_totp")
        return _new_codes(operator, now)

    return transact(switch_on)


def disable(call: Call, *, password: str, code: str, now: datetime) -> None:
    """Switch it off, with the password and a code of either kind. Raises as `replace_codes` does."""
    operator = _proved(call, password, now)

    def switch_off() -> None:
        _spend_or_say(operator, code, now)
        operators.switch_totp_off(operator.id)
        _record(call, operator, "disable_totp")

    transact(switch_off)


def replace_codes(call: Call, *, password: str, code: str, now: datetime) -> list[str]:
    """New recovery codes; those before count no longer.

    Raises INVALID_REQUEST for a wrong password or code and when two-step sign-in is off, RATE_LIMITED.
    """
    operator = _proved(call, password, now)

    def replace() -> list[str]:
        _spend_or_say(operator, code, now)
        _record(call, operator, "replace_recovery_codes")
        return _new_codes(operator, now)

    return transact(replace)


def spend(operator: OperatorRow, code: str, *, now: datetime) -> str | None:
    """Use up a one-time code or a recovery code: which of them it was; None: neither, or it was used.

    To be called inside the transaction of what it is needed for.
    """
    assert operator.totp_sealed is not None
    given = code.strip()
    if not _SIX_DIGITS.fullmatch(given):
        is_spent = operators.spend_recovery_code(operator.id, _hash(operator.id, given), now=now)
        return "recovery_code" if is_spent else None
    key = _box[0].open(operator.totp_sealed, sealed_places.operator_totp(operator.id))
    step = one_time_code.matching_step(key, given, now.timestamp())
    is_new = step is not None and operators.spend_totp_step(operator.id, step)
    return "one_time_code" if is_new else None


def codes_left(operator: OperatorRow) -> int:
    """How many recovery codes were not used yet."""
    return 0 if operator.totp_sealed is None else operators.recovery_codes_left(operator.id)


def _signed_in(call: Call) -> OperatorRow:
    """The caller as stored."""
    if call.operator is None:
        raise CoreError("ADMIN_UNAUTHENTICATED")
    operator = access.operator_by_id(call.operator.id)
    assert operator is not None
    return operator


def _proved(call: Call, password: str, now: datetime) -> OperatorRow:
    operator = _signed_in(call)
    _count_try(operator, now)
    if not passwords.is_password(password, operator.password_hash):
        raise _wrong("password", "is wrong")
    if operator.totp_sealed is None:
        _forgive(operator)
    return operator


def _spend_or_say(operator: OperatorRow, code: str, now: datetime) -> None:
    if operator.totp_sealed is None:
        raise _wrong("code", "two-step sign-in is off")
    if spend(operator, code, now=now) is None:
        raise _wrong("code", "is wrong or was used already")
    _forgive(operator)


def _count_try(operator: OperatorRow, now: datetime) -> None:
    throttle.count_try(f"two_step:{operator.id}", limit=MAX_TRIES, window=LOCKED_FOR, now=now)


def _forgive(operator: OperatorRow) -> None:
    access.clear_sign_in_failures(f"two_step:{operator.id}")


def _new_codes(operator: OperatorRow, now: datetime) -> list[str]:
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    hashes = [_hash(operator.id, code) for code in codes]
    operators.replace_recovery_codes(operator.id, hashes, now=now)
    return codes


def _new_code() -> str:
    """80 random bits as four groups of four characters: `abcd-efgh-ijkl-mnop`."""
    text = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash(operator_id: str, code: str) -> bytes:
    """80 random bits need no slow hash. Case, spaces and hyphens are people's to choose."""
    plain = re.sub(r"[\s-]", "", code).lower()
    return hashlib.sha256(f"{operator_id}:{plain}".encode()).digest()


def _record(call: Call, operator: OperatorRow, verb: str) -> None:
    audit.record(
        call,
        action=f"operator.{verb}",
        target=f"operator:{operator.id}",
        before=None,
        after=None,
    )


def _wrong(name: str, reason: str) -> CoreError:
    return invalid_request(FieldViolation(name, reason))
