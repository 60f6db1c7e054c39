"""Starts a program under another account, and ends it with its parent, without running Python between fork and exec.

`subprocess` can do both itself, but then it really forks, and gRPC's threads do not survive a fork: its handlers have
been seen to abort the child before it became the program. So the child becomes this file first, run by a bare
interpreter, which changes the account, asks the kernel for the death signal, and becomes the program. Its process id
stays the same throughout.

Run as a script it needs nothing but the standard library, and nothing of NovaPay is imported.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CANNOT_RUN = 126
"""Exit status when the program cannot be started, as shells use it; standard error says why."""

_PR_SET_PDEATHSIG = 1
_NO_ACCOUNT = "-"


@dataclass(frozen=True)
class Account:
    """An account of the operating system."""

    uid: int
    gid: int


def child_command(
    command: Sequence[str | Path],
    *,
    account: Account | None = None,
    death_signal: signal.Signals | None = None,
) -> list[str]:
    """What to give to `subprocess` so that `command` runs as `account`, or gets the signal when its parent ends.

    The death signal is tied to the thread that starts the child. None of both: the command itself.
    """
    plain = [os.fspath(part) for part in command]
    if account is None and death_signal is None:
        return plain
    who = f"{account.uid}:{account.gid}" if account else _NO_ACCOUNT
    wanted = str(int(death_signal)) if death_signal else "0"
    # -I and -S: no site packages and nothing of the environment, so it starts in a few milliseconds.
    return [sys.executable, "-I", "-S", __file__, who, wanted, str(os.getpid()), *plain]


def main(who: str, death_signal: str, parent: str, *command: str) -> int:
    """Become the command."""
    if who != _NO_ACCOUNT:
        uid, _, gid = who.partition(":")
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if death_signal != "0":
        # After the change of account, which would cancel it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):  # it ended before we could ask
            return 1
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
