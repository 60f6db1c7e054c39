"""Named points at which a test can make a process die, fail or wait.

`NOVAPAY_FAILPOINTS="c2=kill,d1=pause:0.5,r3=raise"` arms them; `kill@3` strikes at the third hit. Settings refuse the
variable in production. Names are those of the fault catalogue: c create, n notification, d delivery, r refund, x close,
e expiry, q query.
"""

import os
import signal
import threading
import time


class FailpointHit(Exception):
    """What an armed `raise` raises."""


_lock = threading.Lock()
_hits: dict[str, int] = {}


def _parse(text: str) -> dict[str, tuple[str, float, int]]:
    armed = {}
    for entry in filter(None, text.split(",")):
        name, _, action = entry.partition("=")
        action, _, nth = action.partition("@")
        kind, _, argument = action.partition(":")
        armed[name] = (kind, float(argument or 0), int(nth or 1))
    return armed


_armed = _parse(os.environ.get("NOVAPAY_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Does nothing unless the point is armed."""
    if name not in _armed:
        return
    kind, argument, nth = _armed[name]
    with _lock:
        _hits[name] = _hits.get(name, 0) + 1
        if _hits[name] != nth:
            return
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "pause":
        time.sleep(argument)
    if kind == "raise":
        raise FailpointHit(name)
