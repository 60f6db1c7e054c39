"""`novapay up`, and one process group each: `core`, `worker`, `edge`, `sandbox`."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core_service.cli.care import open_database, refuse_pending_migrations
from core_service.cli.failure import CommandFailed, load_settings
from core_service.cli.programs import (
    core_environment,
    core_programs,
    edge_command,
    edge_environment,
    edge_program,
    metrics_program,
    refuse_taken,
    sandbox_command,
    sandbox_program,
    shared_environment,
    source_path,
    without_core_secrets,
    worker_programs,
)
from core_service.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from core_service.metrics import FOLDER_SETTING, empty_folder
from core_service.settings import Settings
from core_service.storage import migrator
from core_service.supervisor import Program, StartFailedError, StopRequested, Supervisor, log_line

SEED_TIMEOUT_SECONDS = 60


def up(arguments: Namespace) -> int:
    """Start everything in order, say so, and stay until a signal comes."""
    settings = load_settings(serves_grpc=True)
    with_sandbox = not arguments.no_sandbox
    if with_sandbox and settings.is_production:
        raise CommandFailed("the sandbox has no place in production: novapay up --no-sandbox")
    _check_edge(edge_environment(shared_environment(settings)))
    addresses = {
        "NOVAPAY_HTTP_BIND": settings.http_bind,
        "NOVAPAY_GRPC_BIND": settings.grpc_bind,
    }
    if with_sandbox:
        addresses["NOVAPAY_SANDBOX_BIND"] = settings.sandbox_bind
    folder = _count_into(settings, "all")

    def start(supervisor: Supervisor, database_url: str) -> None:
        apply_migrations(database_url)
        supervisor.start(*core_programs(settings, database_url))
        supervisor.start(*worker_programs(settings, database_url))
        supervisor.start(edge_program(settings))
        _start_metrics(supervisor, settings, folder, database_url)
        demo = None
        if with_sandbox:
            supervisor.start(sandbox_program(settings))
            demo = seed_demo_merchant(settings)
            supervisor.check_stop()
        announce(settings, demo, as_json=arguments.json)

    return _supervise(settings, addresses, start)


def core(arguments: Namespace) -> int:
    """Run the core's processes until a signal comes."""
    settings = load_settings(serves_grpc=True)
    folder = _count_into(settings, "core")

    def start(supervisor: Supervisor, database_url: str) -> None:
        refuse_pending_migrations(database_url)
        _start_metrics(supervisor, settings, folder, database_url)
        _start_group(supervisor, core_programs(settings, database_url), arguments, "core")

    return _supervise(settings, {"NOVAPAY_GRPC_BIND": settings.grpc_bind}, start)


def worker(arguments: Namespace) -> int:
    """Run the workers until a signal comes."""
    settings = load_settings()
    folder = _count_into(settings, "worker")

    def start(supervisor: Supervisor, database_url: str) -> None:
        refuse_pending_migrations(database_url)
        _start_metrics(supervisor, settings, folder, database_url)
        _start_group(supervisor, worker_programs(settings, database_url), arguments, "worker")

    return _supervise(settings, {}, start)


def edge(arguments: Namespace) -> int:
    """Become gunicorn, which runs and drains the edge's processes itself; with a port for metrics, run both."""
    del arguments
    # Without the settings of the core: an edge of its own machine has none of those secrets.
    command, environment = edge_command(), edge_environment(os.environ)
    _check_edge(environment)
    bind = environment.pop("NOVAPAY_METRICS_BIND", "")
    if not bind:
        os.execve(command[0], command, environment)
    refuse_taken({"NOVAPAY_METRICS_BIND": bind})
    with TemporaryDirectory(prefix="novapay-metrics-") as name, Supervisor() as supervisor:
        environment[FOLDER_SETTING] = name
        try:
            supervisor.start(
                Program("edge", command, environment),
                metrics_program(bind, Path(name), environment),
            )
            supervisor.watch()
        except StopRequested:
            pass
        except StartFailedError as error:
            raise CommandFailed(str(error)) from error
    return 0


def sandbox(arguments: Namespace) -> int:
    """Become the sandbox."""
    del arguments
    if os.environ.get("NOVAPAY_ENV") == "production":
        raise CommandFailed("the sandbox has no place in production")
    command = sandbox_command()
    os.execve(command[0], command, without_core_secrets(source_path(os.environ)))


