"""What a picture is, read from its header alone: nothing here decodes pixels.

PNG, JPEG and WebP, nothing that can carry scripts. Sources: PNG 11.2.2 (IHDR), ITU T.81 B.2.2
(frame headers), RFC 9649 (WebP container).
"""

from dataclasses import dataclass
from itertools import pairwise

LARGEST_BYTES = 24 * 1024
SHORTEST_SIDE = 16
LONGEST_SIDE = 1024

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)
"""Markers between the frame headers that are something else."""


@dataclass(frozen=True)
class Picture:
    """Kind and size in pixels."""

    content_type: str
    width: int
    height: int


def read_logo(content: bytes) -> Picture:
    """The header of a picture that may be a logo. Raises ValueError that says what is wrong."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"is larger than {LARGEST_BYTES // 1024} KiB")
    picture = _read(content)
    if picture is None:
        raise ValueError("is not a PNG, JPEG or WebP picture")
    sides = (picture.width, picture.height)
    if min(sides) < SHORTEST_SIDE or max(sides) > LONGEST_SIDE:
        raise ValueError(f"must have {SHORTEST_SIDE} to {LONGEST_SIDE} pixels on each side")
    return picture


def _read(content: bytes) -> Picture | None:
    if content.startswith(_PNG):
        return _png(content)
    if content.startswith(_JPEG):
        return _jpeg(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    return None


def _png(content: bytes) -> Picture | None:
    if content[12:16] != b"IHDR" or b"IEND" not in content[-12:]:
        return None
    return Picture("image/png", _big(content[16:20]), _big(content[20:24]))


def _jpeg(content: bytes) -> Picture | None:
    """Goes from marker to marker until the frame header that has the size."""
    at = 2
    while at + 9 < len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER:
            height, width = (_big(content[a:b]) for a, b in pairwise((at + 5, at + 7, at + 9)))
            return Picture("image/jpeg", width, height)
        at += 2 + max(2, _big(content[at + 2 : at + 4]))
    return None


def _webp(content: bytes) -> Picture | None:
    kind, data = content[12:16], content[20:30]
    if len(data) < 10 or _little(content[4:8]) + 8 > len(content) + 1:
        return None
    if kind == b"VP8X":
        return Picture("image/webp", 1 + _little(data[4:7]), 1 + _little(data[7:10]))
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        return Picture("image/webp", _little(data[6:8]) & 0x3FFF, _little(data[8:10]) & 0x3FFF)
    if kind == b"VP8L" and data[0] == 0x2F:
        bits = _little(data[1:5])
        return Picture("image/webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    return None


def _big(part: bytes) -> int:
    return int.from_bytes(part, "big")


def _little(part: bytes) -> int:
    return int.from_bytes(part, "little")
