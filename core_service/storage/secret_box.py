"""Secrets at rest: AES-256-GCM envelopes (a random data key per value, wrapped by a master key).

A sealed value is bound to its place (table, row, field, merchant) by associated data: moved elsewhere it does not open.
Layout: version (1) · length of key id (1) · key id · wrap nonce (12) · wrapped data key (48) · nonce (12) · ciphertext.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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
        return "\x1f".join((self.table, self.row_id, self.field, self.merchant_id)).encode()


class SecretBox:
    """Seals with the first key of the ring, opens with any of them."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`: id → 32 bytes, the writing key first."""
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.writing_key_id = next(iter(keys))

    def seal(self, secret: bytes, place: Place) -> bytes:
        data_key = AESGCM.generate_key(bit_length=256)
        key_id = self.writing_key_id.encode()
        wrap_nonce, nonce = secrets.token_bytes(_NONCE), secrets.token_bytes(_NONCE)
        place_bytes = place.associated_data()
        wrapped = self._keys[self.writing_key_id].encrypt(wrap_nonce, data_key, place_bytes)
        ciphertext = AESGCM(data_key).encrypt(nonce, secret, place_bytes)
        return bytes((_VERSION, len(key_id))) + key_id + wrap_nonce + wrapped + nonce + ciphertext

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Raises SecretUnreadable."""
        key_id = self.key_id_of(sealed)
        position = 2 + sealed[1]
        wrap_nonce = sealed[position : position + _NONCE]
        position += _NONCE
        wrapped = sealed[position : position + _WRAPPED_KEY]
        position += _WRAPPED_KEY
        nonce, ciphertext = sealed[position : position + _NONCE], sealed[position + _NONCE :]
        wrapping_key = self._keys.get(key_id)
        if wrapping_key is None:
            raise SecretUnreadable(f"master key {key_id!r} is not in NOVAPAY_DATA_ENCRYPTION_KEYS")
        place_bytes = place.associated_data()
        try:
            data_key = wrapping_key.decrypt(wrap_nonce, wrapped, place_bytes)
            return AESGCM(data_key).decrypt(nonce, ciphertext, place_bytes)
        except InvalidTag as failure:
            raise SecretUnreadable(
                f"master key {key_id!r} does not open this value here"
            ) from failure

    @staticmethod
    def key_id_of(sealed: bytes) -> str:
        if len(sealed) < 2 + _NONCE + _WRAPPED_KEY + _NONCE or sealed[0] != _VERSION:
            raise SecretUnreadable("not a sealed value")
        return bytes(sealed[2 : 2 + sealed[1]]).decode(errors="replace")
