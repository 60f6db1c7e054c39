"""Faults of real processes, by name: signals to edge, core, worker and PostgreSQL, and clients' broken sockets."""

import json
import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random

import psutil

from tests.journeys.actors import break_socket
from tests.journeys.rough import RoughStack
from tests.journeys.test_outages import postmaster_id

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}
KINDS = ("core", "worker", "edge")
FAULTS = (
    *(f"{name}.{kind}" for name in SIGNALS for kind in KINDS),
    "kill.database", "stop.backend", "socket.half_request", "socket.no_answer_wanted",
)  # fmt: skip
"""Every kind of fault; after a stop the process goes on again."""
STANDS_STILL_SECONDS = (0.2, 1.0, 2.5)


class ProcessFaults:
    """Strikes the processes of one stack."""

    def __init__(self, rough: RoughStack) -> None:
        self._rough = rough
        self.by_name: dict[str, Callable[[Random], bool]] = {
            f"{name}.{kind}": self._signalled(kind, sign)
            for name, sign in SIGNALS.items()
            for kind in KINDS
        } | {
            "kill.database": self._kill_database,
            "stop.backend": self._stop_backend,
            "socket.half_request": lambda chance: self._socket(chance, whole=False),
            "socket.no_answer_wanted": lambda chance: self._socket(chance, whole=True),
        }
        """Each returns whether it struck."""

    def _ids(self, kind: str) -> list[int]:
        found = self._rough.stack.process_ids(kind)
        if kind != "edge":
            return found
        # What serves is the master's children; the master is as little a target as the supervisor is.
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(found[0]).children()]
        return []

    def _signalled(self, kind: str, sign: signal.Signals) -> Callable[[Random], bool]:
        def strike(chance: Random) -> bool:
            targets = [one for one in self._ids(kind) if psutil.pid_exists(one)]
            return bool(targets) and _signal(chance.choice(sorted(targets)), sign, chance)

        return strike

    def _postmaster(self) -> int | None:
        """None while a server that was killed is being started again."""
        with suppress(ValueError, IndexError, FileNotFoundError):
            return postmaster_id(self._rough.stack)
        return None

    def _kill_database(self, chance: Random) -> bool:
        server = self._postmaster()
        return server is not None and _signal(server, signal.SIGKILL, chance)

    def _stop_backend(self, chance: Random) -> bool:
        """One session's server process stands still: a statement that does not end."""
        server = self._postmaster()
        if server is None:
            return False
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(server).children()
            serving = sorted(c.pid for c in children if "novapay" in " ".join(c.cmdline()))
            return bool(serving) and _signal(chance.choice(serving), signal.SIGSTOP, chance)
        return False

    def _socket(self, _chance: Random, *, whole: bool) -> bool:
        merchant = self._rough.merchant
        fields = {
            "merchantCode": merchant.code, "channelCode": "alipay.page", "amount": "9.00", "subject": "gone",
            "externalOrderId": f"gone-{secrets.token_hex(8)}", "callbackUrl": self._rough.receiver.url,
        }  # fmt: skip
        with suppress(OSError):
            break_socket(merchant, json.dumps(fields).encode(), whole=whole)
            return True
        return False


def _signal(process_id: int, sign: signal.Signals, chance: Random) -> bool:
    try:
        os.kill(process_id, sign)
    except ProcessLookupError:
        return False
    if sign is signal.SIGSTOP:
        time.sleep(chance.choice(STANDS_STILL_SECONDS))
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGCONT)
    return True
