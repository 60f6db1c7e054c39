"""Operators' passwords: argon2id, a few at a time, and the same work whether or not there is one to compare."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from core_service import turns
from core_service.errors import CoreError, FieldViolation

SHORTEST = 12
LONGEST = 256
FEWEST_DIFFERENT_CHARACTERS = 5

HASHES_AT_ONCE = 2
"""Each takes 64 MiB and a processor for about 0.1 s."""
WAIT_SECONDS = 2

_hasher = PasswordHasher()
_places = BoundedSemaphore(HASHES_AT_ONCE)
# Of nothing that anybody knows: what an unknown operator's password is compared with.
_DUMMY_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


def hash_password(password: str) -> str:
    """Hash a password for keeping. Raises OVERLOADED."""
    with _one_of_few():
        return _hasher.hash(password)


def is_password(password: str, kept: str | None) -> bool:
    """Compare with the kept hash; None costs the same and is never right. Raises OVERLOADED."""
    with _one_of_few():
        try:
            _hasher.verify(kept or _DUMMY_HASH, password)
        except (Argon2Error, InvalidHashError):
            return False
    return kept is not None


def violations(password: str, email: str, field: str = "password") -> list[FieldViolation]:
    """What is wrong with a new password of the owner of `email`."""
    if not SHORTEST <= len(password) <= LONGEST:
        reason = f"must have {SHORTEST} to {LONGEST} characters"
    elif len(set(password)) < FEWEST_DIFFERENT_CHARACTERS:
        reason = f"must have at least {FEWEST_DIFFERENT_CHARACTERS} different characters"
    elif password.lower() == email:
        reason = "must not be the e-mail address"
    else:
        return []
    return [FieldViolation(field, reason)]


def new_first_password() -> str:
    """A password that somebody else hands over; to be changed at the first sign-in."""
    return secrets.token_urlsafe(15)


@contextmanager
def _one_of_few() -> Iterator[None]:
    """Neither the wait nor the hashing, which is not Python's, keeps other calls waiting."""
    with turns.elsewhere():
        if not _places.acquire(timeout=WAIT_SECONDS):
            raise CoreError("OVERLOADED", retry_after_seconds=WAIT_SECONDS)
        try:
            yield
        finally:
            _places.release()
