"""A child that becomes another account's program, or ends with its parent, without handlers of a fork."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core_service.child_process import CANNOT_RUN, Account, child_command

ROOT = Path(__file__).parents[2]

# What gRPC does in a process that forks, made certain: whoever really forks aborts in the child.
ABORTS_IN_FORKED_CHILDREN = """
import ctypes, sys
from pathlib import Path
from core_service.embedded_postgres import EmbeddedPostgres
libc = ctypes.CDLL(None)
libc.__register_atfork(None, None, ctypes.cast(libc.abort, ctypes.c_void_p), None)
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.is_owner)
"""


def test_a_server_is_started_without_fork_handlers(data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABORTS_IN_FORKED_CHILDREN, data_dir],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_the_command_alone_is_left_alone() -> None:
    assert child_command(["true", Path("x")]) == ["true", "x"]


def test_a_program_that_cannot_be_run_is_named() -> None:
    command = child_command(["/nonexistent/program"], death_signal=signal.SIGTERM)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == CANNOT_RUN
    assert done.stderr == "/nonexistent/program: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_nothing_of_root_is_left() -> None:
    command = child_command(["cat", "/proc/self/status"], account=Account(65534, 65533))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fields = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["Gid"].split() == ["65533"] * 4
    assert fields["Groups"].split() == []
