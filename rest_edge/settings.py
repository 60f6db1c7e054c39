"""Process settings of the edge, read from the environment once; every problem is reported at the same time."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from core_service.client import ClientTls

CORE_THREADS_PER_PROCESS = 16
"""Calls that one core process works on at once; the edge lets no more than that through."""

MAX_PORT = 65535
MAX_PROCESSES = 64
MAX_CHANNELS = 64
CHANNELS_PER_CORE_PROCESS = 8


class InvalidSettings(Exception):
    """The environment does not describe a working edge; the text lists every problem."""


@dataclass(frozen=True)
class Settings:
    """What the edge needs to know.

    `public_base_url` has no trailing slash. `core_processes` only sizes the pool of channels and the admission limits.
    """

    http_bind: str
    core_address: str
    core_tls: ClientTls | None
    public_base_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    environment: str
    edge_processes: int
    core_processes: int

    @property
    def is_https(self) -> bool:
        """Whether payers and operators reach this site over https."""
        return self.public_base_url.startswith("https://")

    @property
    def channels(self) -> int:
        """Channels to the core: one on a Unix socket, many where the kernel deals them out to several processes.

        It deals at random, so few of them can all fall to one process.
        """
        if self.core_address.startswith("unix:") or self.core_processes == 1:
            return 1
        return min(MAX_CHANNELS, CHANNELS_PER_CORE_PROCESS * self.core_processes)

    @property
    def calls_at_once(self) -> int:
        """Merchant calls that one edge process has in flight at most."""
        return max(8, CORE_THREADS_PER_PROCESS * self.core_processes // self.edge_processes)


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment; raises InvalidSettings."""
    problems: list[str] = []
    cpus = len(os.sched_getaffinity(0))
    http_bind = _address(environ, "NOVAPAY_HTTP_BIND", "127.0.0.1:8000", problems)
    core_address = _address(environ, "NOVAPAY_GRPC_BIND", "127.0.0.1:50051", problems)
    # The command that starts us opens that port; it reads no settings but these.
    _address(environ, "NOVAPAY_METRICS_BIND", "127.0.0.1:9100", problems)
    base = environ.get("NOVAPAY_PUBLIC_BASE_URL") or _local_url(http_bind)
    settings = Settings(
        http_bind=http_bind,
        core_address=core_address,
        core_tls=_core_tls(environ, problems),
        public_base_url=base.rstrip("/"),
        trusted_proxies=_networks(environ.get("NOVAPAY_TRUSTED_PROXIES", ""), problems),
        environment=environ.get("NOVAPAY_ENV") or "development",
        edge_processes=_processes(environ, "EDGE", max(1, cpus // 2), problems),
        core_processes=_processes(
            environ, "CORE", 1 if core_address.startswith("unix:") else cpus, problems
        ),
    )
    if not _is_web_address(settings.public_base_url):
        problems.append(f"NOVAPAY_PUBLIC_BASE_URL={base}: must be an http or https address")
    if settings.environment not in ("development", "test", "production"):
        problems.append("NOVAPAY_ENV must be development, test or production")
    if settings.environment == "production" and not settings.is_https:
        problems.append("NOVAPAY_PUBLIC_BASE_URL must be https in production")
    if problems:
        raise InvalidSettings("; ".join(problems))
    return settings


def _address(environ: Mapping[str, str], name: str, default: str, problems: list[str]) -> str:
    """host:port, for gRPC also unix:PATH; the default instead of one that is neither."""
    text = environ.get(name) or default
    is_grpc = name == "NOVAPAY_GRPC_BIND"
    if is_grpc and text.startswith("unix:") and text != "unix:":
        return text
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= MAX_PORT
    if is_port and host and host.startswith("[") == host.endswith("]"):
        return text
    problems.append(
        f"{name}={text}: must be host:port{', or unix:PATH' if is_grpc else ''}, like {default}"
    )
    return default


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query


def _local_url(bind: str) -> str:
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"  # noqa: S104


def _core_tls(environ: Mapping[str, str], problems: list[str]) -> ClientTls | None:
    """TLS to the core when an authority for its certificate is given; with a certificate of our own it is mutual."""
    found: dict[str, bytes] = {}
    for name in ("CA", "CLIENT_CERT", "CLIENT_KEY"):
        path = environ.get(f"NOVAPAY_GRPC_TLS_{name}")
        if path:
            try:
                found[name] = Path(path).read_bytes()
            except OSError as error:
                problems.append(f"NOVAPAY_GRPC_TLS_{name}={path} cannot be read: {error.strerror}")
    if ("CLIENT_CERT" in found) != ("CLIENT_KEY" in found):
        problems.append("NOVAPAY_GRPC_TLS_CLIENT_CERT and NOVAPAY_GRPC_TLS_CLIENT_KEY go together")
    if "CA" in found:
        return ClientTls(found["CA"], found.get("CLIENT_CERT"), found.get("CLIENT_KEY"))
    if environ.get("NOVAPAY_GRPC_TLS_CERT") or found:
        problems.append(
            "NOVAPAY_GRPC_TLS_CA is needed: the edge checks the core's certificate with it"
        )
    return None


def _networks(text: str, problems: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    networks = []
    for item in text.replace(",", " ").split():
        try:
            networks.append(ip_network(item, strict=False))
        except ValueError:
            problems.append(f"NOVAPAY_TRUSTED_PROXIES: {item!r} is not an address or a CIDR range")
    return tuple(networks)


def _processes(environ: Mapping[str, str], kind: str, default: int, problems: list[str]) -> int:
    text = environ.get(f"NOVAPAY_{kind}_PROCESSES", "")
    if not text:
        return min(default, MAX_PROCESSES)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PROCESSES):
        problems.append(f"NOVAPAY_{kind}_PROCESSES must be a number from 1 to {MAX_PROCESSES}")
        return 1
    return int(text)
