"""How often Python looks for cycles: rarely, and never among what was there when the process had started."""

import gc

THRESHOLDS = (20_000, 20, 20)
"""New objects until the next look, and looks until the older ones are looked at too. A request leaves no cycle of ours
behind, so what a look finds comes from libraries and is little."""


def collect_rarely() -> None:
    """Once, when everything that lives as long as the process has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
