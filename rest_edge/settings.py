"""Process settings of the edge, read from the environment once; every problem is reported at the same time."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

CORE_THREADS_PER_PROCESS = 16
"""Calls that one core process works on at once; the edge lets no more than that through."""


class InvalidSettings(Exception):
    """The environment does not describe a working edge; the text lists every problem."""


@dataclass(frozen=True)
class Settings:
    """What the edge needs to know.

    `public_base_url` has no trailing slash. `core_processes` only sizes the pool of channels and the admission limits.
    """

    http_bind: str = "127.0.0.1:8000"
    core_address: str = "127.0.0.1:50051"
    public_base_url: str = "http://127.0.0.1:8000"
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    environment: str = "development"
    edge_processes: int = 1
    core_processes: int = 1

    @property
    def is_https(self) -> bool:
        """Whether payers and operators reach this site over https."""
        return self.public_base_url.startswith("https://")

    @property
    def channels(self) -> int:
        """Channels to the core per process: twice the processes behind a shared TCP port, one on a Unix socket."""
        return 1 if self.core_address.startswith("unix:") else 2 * self.core_processes

    @property
    def calls_at_once(self) -> int:
        """Merchant calls that one edge process has in flight at most."""
        return max(8, CORE_THREADS_PER_PROCESS * self.core_processes // self.edge_processes)


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment; raises `InvalidSettings`."""
    problems: list[str] = []
    defaults = Settings()
    settings = Settings(
        http_bind=environ.get("NOVAPAY_HTTP_BIND") or defaults.http_bind,
        core_address=environ.get("NOVAPAY_GRPC_BIND") or defaults.core_address,
        public_base_url=(environ.get("NOVAPAY_PUBLIC_BASE_URL") or defaults.public_base_url).rstrip("/"),
        trusted_proxies=_networks(environ.get("NOVAPAY_TRUSTED_PROXIES", ""), problems),
        environment=environ.get("NOVAPAY_ENV") or defaults.environment,
        edge_processes=_process_count(environ, "NOVAPAY_EDGE_PROCESSES", problems),
        core_processes=_process_count(environ, "NOVAPAY_CORE_PROCESSES", problems),
    )
    base = urlsplit(settings.public_base_url)
    if base.scheme not in ("http", "https") or not base.netloc or base.path or base.query:
        problems.append("NOVAPAY_PUBLIC_BASE_URL must be an http(s) address without a path")
    if settings.environment not in ("development", "test", "production"):
        problems.append("NOVAPAY_ENV must be development, test or production")
    if settings.environment == "production" and not settings.is_https:
        problems.append("NOVAPAY_PUBLIC_BASE_URL must be https in production")
    if problems:
        raise InvalidSettings("; ".join(problems))
    return settings


def _networks(text: str, problems: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    networks = []
    for item in text.replace(",", " ").split():
        try:
            networks.append(ip_network(item, strict=False))
        except ValueError:
            problems.append(f"NOVAPAY_TRUSTED_PROXIES: {item!r} is not an address or a CIDR range")
    return tuple(networks)


def _process_count(environ: Mapping[str, str], name: str, problems: list[str]) -> int:
    """The number set, or one process for every two processors (the other half is the other side's)."""
    text = environ.get(name, "")
    if not text:
        return max(1, (os.cpu_count() or 1) // 2)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 256):
        problems.append(f"{name} must be a number from 1 to 256")
        return 1
    return int(text)
