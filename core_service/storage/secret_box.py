"""Secrets at rest: AES-256-GCM envelopes (a random data key per value, wrapped by a master key).

A sealed value is bound to its place (table, row, field, merchant) by associated data: moved elsewhere it does not open.
Layout: version (1) · length of key id (1) · key id · wrap nonce (12) · wrapped data key (48) · nonce (12) · ciphertext.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core_service.master_keys import Ring

_VERSION = 1
_NONCE = 12
_WRAPPED_KEY = 48


class SecretUnreadable(Exception):
    """A sealed value that no key of the ring opens at this place; names the key id, never the value."""


@dataclass(frozen=True)
class Place:
    """Where a secret lives; part of what is authenticated."""

    table: str
    row_id: str
    field: str
    merchant_id: str

    def associated_data(self) -> bytes:
        return f"{self.table}\x1f{self.row_id}\x1f{self.field}\x1f{self.merchant_id}".encode()


@dataclass(frozen=True)
class _Envelope:
    """The parts of a sealed value."""

    key_id: str
    wrap_nonce: bytes
    wrapped_key: bytes
    content: bytes
    """Nonce and ciphertext."""


class SecretBox:
    """Seals with the first key of the ring, opens with any of them."""

    def __init__(self, ring: Ring, newer_ring: Callable[[], Ring | None] | None = None) -> None:
        """`newer_ring` is asked before a value is sealed, and when a key is unknown; None: as it was."""
        self._newer_ring = newer_ring
        self._take(ring)

    @property
    def writing_key_id(self) -> str:
        """The key that seals from now."""
        return next(iter(self._keys))

    def seal(self, secret: bytes, place: Place) -> bytes:
        self._look_for_newer_keys()
        data_key = AESGCM.generate_key(bit_length=256)
        nonce = secrets.token_bytes(_NONCE)
        ciphertext = AESGCM(data_key).encrypt(nonce, secret, place.associated_data())
        return self._wrap(data_key, nonce + ciphertext, place)

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Raises SecretUnreadable."""
        envelope = _taken_apart(sealed)
        _, secret = self._opened(envelope, place)
        return secret

    def rewrap(self, sealed: bytes, place: Place) -> bytes:
        """The same value under the writing key: only its data key is sealed anew. Raises SecretUnreadable."""
        envelope = _taken_apart(sealed)
        data_key, _ = self._opened(envelope, place)
        return self._wrap(data_key, envelope.content, place)

    @staticmethod
    def key_id_of(sealed: bytes) -> str:
        return _taken_apart(sealed).key_id

    def _wrap(self, data_key: bytes, content: bytes, place: Place) -> bytes:
        key_id, wrapping_key = next(iter(self._keys.items()))
        wrap_nonce = secrets.token_bytes(_NONCE)
        wrapped = wrapping_key.encrypt(wrap_nonce, data_key, place.associated_data())
        name = key_id.encode()
        return bytes((_VERSION, len(name))) + name + wrap_nonce + wrapped + content

    def _opened(self, envelope: _Envelope, place: Place) -> tuple[bytes, bytes]:
        """Data key and secret."""
        if envelope.key_id not in self._keys:
            self._look_for_newer_keys()
        try:
            return self._opened_now(envelope, place)
        except SecretUnreadable:
            # Another key may have this id by now.
            if not self._look_for_newer_keys():
                raise
            return self._opened_now(envelope, place)

    def _opened_now(self, envelope: _Envelope, place: Place) -> tuple[bytes, bytes]:
        wrapping_key = self._keys.get(envelope.key_id)
        if wrapping_key is None:
            raise SecretUnreadable(
                f"master key {envelope.key_id!r} is not in NOVAPAY_DATA_ENCRYPTION_KEYS"
            )
        where = place.associated_data()
        nonce, ciphertext = envelope.content[:_NONCE], envelope.content[_NONCE:]
        try:
            data_key = wrapping_key.decrypt(envelope.wrap_nonce, envelope.wrapped_key, where)
            return data_key, AESGCM(data_key).decrypt(nonce, ciphertext, where)
        except InvalidTag as failure:
            raise SecretUnreadable(
                f"master key {envelope.key_id!r} does not open this value here"
            ) from failure

    def _look_for_newer_keys(self) -> bool:
        newer = self._newer_ring() if self._newer_ring else None
        if newer is not None:
            self._take(newer)
        return newer is not None

    def _take(self, ring: Ring) -> None:
        # One assignment: other threads see the old ring or the new one.
        self._keys = {key_id: AESGCM(key) for key_id, key in ring.items()}


def _taken_apart(sealed: bytes) -> _Envelope:
    if len(sealed) < 2 or sealed[0] != _VERSION:
        raise SecretUnreadable("not a sealed value")
    ends = [2 + sealed[1], 2 + sealed[1] + _NONCE, 2 + sealed[1] + _NONCE + _WRAPPED_KEY]
    if len(sealed) < ends[2] + _NONCE:
        raise SecretUnreadable("not a sealed value")
    return _Envelope(
        key_id=bytes(sealed[2 : ends[0]]).decode(errors="replace"),
        wrap_nonce=sealed[ends[0] : ends[1]],
        wrapped_key=sealed[ends[1] : ends[2]],
        content=sealed[ends[2] :],
    )
