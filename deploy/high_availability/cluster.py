"""A PostgreSQL that survives the loss of its leader, on one machine: one etcd and two Patroni nodes.

    .venv/bin/python -m deploy.high_availability.cluster

prints the DATABASE_URL that names both nodes and keeps them running until Ctrl-C; then everything is gone. The nodes
run the PostgreSQL programs that NovaPay brings along, with the `patroni.yaml` beside this file, which is also the one
for real machines. Whoever loses this machine loses both nodes: it is for trying and rehearsing.

With `--pgbouncer` a PgBouncer stands beside each node, and the DATABASE_URL names those.

Needs packages more than NovaPay; the interpreter of Patroni must be one that every account may run:

    apt-get install etcd-server
    /usr/bin/python3 -m venv /opt/patroni
    /opt/patroni/bin/pip install "patroni[etcd3]==4.1.5" psycopg2-binary
    apt-get install pgbouncer  # for --pgbouncer
"""

import argparse
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg2

from core_service.child_process import child_command
from core_service.embedded_postgres import choose_account, find_binaries, usable_binaries
from deploy.pgbouncer import pooler

CONFIGURATION = Path(__file__).with_name("patroni.yaml")
DATABASE = USER = "novapay"
START_SECONDS = 120.0
STOP_SECONDS = 60
ON_ROLE_CHANGE = "# callbacks: {on_role_change: /etc/patroni/reconnect}"
SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/opt/patroni/bin:/usr/sbin"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CannotStart(Exception):
    """A package is missing or a process did not come up; the text says which, and what helps."""


@dataclass
class Node:
    """One Patroni agent and the PostgreSQL server that it looks after."""

    name: str
    port: int
    """Of PostgreSQL, on 127.0.0.1."""
    rest_port: int
    data: Path
    agent: subprocess.Popen[bytes] = field(init=False)
    pool_port: int | None = None
    """Of its PgBouncer, if there is one."""
    pooler: subprocess.Popen[bytes] | None = None

    def is_(self, role: str) -> bool:
        """Whether the agent says so; Patroni's words: `primary`, `sync`."""
        return _says_yes(f"http://127.0.0.1:{self.rest_port}/{role}")

    @property
    def postmaster(self) -> int:
        """Process id of the server."""
        return int((self.data / "postmaster.pid").read_text().split()[0])


