"""The state pictures of the documentation, as SVG that takes its colours from the stylesheet.

Tests compare `ORDER_MOVES` and `REFUND_MOVES` with the core's own tables.
"""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

Place = tuple[int, int]
Move = tuple[str, str]

WIDTH, HEIGHT = 132, 36

ORDER_PLACES: Mapping[str, Place] = {
    "PENDING": (0, 70),
    "PROCESSING": (200, 70),
    "SUCCEEDED": (440, 0),
    "CANCELLED": (440, 70),
    "FAILED": (440, 140),
}
ORDER_MOVES: tuple[Move, ...] = (
    ("PENDING", "PROCESSING"),
    ("PENDING", "SUCCEEDED"),
    ("PENDING", "CANCELLED"),
    ("PENDING", "FAILED"),
    ("PROCESSING", "SUCCEEDED"),
    ("PROCESSING", "CANCELLED"),
    ("PROCESSING", "FAILED"),
    ("CANCELLED", "SUCCEEDED"),
    ("FAILED", "SUCCEEDED"),
)
LATE_MOVES = (("CANCELLED", "SUCCEEDED"), ("FAILED", "SUCCEEDED"))

REFUND_PLACES: Mapping[str, Place] = {
    "PENDING": (0, 70),
    "PROCESSING": (200, 70),
    "SUCCEEDED": (440, 20),
    "FAILED": (440, 120),
}
REFUND_MOVES: tuple[Move, ...] = (
    ("PENDING", "PROCESSING"),
    ("PENDING", "SUCCEEDED"),
    ("PENDING", "FAILED"),
    ("PROCESSING", "SUCCEEDED"),
    ("PROCESSING", "FAILED"),
)

_PATHS: Mapping[str, str] = {
    # the curves; a move that is not here is a straight line from side to side
    "PENDING SUCCEEDED": "M66 70 C66 18 250 18 440 18",
    "PENDING FAILED": "M66 106 C66 158 250 158 440 158",
    "PENDING CANCELLED": "M110 70 C160 46 330 46 440 80",
    "CANCELLED SUCCEEDED": "M506 70 L506 36",
    "FAILED SUCCEEDED": "M572 158 C620 158 620 18 572 18",
}
_REFUND_PATHS: Mapping[str, str] = {
    "PENDING SUCCEEDED": "M66 70 C66 32 250 32 440 32",
    "PENDING FAILED": "M66 106 C66 144 250 144 440 144",
}


def order_states(label: str) -> Markup:
    """Orders; a dashed line is money that came late."""
    return _drawing("orders", label, ORDER_PLACES, ORDER_MOVES, _PATHS)


def refund_states(label: str) -> Markup:
    """Refunds."""
    return _drawing("refunds", label, REFUND_PLACES, REFUND_MOVES, _REFUND_PATHS)


def _drawing(
    name: str,
    label: str,
    places: Mapping[str, Place],
    moves: Iterable[Move],
    paths: Mapping[str, str],
) -> Markup:
    lines = [
        Markup('<path class="{}" marker-end="url(#{}-tip)" d="{}"/>').format(
            "late" if move in LATE_MOVES else "move", name, _path(move, places, paths)
        )
        for move in moves
    ]
    boxes = [
        Markup(
            '<g class="state {}"><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
            '<text x="{}" y="{}" text-anchor="middle">{}</text></g>'
        ).format(status.lower(), x, y, WIDTH, HEIGHT, x + WIDTH // 2, y + HEIGHT // 2 + 5, status)
        for status, (x, y) in places.items()
    ]
    return Markup(
        '<svg class="states" viewBox="-4 -4 632 186" role="img" aria-label="{}">'
        '<defs><marker id="{}-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
        ' orient="auto-start-reverse"><path class="tip" d="M0 0 L10 5 L0 10 z"/></marker></defs>{}{}</svg>'
    ).format(label, name, Markup().join(lines), Markup().join(boxes))


def _path(move: Move, places: Mapping[str, Place], paths: Mapping[str, str]) -> str:
    known = paths.get(" ".join(move))
    if known:
        return known
    (from_x, from_y), (to_x, to_y) = places[move[0]], places[move[1]]
    middle = HEIGHT // 2
    return f"M{from_x + WIDTH} {from_y + middle} L{to_x} {to_y + middle}"
