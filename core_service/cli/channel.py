"""The command line's own way to the core: the service token, TLS as the settings say."""

import grpc

from core_service.client import ClientTls, service_channel
from core_service.settings import Settings, parse_bind


def channel_to_core(settings: Settings, *, as_service: bool = True) -> grpc.Channel:
    """A channel to the core of these settings; the caller closes it."""
    token = settings.grpc_token if as_service else None
    tls = None
    if settings.grpc_tls is not None:
        files = settings.grpc_tls
        tls = ClientTls(
            server_ca=(files.ca or files.certificate).read_bytes(),
            certificate=files.client_certificate.read_bytes() if files.client_certificate else None,
            private_key=files.client_key.read_bytes() if files.client_key else None,
        )
    return service_channel(_reachable(settings.grpc_bind), token, tls=tls)


def _reachable(bind: str) -> str:
    """The address to call when the core listens on every interface."""
    if bind.startswith("unix:"):
        return bind
    host, port = parse_bind(bind)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (called, not bound)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