class Cluster:
    """etcd and both nodes, each with a PgBouncer if wanted, from `with` to its end; start it from the main thread.

    Raises CannotStart.
    """

    def __init__(self, folder: Path, *, with_poolers: bool = False) -> None:
        self._with_poolers = with_poolers
        if with_poolers and pooler.PROGRAM is None:
            raise CannotStart("there is no program pgbouncer: apt-get install pgbouncer")
        self._etcd_program = _program("etcd", "apt-get install etcd-server")
        self._patroni_program = _program(
            "patroni",
            "/usr/bin/python3 -m venv /opt/patroni &&"
            ' /opt/patroni/bin/pip install "patroni[etcd3]==4.1.5" psycopg2-binary',
        )
        self.folder = folder
        # PostgreSQL refuses to run as root, and Patroni starts it.
        self._account = choose_account(folder, os.environ)
        self._programs = usable_binaries(find_binaries(), folder, self._account)
        self._password = secrets.token_urlsafe(24)
        self._superuser = secrets.token_urlsafe(24)
        self._replication = secrets.token_urlsafe(24)
        self._etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self.nodes: list[Node] = []

    @property
    def url(self) -> str:
        """DATABASE_URL: both nodes or their poolers, of which only the leader's takes writes."""
        ports = [node.pool_port or node.port for node in self.nodes]
        return self._url(ports, USER, self._password, DATABASE)

    @staticmethod
    def _url(ports: Sequence[int], user: str, password: str, database: str) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://{user}:{password}@{hosts}/{database}?target_session_attrs=read-write"

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            for name in ("node-1", "node-2"):
                self._add_node(name)
                # The first one makes the cluster, the second copies it.
                _wait_until(lambda: any(node.is_("primary") for node in self.nodes), self.folder)
            _wait_until(lambda: any(node.is_("sync") for node in self.nodes), self.folder)
            self._create_database()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop what runs: the standby first, so that nothing is promoted, etcd last."""
        for node in sorted(self.nodes, key=lambda node: node.is_("primary")):
            _end(node.agent)  # which stops its server
            if node.pooler:
                _end(node.pooler)
        if self._etcd:
            _end(self._etcd)

    def leader(self) -> Node:
        """The node that takes writes."""
        (found,) = [node for node in self.nodes if node.is_("primary")]
        return found

    def start_agent(self, node: Node) -> None:
        """Start the agent of a node that was lost; it brings its server back as a standby."""
        node.agent = self._agent(node)

    def _start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{free_port()}"
        client = f"http://127.0.0.1:{self._etcd_port}"
        self._etcd = self._run(
            "etcd",
            [
                self._etcd_program, "--data-dir", self._own("etcd"), "--name", "only",
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"only={peer}",
            ],
            os.environ,
        )  # fmt: skip
        _wait_until(lambda: _says_yes(f"{client}/health"), self.folder)

    def _add_node(self, name: str) -> None:
        port, rest_port, data = free_port(), free_port(), self._own(name) / "data"
        node = Node(name, port, rest_port, data)
        if self._with_poolers:
            self._add_pooler(node)
        self.start_agent(node)
        self.nodes.append(node)

    def _add_pooler(self, node: Node) -> None:
        own, node.pool_port = self._own(f"{node.name}-pgbouncer"), free_port()
        file = pooler.configure(
            own, server_port=node.port, port=node.pool_port, password=self._password
        )
        # What Patroni runs: the script of deploy/, and where this pooler is.
        script = (pooler.FOLDER / "reconnect").read_text()
        told = f"export PATH={shlex.quote(str(self._programs))}:$PATH PGHOST={own} PGPORT={node.pool_port}"
        reconnect = own / "reconnect"
        reconnect.write_text(script.replace("exec ", f"{told}\nexec ", 1))
        reconnect.chmod(0o700)
        for path in own.iterdir():
            self._give(path)
        command: list[str | Path] = [str(pooler.PROGRAM), "-q", file]
        node.pooler = self._run(f"{node.name}-pgbouncer", command, os.environ)

    def _agent(self, node: Node) -> subprocess.Popen[bytes]:
        configuration = node.data.parent / "patroni.yaml"  # where the account can read it
        configuration.write_text(self._configuration(node))
        environment = {
            **os.environ,
            "PATRONI_NAME": node.name,
            "PATRONI_ETCD3_HOSTS": f"127.0.0.1:{self._etcd_port}",
            "PATRONI_RESTAPI_LISTEN": f"127.0.0.1:{node.rest_port}",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{node.rest_port}",
            "PATRONI_POSTGRESQL_LISTEN": f"127.0.0.1:{node.port}",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{node.port}",
            "PATRONI_POSTGRESQL_DATA_DIR": str(node.data),
            "PATRONI_POSTGRESQL_BIN_DIR": str(self._programs),
            "PATRONI_POSTGRESQL_PGPASS": str(node.data.parent / "pgpass"),
            "PATRONI_SUPERUSER_PASSWORD": self._superuser,
            "PATRONI_REPLICATION_PASSWORD": self._replication,
        }
        return self._run(node.name, [self._patroni_program, configuration], environment)

    def _configuration(self, node: Node) -> str:
        text = CONFIGURATION.read_text()
        if node.pooler is None:
            return text
        reconnect = self.folder / f"{node.name}-pgbouncer" / "reconnect"
        assert ON_ROLE_CHANGE in text
        return text.replace(ON_ROLE_CHANGE, f"callbacks: {{on_role_change: {reconnect}}}")

    def _run(
        self, name: str, command: list[str | Path], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                child_command(command, account=self._account, death_signal=signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=dict(environment),
                # In a session of its own, or Ctrl-C would stop it before the programs that use it.
                start_new_session=True,
            )

    def _own(self, name: str) -> Path:
        """Make a private folder that belongs to the account of the servers."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        self._give(folder)
        return folder

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _create_database(self) -> None:
        ports = [node.port for node in self.nodes]
        url = self._url(ports, "postgres", self._superuser, "postgres")
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE ROLE {USER} LOGIN PASSWORD %s", [self._password])
                cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        raise CannotStart(f"there is no program {name}: {remedy}")
    return found


def _says_yes(address: str) -> bool:
    """Whether a GET is answered with 200; with 503 etcd and Patroni say no."""
    try:
        with urllib.request.urlopen(address, timeout=2):  # noqa: S310 (our own address)
            return True
    except OSError:
        return False


def _wait_until(condition: Callable[[], Any], logs: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            tails = [f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs.glob("*.log")]
            raise CannotStart("the cluster does not come up\n" + "\n".join(tails))
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    process.kill()
    process.wait()


def main() -> int:
    """Run until a signal to stop."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--pgbouncer", action="store_true", help="with a PgBouncer for each node")
    with_poolers = parser.parse_args().pgbouncer
    with tempfile.TemporaryDirectory(prefix="novapay-cluster-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        try:
            with Cluster(Path(name), with_poolers=with_poolers) as cluster:
                # Not before: the nodes would inherit it.
                signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
                print(f"logs: {name}/*.log")
                print(f"DATABASE_URL='{cluster.url}'", flush=True)
                signal.sigwait(STOP_SIGNALS)
        except CannotStart as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
