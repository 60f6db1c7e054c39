"""QR codes as SVG."""

import io

import segno


def qr_svg(text: str) -> str:
    """Inline SVG without styles or scripts; its size is left to the stylesheet."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
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
