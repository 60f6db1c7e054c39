"""The ring of master keys in its file."""

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
