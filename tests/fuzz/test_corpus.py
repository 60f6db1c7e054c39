"""A short run of every fuzz target: its first inputs and what a seeded mutator makes of them. `make fuzz` runs long."""

from random import Random

import pytest

from tests.fuzz.targets import TARGETS

ROUNDS = 1500
_SPLICES = (
    b"\x00",
    b"\xff\xfe",
    b"%00",
    b"\\u0000",
    b"&",
    b"=",
    b'"',
    b"{",
    b"]",
    b"9" * 40,
    b"\n",
    b"../",
    b"::",
)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_gets_past_or_breaks(name: str) -> None:
    target, first = TARGETS[name]
    chance = Random(name)
    known = list(first)
    for data in known:
        target(data)
    for _ in range(ROUNDS):
        data = mutated(chance.choice(known), chance, known)
        try:
            target(data)
        except Exception as failure:
            raise AssertionError(f"{name} broke on {data!r}") from failure
        if len(known) < 300:
            known.append(data)


def mutated(data: bytes, chance: Random, known: list[bytes]) -> bytes:
    """Bytes flipped, cut out, put in, doubled, or joined with another input."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0 if changed:
                changed[min(place, len(changed) - 1)] = chance.randrange(256)
            case 1:
                del changed[place : place + chance.randrange(1, 9)]
            case 2:
                changed[place:place] = chance.choice(_SPLICES)
            case 3:
                changed[place:place] = changed[: chance.randrange(20)]
            case _:
                other = chance.choice(known)
                changed = changed[:place] + bytearray(other[chance.randrange(len(other) + 1) :])
    return bytes(changed[:4096])
