"""The embedded server: first start, later starts, sharing, crashes, and both kinds of account."""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
import pytest

from core_service.child_process import Account, child_command
from core_service.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, find_binaries

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0

OWNER = """
import sys
from pathlib import Path
from core_service.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.ensure_running(), server.is_owner, flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def owner_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that starts (or shares) the server and keeps it until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def query(url: str, statement: str) -> Any:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres/pgdata/postmaster.pid").read_text().split()[0])


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_cold_and_warm_start_keep_the_data_and_the_address(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as cold:
        url = cold.url
        query(url, "CREATE TABLE kept AS SELECT 7 AS value")
        pid = postmaster_pid(data_dir)
    assert is_gone(pid)
    with EmbeddedPostgres(data_dir) as warm:
        assert warm.url == url
        assert query(url, "SELECT value FROM kept") == (7,)
    log = (data_dir / "postgres/postgres.log").read_text()
    assert "not properly shut down" not in log


def test_is_durable_and_checks_its_pages(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert query(server.url, f"SHOW {setting}") == ("on",)
        assert query(server.url, "SHOW listen_addresses") == ("",)


def test_needs_the_password_and_keeps_it_private(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        password_file = data_dir / "postgres/password"
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
        wrong = server.url.replace(password_file.read_text(), "wrong")
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(wrong)


def test_a_second_process_shares_the_server_and_takes_over(data_dir: Path) -> None:
    with owner_process(data_dir) as (owner, said):
        assert said.endswith(" True")
        with EmbeddedPostgres(data_dir) as sharer:
            owned_at_first = sharer.is_owner
            assert not owned_at_first
            assert said == f"{sharer.url} True"
            query(sharer.url, "CREATE TABLE shared (id int)")
            owner.communicate()  # its input ends, so it stops the server
            assert sharer.ensure_running() == sharer.url
            assert sharer.is_owner
            assert query(sharer.url, "SELECT count(*) FROM shared") == (0,)


def test_nothing_is_left_when_the_owner_is_killed(data_dir: Path) -> None:
    with owner_process(data_dir) as (owner, _):
        pid = postmaster_pid(data_dir)
        owner.kill()
        owner.wait()  # until then it may still hold the lock, and would be taken for alive
        with EmbeddedPostgres(data_dir) as next_one:  # at once, while the old server still ends
            assert next_one.is_owner
            assert postmaster_pid(data_dir) != pid
    assert is_gone(pid)


def test_recovers_what_was_committed_when_the_server_is_killed(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as server:
        query(server.url, "CREATE TABLE committed (id int)")
        query(server.url, "INSERT INTO committed SELECT generate_series(1, 100)")
        pid = postmaster_pid(data_dir)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: is_gone(pid))
        server.ensure_running()
        assert query(server.url, "SELECT count(*) FROM committed") == (100,)
    assert "not properly shut down" in (data_dir / "postgres/postgres.log").read_text()


def test_a_pid_file_that_names_a_living_stranger_is_stale(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pid_file = data_dir / "postgres/pgdata/postmaster.pid"
        left_behind = pid_file.read_text()
        owner = pid_file.stat()
    pid_file.write_text(left_behind.replace(left_behind.split()[0], str(os.getpid()), 1))
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(data_dir) as server:
        assert query(server.url, "SELECT 1") == (1,)


def test_an_interrupted_first_start_is_begun_anew(data_dir: Path) -> None:
    unfinished = data_dir / "postgres/pgdata.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir) as server:
        assert query(server.url, "SELECT 1") == (1,)


def test_another_major_version_is_refused_in_clear_words(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pass
    (data_dir / "postgres/pgdata/PG_VERSION").write_text("9\n")
    server = EmbeddedPostgres(data_dir)
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 9.*NOVAPAY_PG_BIN"):
        server.ensure_running()
    assert not server.is_owner


def test_a_long_data_directory_gets_a_short_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with EmbeddedPostgres(deep) as server:
        assert query(server.url, "SELECT 1") == (1,)
        sockets = Path(unquote(server.url.partition("host=")[2].partition("&")[0]))
        assert deep not in sockets.parents
    assert not sockets.exists()


def test_listens_on_tcp_only_when_asked(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with EmbeddedPostgres(data_dir, port=port) as server:
        password = (data_dir / "postgres/password").read_text()
        tcp = f"postgresql://novapay:{password}@127.0.0.1:{port}/novapay"
        assert query(tcp, "SELECT 1") == (1,)
        assert query(server.url, "SELECT 1") == (1,)


def test_missing_programs_are_named() -> None:
    with pytest.raises(EmbeddedPostgresError, match="NOVAPAY_PG_BIN=/nowhere"):
        find_binaries({"NOVAPAY_PG_BIN": "/nowhere"})


@pytest.mark.skipif(not IS_ROOT, reason="only root has to change the account")
def test_root_hands_the_server_to_an_unprivileged_account(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, environ={"NOVAPAY_PG_USER": "nobody"}):
        nobody = pwd.getpwnam("nobody").pw_uid
        assert Path(f"/proc/{postmaster_pid(data_dir)}").stat().st_uid == nobody
    # A cluster keeps its owner, whatever is asked for later.
    with EmbeddedPostgres(data_dir, environ={}):
        assert Path(f"/proc/{postmaster_pid(data_dir)}").stat().st_uid == nobody


@pytest.mark.skipif(not IS_ROOT, reason="only root has a home that is closed to the server")
def test_root_may_keep_its_data_and_programs_in_a_closed_folder(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    package = find_binaries().parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    named = {"NOVAPAY_PG_BIN": str(closed / package.name / "pginstall/bin")}
    try:
        with EmbeddedPostgres(closed / "data", environ=named) as server:
            assert query(server.url, "SELECT 1") == (1,)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        home = Path((closed / "data/postgres/home").read_text().strip())
        assert (home / "pgdata").exists()
        with EmbeddedPostgres(closed / "data", environ=named) as server:
            assert query(server.url, "SELECT 1") == (1,)
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(not IS_ROOT, reason="an ordinary user runs all the other tests this way")
def test_an_ordinary_user_needs_no_other_account() -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no Python here that another account can run")
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "core_service", folder / "core_service")
        package = find_binaries().parent.parent
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, folder / source.name, symlinks=True)
        folder.chmod(0o755)
        (folder / "data").mkdir()
        os.chown(folder / "data", nobody.pw_uid, nobody.pw_gid)
        # Not by `user=`: that forks, and an earlier test of this process may have left gRPC's threads.
        done = subprocess.run(
            child_command(
                [python, "-c", OWNER, folder / "data"],
                account=Account(nobody.pw_uid, nobody.pw_gid),
            ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.strip().endswith(" True")) == (0, True), done.stderr
        assert (folder / "data/postgres").stat().st_uid == nobody.pw_uid
