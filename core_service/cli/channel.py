"""The command line's own way to the core: the service token, TLS as the settings say."""

import socket
from pathlib import Path

import grpc
from cryptography import x509

from core_service.client import ClientTls, service_channel
from core_service.settings import GrpcTls, Settings, parse_bind, read_certificate


def channel_to_core(settings: Settings, *, as_service: bool = True) -> grpc.Channel:
    """A channel to the core of these settings; the caller closes it."""
    token = settings.grpc_token if as_service else None
    tls = None
    if settings.grpc_tls is not None:
        tls = _client_tls(settings.grpc_tls, is_here=_is_here(settings.grpc_bind))
    return service_channel(_reachable(settings.grpc_bind), token, tls=tls)


def _client_tls(files: GrpcTls, *, is_here: bool) -> ClientTls:
    authority = files.ca or files.certificate
    assert authority is not None, "the settings have one"
    return ClientTls(
        server_ca=authority.read_bytes(),
        certificate=files.client_certificate.read_bytes() if files.client_certificate else None,
        private_key=files.client_key.read_bytes() if files.client_key else None,
        # A certificate names what others call, and seldom loopback or a socket. The core that these settings describe
        # shows the certificate that they name.
        server_name=_first_name(files.certificate) if files.certificate and is_here else None,
    )


def _first_name(certificate: Path) -> str | None:
    """The first host name in a certificate, or None when it names addresses only."""
    try:
        names = read_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return None
    hosts = names.value.get_values_for_type(x509.DNSName)
    return hosts[0].replace("*", "core") if hosts else None  # some host of those that it stands for


def _is_here(bind: str) -> bool:
    """Tell whether the address is one of this machine."""
    if bind.startswith("unix:"):
        return True
    host, _ = parse_bind(bind)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _reachable(bind: str) -> str:
    """The address to call when the core listens on every interface."""
    if bind.startswith("unix:"):
        return bind
    host, port = parse_bind(bind)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (called, not bound)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
