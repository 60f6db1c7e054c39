"""Secrets at rest: what opens, and what does not."""

import pytest

from core_service.storage import sealed_places
from core_service.storage.secret_box import Place, SecretBox, SecretUnreadable

OLD, NEW = b"o" * 32, b"n" * 32  # test keys
PLACE = sealed_places.credential_secret("mch_1", "npk_1")


def test_a_sealed_secret_opens_at_its_place() -> None:
    box = SecretBox({"k1": OLD})
    sealed = box.seal(b"secret", PLACE)
    assert b"secret" not in sealed
    assert box.open(sealed, PLACE) == b"secret"
    assert box.seal(b"secret", PLACE) != sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        sealed_places.credential_secret("mch_1", "npk_2"),
        sealed_places.credential_secret("mch_2", "npk_1"),
        sealed_places.account_config("mch_1", "npk_1"),
        Place("credentials", "npk_1", "label", "mch_1"),
    ],
)
def test_s01_a_value_moved_to_another_row_does_not_open(elsewhere: Place) -> None:
    box = SecretBox({"k1": OLD})
    with pytest.raises(SecretUnreadable):
        box.open(box.seal(b"secret", PLACE), elsewhere)


def test_s01_every_changed_byte_is_noticed() -> None:
    box = SecretBox({"k1": OLD})
    sealed = box.seal(b"secret", PLACE)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SecretUnreadable):
            box.open(bytes(changed), PLACE)


def test_s01_what_is_no_sealed_value() -> None:
    box = SecretBox({"k1": OLD})
    sealed = box.seal(b"secret", PLACE)
    for length in (0, 1, 2, 40, len(sealed) - 1):
        with pytest.raises(SecretUnreadable):
            box.open(sealed[:length], PLACE)


def test_s07_the_first_key_writes_and_all_read() -> None:
    before, during = SecretBox({"k1": OLD}), SecretBox({"k2": NEW, "k1": OLD})
    sealed = before.seal(b"secret", PLACE)
    assert during.open(sealed, PLACE) == b"secret"
    assert SecretBox.key_id_of(during.seal(b"secret", PLACE)) == "k2"


def test_k14_a_missing_or_wrong_key_is_named() -> None:
    sealed = SecretBox({"k1": OLD}).seal(b"secret", PLACE)
    with pytest.raises(SecretUnreadable, match="'k1' is not in NOVAPAY_DATA_ENCRYPTION_KEYS"):
        SecretBox({"k2": NEW}).open(sealed, PLACE)
    with pytest.raises(SecretUnreadable, match="'k1' does not open"):
        SecretBox({"k1": NEW}).open(sealed, PLACE)


def test_s07_a_moved_value_is_the_same_under_another_key() -> None:
    before, during = SecretBox({"k1": OLD}), SecretBox({"k2": NEW, "k1": OLD})
    sealed = before.seal(b"secret", PLACE)
    moved = during.rewrap(sealed, PLACE)
    assert SecretBox({"k2": NEW}).open(moved, PLACE) == b"secret"
    assert moved.endswith(sealed[-len(b"secret") - 16 :])  # the ciphertext itself stayed
    elsewhere = sealed_places.credential_secret("mch_1", "npk_2")
    with pytest.raises(SecretUnreadable):
        during.rewrap(sealed, elsewhere)


def test_s07_a_running_process_learns_of_a_new_key_when_it_needs_it() -> None:
    rings = [{"k2": NEW, "k1": OLD}]
    box = SecretBox({"k1": OLD}, lambda: rings.pop() if rings else None)
    sealed = SecretBox({"k2": NEW}).seal(b"secret", PLACE)
    assert box.open(sealed, PLACE) == b"secret"
    assert SecretBox.key_id_of(box.seal(b"secret", PLACE)) == "k2"


def test_s07_what_is_sealed_after_a_rotation_has_the_new_key() -> None:
    rings = [{"k2": NEW, "k1": OLD}]
    box = SecretBox({"k1": OLD}, lambda: rings.pop() if rings else None)
    assert SecretBox.key_id_of(box.seal(b"secret", PLACE)) == "k2"


def test_s07_another_key_under_an_old_id_is_found_without_a_restart() -> None:
    """A file put back or made anew beside a process that runs."""
    rings = [{"k1": NEW}]
    running = SecretBox({"k1": OLD}, lambda: rings.pop() if rings else None)
    assert running.open(SecretBox({"k1": NEW}).seal(b"secret", PLACE), PLACE) == b"secret"
    with pytest.raises(SecretUnreadable):
        running.open(SecretBox({"k1": OLD}).seal(b"secret", PLACE), PLACE)
