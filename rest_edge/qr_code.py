"""QR codes, as a drawing for screens and as a picture for phones."""

import io
from typing import Any

import segno


def qr_svg(text: str) -> str:
    """Inline SVG without styles or scripts; its size is left to the stylesheet."""
    out = io.BytesIO()
    _code(text).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=True,
        omitsize=True,
        border=2,
        light="#fff",
        svgclass="qr",
        lineclass=None,
    )
    return out.getvalue().decode("utf-8")


def qr_png_uri(text: str) -> str:
    """A PNG as a data URI, large enough to be recognised when it is saved."""
    uri: str = _code(text).png_data_uri(scale=8, border=4)
    return uri


def _code(text: str) -> Any:
    return segno.make(text, error="m", micro=False)