def apply_migrations(database_url: str) -> None:
    """Apply what is pending; several starts at once are fine."""
    try:
        applied = migrator.migrate(database_url)
    except migrator.MigrationError as error:
        raise CommandFailed(str(error)) from error
    log_line("migrated", applied=applied)


def seed_demo_merchant(settings: Settings) -> dict[str, str]:
    """Have the sandbox set its demo merchant up; return the names and values that it prints."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sandbox.seed"],
            env=shared_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=SEED_TIMEOUT_SECONDS,
            check=True,
            # Ctrl-C is for us to pass on.
            start_new_session=True,
        )
    except subprocess.SubprocessError as error:
        raise StartFailedError(f"the demo merchant could not be set up: {error}") from error
    pairs = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def announce(settings: Settings, demo: dict[str, str] | None, *, as_json: bool) -> None:
    """Print where everything is; with `--json` as one object."""
    facts: dict[str, Any] = {
        "edge": settings.public_base_url,
        "docs": f"{settings.public_base_url}/docs",
        "core": settings.grpc_bind,
        "tokenFile": str(settings.data_dir / "grpc_token"),
    }
    if settings.admin_bootstrap and not settings.is_production:
        facts["adminConsole"] = f"{settings.public_base_url}/admin"
        facts["operator"] = settings.admin_bootstrap.email
        facts["operatorPassword"] = settings.admin_bootstrap.password
    if demo is not None:
        facts["merchantConsole"] = f"{settings.public_base_url}/merchant"
        facts["owner"] = demo.pop("NOVAPAY_DEMO_OWNER")
        facts["ownerPassword"] = demo.pop("NOVAPAY_DEMO_OWNER_PASSWORD")
        facts["sandbox"] = f"http://{settings.sandbox_bind}"
        facts |= demo
    if as_json:
        print(json.dumps({"ready": True, **facts}, ensure_ascii=False), flush=True)
        return
    lines = ["ready: NovaPay is running / NovaPay 已启动"]
    lines += [f"  {name:<24} {value}" for name, value in facts.items()]
    lines += ["  Ctrl-C stops everything / Ctrl-C 停止全部服务"]
    print("\n".join(lines), flush=True)


def _check_edge(environment: Mapping[str, str]) -> None:
    """Raise CommandFailed that names what the edge would not start with; gunicorn would show a traceback."""
    edge_settings = import_module("rest_edge.settings")
    try:
        edge_settings.load_settings(environment)
    except edge_settings.InvalidSettings as error:
        raise CommandFailed(str(error)) from None


def _count_into(settings: Settings, group: str) -> Path | None:
    """Have every process that is started from now count into a folder of this group, if anybody wants to know."""
    if settings.metrics_bind is None:
        return None
    refuse_taken({"NOVAPAY_METRICS_BIND": settings.metrics_bind})
    folder = settings.data_dir / "metrics" / group
    empty_folder(folder)
    os.environ[FOLDER_SETTING] = str(folder)
    return folder


def _start_metrics(
    supervisor: Supervisor, settings: Settings, folder: Path | None, database_url: str
) -> None:
    if folder is None or settings.metrics_bind is None:
        return
    environment = core_environment(settings, database_url)
    supervisor.start(metrics_program(settings.metrics_bind, folder, environment))


def _start_group(
    supervisor: Supervisor, programs: list[Program], arguments: Namespace, name: str
) -> None:
    supervisor.start(*programs)
    if arguments.json:
        print(json.dumps({"ready": True, "group": name}), flush=True)
    log_line("ready", group=name)


def _supervise(
    settings: Settings, addresses: dict[str, str], start: Callable[[Supervisor, str], None]
) -> int:
    """Run `start` with the database up, then watch until a signal; the database stops last."""
    refuse_taken(addresses)
    database: EmbeddedPostgres | None = None
    try:
        with Supervisor() as supervisor:
            database, database_url = open_database(settings)
            if database:
                supervisor.at_the_end(database.stop)
            supervisor.check_stop()
            start(supervisor, database_url)
            supervisor.watch(lambda: _keep_database(database))
    except StopRequested:
        pass
    except (StartFailedError, EmbeddedPostgresError) as error:
        raise CommandFailed(str(error)) from error
    return 0


def _keep_database(database: EmbeddedPostgres | None) -> None:
    """Restart the server if it ended, and take it over when the command that owned it went away."""
    if database is None:
        return
    try:
        database.ensure_running()
    except EmbeddedPostgresError as error:
        log_line("database_not_running", error=str(error))
