"""The ring of master keys in its file."""

import os
import stat
from pathlib import Path

import pytest

from core_service.master_keys import KeyFile, new_ring, parse_ring, ring_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "encryption_keys"
    path.write_text(ring_text(new_ring()))
    return path


def test_the_text_form_keeps_order_and_keys() -> None:
    ring = {"k2": b"n" * 32, "k1": b"o" * 32}
    assert list(parse_ring(ring_text(ring)).items()) == list(ring.items())


def test_s07_a_new_key_writes_and_is_seen_by_who_holds_the_file(path: Path) -> None:
    other = KeyFile(path)
    old = other.load()
    assert other.load_if_changed() is None
    ring = KeyFile(path).add_writing_key()
    assert list(ring) == ["k2", "k1"]
    assert ring["k1"] == old["k1"] != ring["k2"]
    assert other.load_if_changed() == ring
    assert other.load_if_changed() is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_dropped_key_is_gone_and_its_id_is_not_given_to_another(path: Path) -> None:
    file = KeyFile(path)
    file.add_writing_key()
    file.add_writing_key()
    assert list(file.drop("k2")) == ["k3", "k1"]
    assert list(file.add_writing_key()) == ["k4", "k3", "k1"]


def test_an_id_is_not_given_again_however_few_keys_are_left(path: Path) -> None:
    file = KeyFile(path)
    for number in (2, 3, 4):
        file.add_writing_key()
        file.drop(f"k{number - 1}")
    assert list(file.add_writing_key()) == ["k5", "k4"]


def test_a_ring_with_names_of_its_own_gets_numbered_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(ring_text({"main": b"m" * 32}))
    file = KeyFile(path)
    assert list(file.add_writing_key()) == ["k2", "main"]
    assert list(file.add_writing_key()) == ["k3", "k2", "main"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can rotate for another account")
def test_the_file_stays_with_its_account(path: Path) -> None:
    os.chown(path, 12345, 12346)
    KeyFile(path).add_writing_key()
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o600)
