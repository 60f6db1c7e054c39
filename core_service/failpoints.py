"""Named points at which a test can make a process die, stand still, fail or wait.

Two ways to arm them, both refused by the settings in production:

* `NOVAPAY_FAILPOINTS="c2=kill,d1=delay:0.5,r3=raise"`; `kill@3` strikes at the third hit of this process;
* `NOVAPAY_FAILPOINT_DIR`: a folder in which a file named after the point holds the action. It strikes once, in
  whichever process comes by first, and takes the file away; so a process that starts again does not die again.

`kill` is SIGKILL, `pause` is SIGSTOP (whoever armed it sends SIGCONT), `raise` fails, `delay:SECONDS` waits. A test in
this very process may `observe` the points instead.

Names are those of the fault catalogue: c create, n notification, d delivery, r refund, x close, e expiry, q query;
m is before and after a migration's statements, `rotate` between two batches of a rotation of master keys.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from core_service import turns


class FailpointHit(Exception):
    """What an armed `raise` raises."""


_lock = threading.Lock()
_hits: dict[str, int] = {}
_observer: Callable[[str], None] | None = None


def _parse(text: str) -> dict[str, tuple[str, int]]:
    armed = {}
    for entry in filter(None, text.split(",")):
        name, _, action = entry.partition("=")
        action, _, nth = action.partition("@")
        armed[name] = (action, int(nth or 1))
    return armed


_armed: dict[str, tuple[str, int]] = {}


def arm(text: str) -> None:
    """Arms points as `NOVAPAY_FAILPOINTS` does."""
    _armed.update(_parse(text))


arm(os.environ.get("NOVAPAY_FAILPOINTS", ""))
_folder = os.environ.get("NOVAPAY_FAILPOINT_DIR")


def observe(observer: Callable[[str], None] | None) -> None:
    """Has `observer` called at every point, in the thread that comes by; None: no more."""
    global _observer  # noqa: PLW0603 (one for the process)
    _observer = observer


def failpoint(name: str) -> None:
    """Does nothing unless the point is armed."""
    if _observer is not None:
        _observer(name)
    if _folder is not None:
        _strike(name, _taken(Path(_folder, name)))
    if name in _armed:
        action, nth = _armed[name]
        with _lock:
            _hits[name] = _hits.get(name, 0) + 1
            strikes = _hits[name] == nth
        _strike(name, action if strikes else "")


def _taken(file: Path) -> str:
    """The action in the file, for the one process that could remove it."""
    try:
        action = file.read_text().strip()
        file.unlink()
    except FileNotFoundError:
        return ""
    return action


def _strike(name: str, action: str) -> None:
    kind, _, argument = action.partition(":")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "pause":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "delay":
        with turns.elsewhere():
            time.sleep(float(argument))
    if kind == "raise":
        raise FailpointHit(name)
