"""Reading the headers of logos: real encoders' files, and what must not pass for a picture."""

import struct
import zlib

import pytest

from core_service.domain.picture import Picture, read_logo
from tests.pictures import jpeg, png, webp_extended, webp_lossless, webp_lossy


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png(120, 48), "image/png"),
        (jpeg(120, 48), "image/jpeg"),
        (webp_lossy(120, 48), "image/webp"),
        (webp_lossless(120, 48), "image/webp"),
        (webp_extended(120, 48), "image/webp"),
    ],
)
def test_size_and_kind_come_from_the_header(content: bytes, kind: str) -> None:
    assert read_logo(content) == Picture(kind, 120, 48)


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"GIF89a" + bytes(40),
        b"",
        png(120, 48)[:20],
        jpeg(120, 48)[:12],
        webp_lossy(120, 48)[:24],
        b"\xff\xd8\xff" + b"\xff\xe0\x00\x00" * 2000,
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        read_logo(content)


@pytest.mark.parametrize("sides", [(15, 48), (1025, 48), (48, 1025), (0, 0)])
def test_unfit_sizes_are_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        read_logo(png(*sides))


def test_too_many_bytes_are_refused() -> None:
    filler = bytes(32 * 1024)
    chunk = struct.pack(">I", len(filler)) + b"teXt" + filler
    chunk += struct.pack(">I", zlib.crc32(b"teXt" + filler))
    with pytest.raises(ValueError, match="24 KiB"):
        read_logo(png(120, 48)[:-12] + chunk + png(120, 48)[-12:])
