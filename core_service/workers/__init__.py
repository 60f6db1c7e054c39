"""Background work: loops around use cases, without rules of their own."""

from collections.abc import Callable, Mapping, Sequence

from core_service.workers.callback_delivery import CallbackDelivery
from core_service.workers.periodic import Periodic
from core_service.workers.provider_polling import provider_polling_loops
from core_service.workers.runner import Loop, run_until_signal

WORKERS: Mapping[str, Callable[[], Sequence[Loop]]] = {
    "callback_delivery": lambda: (CallbackDelivery(),),
    "provider_polling": provider_polling_loops,
    "periodic": lambda: (Periodic(),),
}

CONNECTIONS = 24
"""What the pool of a process with all workers needs: one for each loop, and some for the sends,
which hold one only for moments."""


def main(names: Sequence[str] = ()) -> int:
    """Runs the named workers (none named: all) until SIGTERM or SIGINT; returns the exit code.

    The process must have been wired before: database, secrets, runtime settings,
    `callback_attempts`. Any number of such processes may run side by side. Raises ValueError for a name that
    is not in WORKERS.
    """
    for name in names:
        if name not in WORKERS:
            raise ValueError(f"no worker named {name!r}; there are {', '.join(WORKERS)}")
    return run_until_signal([loop for name in names or WORKERS for loop in WORKERS[name]()])
