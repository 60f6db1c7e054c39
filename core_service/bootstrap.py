"""Puts the parts of a core process together; the only place that does.

`serve` runs the gRPC server, `work` the workers; both refuse to start on a database that does not
fit, or with keys that do not open what is stored in it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from core_service import garbage, logs, tracing, workers
from core_service.application import (
    access,
    account_checks,
    administration,
    callback_attempts,
    merchant_cache,
    provider_asking,
    request_log,
    routing,
    system_config,
    two_step,
)
from core_service.application.channel_accounts import ChannelAccounts
from core_service.application.credentials import Credentials
from core_service.application.merchants import Merchants
from core_service.background import Repeating
from core_service.master_keys import KeyFile
from core_service.rpc.access_servicer import AccessServicer
from core_service.rpc.callers import Callers
from core_service.rpc.config_servicer import ConfigServicer
from core_service.rpc.interceptors import Interceptors
from core_service.rpc.merchant_servicer import MerchantServicer
from core_service.rpc.payment_servicer import PaymentServicer
from core_service.rpc.refund_servicer import RefundServicer
from core_service.rpc.server import THREADS, CoreServer, ServerTls
from core_service.settings import GrpcTls, Settings
from core_service.storage import database, migrator, sealed_values
from core_service.storage.database import connection_scope
from core_service.storage.health import DatabaseProbe
from core_service.storage.secret_box import SecretBox, SecretUnreadable

SPARE_CONNECTIONS = 5
"""Beside one for each thread that handles calls: refresher, key use, request log, first operator."""
KEY_USE_SECONDS = 5.0
REQUEST_LOG_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger("core_service")


class StartRefused(Exception):
    """This process must not run as things are; the message says what to do."""


def serve(settings: Settings, database_url: str) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls end. Raises StartRefused, PortTaken."""
    # Blocked before the first thread starts, so that only the wait below ever sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    with running_core(settings, database_url) as server:
        tracing.start("novapay-core")
        garbage.collect_rarely()
        _log.info("serving", address=settings.grpc_bind, process=os.getpid())
        received = signal.sigwait(STOP_SIGNALS)
        _log.info("stopping", signal=signal.Signals(received).name)
        server.stop()
        tracing.stop()
    _log.info("stopped")


@contextmanager
def running_core(settings: Settings, database_url: str) -> Iterator[CoreServer]:
    """A started server with everything that it needs around it."""
    box = prepare(settings, database_url, max_connections=THREADS + SPARE_CONNECTIONS)
    access.configure_rate(settings.credential_rate_limit / settings.core_processes)
    with connection_scope():
        administration.ensure_first_operator(settings.admin_bootstrap, now=datetime.now(UTC))
    probe = DatabaseProbe(database_url)
    key_use = Repeating("key-use", KEY_USE_SECONDS, _write_key_use)
    requests = Repeating("request-log", REQUEST_LOG_SECONDS, _write_request_log)
    servicers = _servicers(settings, box)
    interceptors = Interceptors(
        Callers(settings.grpc_token), threads=THREADS, database_is_up=probe.is_up
    )
    probe.start()
    key_use.start()
    requests.start()
    system_config.start_refresher()
    try:
        # At last: from here on the kernel deals connections to this process, and each waits until `start`.
        server = CoreServer(
            servicers,
            interceptors,
            bind=settings.grpc_bind,
            tls=_server_tls(settings.grpc_tls),
            is_port_shared=settings.core_processes > 1,
            with_reflection=not settings.is_production,
            is_healthy=probe.is_up,
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        key_use.stop()
        requests.stop()
        system_config.stop_refresher()
        probe.stop()
        database.database.close_all()


def work(settings: Settings, database_url: str) -> int:
    """Run the workers until SIGTERM or SIGINT; the exit status. Raises StartRefused."""
    prepare(settings, database_url, max_connections=workers.CONNECTIONS)
    provider_asking.configure_pace(settings.worker_processes)
    system_config.start_refresher()
    tracing.start("novapay-worker")
    garbage.collect_rarely()
    try:
        return workers.main()
    finally:
        tracing.stop()
        system_config.stop_refresher()
        database.database.close_all()


def _servicers(settings: Settings, box: SecretBox) -> dict[str, Any]:
    """Who handles which service."""
    merchants = Merchants(box, settings.outbound_allow)
    return {
        "novapay.payments.v1.PaymentService": PaymentServicer(settings.public_base_url),
        "novapay.refunds.v1.RefundService": RefundServicer(),
        "novapay.merchants.v1.MerchantService": MerchantServicer(
            merchants,
            Credentials(box),
            ChannelAccounts(
                box,
                public_base_url=settings.public_base_url,
                allow_custom_base_url=not settings.is_production,
            ),
        ),
        "novapay.access.v1.AccessService": AccessServicer(merchants),
        "novapay.config.v1.ConfigService": ConfigServicer(),
    }


def prepare(settings: Settings, database_url: str, *, max_connections: int) -> SecretBox:
    """What every process of the core needs: logs, database, keys, runtime settings.

    Raises StartRefused.
    """
    logs.configure()
    database.configure(
        database_url, max_connections=max_connections, prepares=settings.prepared_statements
    )
    pending = migrator.pending(database_url)
    if pending:
        raise StartRefused(
            f"the database lacks {', '.join(pending)}; run `novapay migrate` and start again"
        )
    box = secret_box(settings)
    system_config.configure(settings.system_config_defaults)
    with connection_scope():
        _ensure_readable(box)
        system_config.refresh_now()
    merchant_cache.configure(box, settings.public_base_url)
    account_checks.configure(settings.public_base_url, is_production=settings.is_production)
    two_step.configure(box)
    routing.configure(settings.outbound_allow)
    callback_attempts.configure(settings.outbound_allow)
    return box


def secret_box(settings: Settings) -> SecretBox:
    """Keys in a file may be rotated while we run."""
    path = settings.encryption_keys_file
    if path is None:
        return SecretBox(settings.encryption_keys)
    file = KeyFile(path)
    return SecretBox(file.load(), file.load_if_changed)


def _ensure_readable(box: SecretBox) -> None:
    try:
        for value in sealed_values.samples():
            box.open(value.sealed, value.place)
    except SecretUnreadable as failure:
        raise StartRefused(f"stored secrets cannot be opened: {failure}") from failure


def _write_key_use() -> None:
    with connection_scope():
        access.flush_last_uses(datetime.now(UTC))


def _write_request_log() -> None:
    with connection_scope():
        request_log.flush()


def _server_tls(tls: GrpcTls | None) -> ServerTls | None:
    if tls is None:
        return None
    if tls.certificate is None or tls.key is None:
        # Settings for callers, which have none: never without TLS when TLS was meant.
        raise StartRefused("NOVAPAY_GRPC_TLS_CERT and NOVAPAY_GRPC_TLS_KEY are needed to serve")
    return ServerTls(
        certificate=tls.certificate.read_bytes(),
        private_key=tls.key.read_bytes(),
        client_ca=_bytes(tls.client_ca),
    )


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
