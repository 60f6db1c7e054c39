"""The ring of master keys that seal stored secrets: its text form, and the file that keeps it.

The first key of a ring writes, all of them read. A file can get a new first key while processes run: whoever holds
a `KeyFile` sees the change. Keys that came in the environment cannot change before a restart.
"""

import base64
import binascii
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

MASTER_KEY_BYTES = 32
MAX_KEY_ID_BYTES = 64
_NUMBERED = re.compile(r"k([0-9]{1,9})")

Ring = Mapping[str, bytes]
"""Key id → 32 bytes, the writing key first."""


def parse_ring(text: str) -> Ring:
    """Parse `id:base64key[,id:base64key…]`; raises ValueError that does not repeat a key."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(text.split(","), start=1):
        key_id, separator, encoded = part.strip().partition(":")
        if not separator or not key_id or len(key_id.encode()) > MAX_KEY_ID_BYTES:
            raise ValueError(f"entry {position} must be id:base64key")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"key {key_id} is not base64") from None
        if len(key) != MASTER_KEY_BYTES:
            raise ValueError(f"key {key_id} has {len(key)} bytes instead of {MASTER_KEY_BYTES}")
        if key_id in keys:
            raise ValueError(f"key id {key_id} is given twice")
        keys[key_id] = key
    return MappingProxyType(keys)


def ring_text(ring: Ring) -> str:
    """Give the text form of a ring."""
    return ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in ring.items())


def new_ring() -> Ring:
    """Make a ring of one fresh key."""
    return {"k1": secrets.token_bytes(MASTER_KEY_BYTES)}


class KeyFile:
    """A ring in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None

    def load(self) -> Ring:
        """Read the ring; raises OSError, and ValueError for what is no ring."""
        self._seen = self._state()
        return parse_ring(self.path.read_text(encoding="ascii").strip())

    def load_if_changed(self) -> Ring | None:
        """Read the ring when the file is another one than at the last look."""
        return None if self._state() == self._seen else self.load()

    def add_writing_key(self) -> Ring:
        """Put a fresh key first, under an id that the ring never had; return the new ring."""
        with self._exclusive():
            ring = self.load()
            # The writing key has the highest number and cannot be dropped, so no number comes twice.
            numbers = [int(match[1]) for key_id in ring if (match := _NUMBERED.fullmatch(key_id))]
            number = 1 + max(numbers, default=len(ring))
            fresh = {f"k{number}": secrets.token_bytes(MASTER_KEY_BYTES), **ring}
            self._replace(fresh)
        return self.load()

    def drop(self, key_id: str) -> Ring:
        """Take a key out that is not the writing one; return the new ring."""
        with self._exclusive():
            ring = dict(self.load())
            del ring[key_id]
            self._replace(ring)
        return self.load()

    def _state(self) -> tuple[int, int]:
        # A replaced file is another inode; the time is for file systems that use one again.
        found = self.path.stat()
        return found.st_ino, found.st_mtime_ns

    def _replace(self, ring: Ring) -> None:
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            kept = self.path.stat()
            # Whoever rotates, perhaps root, leaves it to the account that runs the core.
            if (kept.st_uid, kept.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, kept.st_uid, kept.st_gid)
            file.write(f"{ring_text(ring)}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a key that sealed something must not be lost with the power
        finally:
            os.close(folder)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Two rotations at once would lose one of the new keys."""
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
