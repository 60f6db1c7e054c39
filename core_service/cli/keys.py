"""`novapay keys`: the master keys that seal stored secrets, changed while everything runs."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core_service.application import key_rotation
from core_service.bootstrap import secret_box
from core_service.cli.care import database_of, refuse_pending_migrations
from core_service.cli.failure import CommandFailed, load_settings
from core_service.master_keys import KeyFile
from core_service.settings import Settings
from core_service.storage import database, sealed_values
from core_service.storage.database import connection_scope
from core_service.storage.secret_box import SecretUnreadable

SETTLE_SECONDS = 12
"""Longer than any call lives: what was sealed by the old key while it still wrote is stored by then."""


def rotate(arguments: Namespace) -> int:
    """Make a new master key and move every stored secret to it; goes on where an earlier run stopped."""
    settings = load_settings()
    with _database(settings):
        if key_rotation.is_complete(secret_box(settings)):
            _add_writing_key(settings)
        else:
            _say("going on with an earlier rotation")
        box = secret_box(settings)
        try:
            moved = key_rotation.rewrap_all(box, _tell)
            _say(f"waiting {SETTLE_SECONDS} s for calls that began under the old key")
            time.sleep(SETTLE_SECONDS)
            moved += key_rotation.rewrap_all(box, _tell)
        except SecretUnreadable as error:
            raise CommandFailed(f"{error}; put that key back and run this again") from error
    if arguments.json:
        print(json.dumps({"writingKey": box.writing_key_id, "moved": moved}))
    else:
        print(f"key {box.writing_key_id} writes; {moved} stored secrets were moved to it")
        print("older keys are kept, for backups; `novapay keys drop ID` takes one out")
    return 0


def drop(arguments: Namespace) -> int:
    """Take a master key out of the ring, unless a stored secret still needs it."""
    settings = load_settings()
    if settings.encryption_keys_file is None:
        raise CommandFailed("the keys are in NOVAPAY_DATA_ENCRYPTION_KEYS: take the key out there")
    key_id = arguments.id
    with _database(settings), connection_scope():
        ring = settings.encryption_keys
        if key_id not in ring:
            raise CommandFailed(f"there is no key {key_id}; the keys are {', '.join(ring)}")
        if key_id == next(iter(ring)) or sealed_values.is_in_use(key_id):
            raise CommandFailed(f"key {key_id} is in use: run `novapay keys rotate` first")
        with _writable(settings.encryption_keys_file):
            left = KeyFile(settings.encryption_keys_file).drop(key_id)
    if arguments.json:
        print(json.dumps({"dropped": key_id, "keys": list(left)}))
    else:
        print(f"key {key_id} is gone; left: {', '.join(left)}")
    return 0


def _add_writing_key(settings: Settings) -> None:
    path = settings.encryption_keys_file
    if path is None:
        raise CommandFailed(
            "every stored secret is sealed by the first key of NOVAPAY_DATA_ENCRYPTION_KEYS. Put"
            " a new one before it (id:…, made with `openssl rand -base64 32`), restart every core"
            " and worker, and run this again"
        )
    with _writable(path):
        ring = KeyFile(path).add_writing_key()
    _say(f"key {next(iter(ring))} was made and writes from now; keep a copy of {path}")


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(
            f"{path} cannot be replaced ({error}): run this where its folder may be written, and give the new file to"
            " every core and worker"
        ) from error


@contextmanager
def _database(settings: Settings) -> Iterator[None]:
    with database_of(settings) as url:
        refuse_pending_migrations(url)
        database.configure(url, max_connections=1)
        yield


def _tell(table: str, moved: int) -> None:
    _say(f"{table}: {moved} moved")


def _say(text: str) -> None:
    sys.stderr.write(f"novapay: {text}\n")
