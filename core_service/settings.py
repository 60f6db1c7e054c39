"""Process settings, read once from the environment: typed, frozen, every problem reported at once.

`Settings.load(os.environ)` is the only way in. Outside production it makes the secrets that are
missing and keeps them in the data directory; production refuses every development default instead.
A secret can also be given as a file: `NOVAPAY_GRPC_TOKEN_FILE=/run/secrets/token`.
"""

import ipaddress
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from core_service.master_keys import Ring, new_ring, parse_ring, ring_text

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIN_PRODUCTION_TOKEN_LENGTH = 32
MIN_PRODUCTION_PASSWORD_LENGTH = 12
CREDENTIAL_RATE_LIMIT = 10_000
"""More than one machine of two cores serves: it stops a loop gone wild, a site that wants less says so."""
MAX_PROCESSES = 64
MAX_UNIX_PATH_BYTES = 107

ENCRYPTION_KEYS_FILE = "encryption_keys"
"""In the data directory, when the environment has no keys."""

FAILPOINT_SETTINGS = ("NOVAPAY_FAILPOINTS", "NOVAPAY_FAILPOINT_DIR")
"""Read by `failpoints` itself; for tests."""

SYSTEM_CONFIG_DEFAULTS: Mapping[str, int] = MappingProxyType(
    {
        "PAYMENT_EXPIRE_MINUTES": 30,
        "MERCHANT_SIGNATURE_MAX_AGE_SECONDS": 300,
        "IDEMPOTENCY_LEASE_SECONDS": 30,
        "IDEMPOTENCY_RETENTION_DAYS": 7,
        "CALLBACK_TIMEOUT_MS": 10_000,
        "CALLBACK_MAX_ATTEMPTS": 14,
        "CALLBACK_RETRY_INTERVAL_SECONDS": 15,
        "SETTLEMENT_HOLD_DAYS": 1,
    }
)
"""Runtime settings: the environment may give another default, a row in the database overrides."""

SYSTEM_CONFIG_BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "PAYMENT_EXPIRE_MINUTES": (1, 7 * 24 * 60),
        # What `domain.signature` takes; nonces are kept as long.
        "MERCHANT_SIGNATURE_MAX_AGE_SECONDS": (1, 3600),
        # A lease that ends while its holder may still be at work would let a second run begin: more than the ten
        # seconds that the edge gives a call at most, and five to spare.
        "IDEMPOTENCY_LEASE_SECONDS": (16, 3600),
        "IDEMPOTENCY_RETENTION_DAYS": (1, 365),
        "CALLBACK_TIMEOUT_MS": (100, 60_000),
        "CALLBACK_MAX_ATTEMPTS": (1, 100),
        "CALLBACK_RETRY_INTERVAL_SECONDS": (1, 43_200),
        "SETTLEMENT_HOLD_DAYS": (0, 365),
    }
)
"""Smallest and largest value of each, wherever it comes from."""


class SettingsError(Exception):
    """What is wrong with the environment; `problems` names each setting and what it should be."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Environment(StrEnum):
    """Where this runs. Only `production` refuses development defaults."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


@dataclass(frozen=True)
class GrpcTls:
    """PEM files of TLS between the core and its callers; `client_*` makes it mutual."""

    certificate: Path | None
    """The core's; callers on machines of their own have neither it nor its key."""
    key: Path | None
    ca: Path | None
    """Authority that callers check the core against; None: the core's certificate itself."""
    client_ca: Path | None
    """Authority of the certificates that callers must show; None: none is asked for."""
    client_certificate: Path | None
    client_key: Path | None


@dataclass(frozen=True)
class AdminBootstrap:
    """The first operator, made when there is none."""

    email: str
    password: str = field(repr=False)
    name: str


@dataclass(frozen=True)
class Settings:
    """Everything the core and the command line are told by the environment."""

    environment: Environment
    data_dir: Path
    database_url: str | None = field(repr=False)
    """None: the embedded server in `data_dir`."""
    http_bind: str
    prepared_statements: bool
    """Off behind a pooler that gives a session's transactions to several connections."""
    grpc_bind: str
    """host:port or unix:PATH, just as gRPC takes it."""
    grpc_tls: GrpcTls | None
    grpc_token: str = field(repr=False)
    sandbox_bind: str
    metrics_bind: str | None
    public_base_url: str
    """Without a slash at the end."""
    encryption_keys: Ring = field(repr=False)
    """Master keys that seal stored secrets."""
    encryption_keys_file: Path | None
    """Where they are kept; None: they came in the environment and cannot change before a restart."""
    trusted_proxies: tuple[Network, ...]
    outbound_allow: tuple[Network, ...]
    core_processes: int
    edge_processes: int
    worker_processes: int
    credential_rate_limit: int
    """Signed requests a second with one API key, over all core processes of this machine."""
    admin_bootstrap: AdminBootstrap | None
    system_config_defaults: Mapping[str, str]

    @property
    def is_production(self) -> bool:
        """Tell whether development conveniences are forbidden."""
        return self.environment is Environment.PRODUCTION

    @classmethod
    def load(
        cls, environ: Mapping[str, str] = os.environ, *, serves_grpc: bool = False
    ) -> "Settings":
        """Read the environment; raises SettingsError with all problems.

        `serves_grpc`: with what only a program needs that listens for calls, not one that makes them.
        """
        reader = _Reader(environ)
        settings = _read(reader, serves_grpc=serves_grpc)
        if settings.is_production:
            reader.problems += _development_defaults(settings, environ)
        if reader.problems:
            raise SettingsError(reader.problems)
        return settings


def parse_bind(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("must be host:port, like 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_within(text: str, minimum: int, maximum: int) -> int:
    """Read a whole number; raises ValueError that says which are taken."""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(maximum)):
        number = int(text)
        if minimum <= number <= maximum:
            return number
    raise ValueError(f"must be a whole number from {minimum} to {maximum}")


class _Reader:
    """Takes values out of the environment and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """An empty value counts as unset."""
        return self._environ.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """A secret from NAME, or from the file that NAME_FILE names; empty when unset."""
        path = self.text(f"{name}_FILE")
        if not path:
            return self.text(name)
        if self.text(name):
            self.problems.append(f"{name} and {name}_FILE are both set; keep one of them")
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{name}_FILE={path} cannot be read: {error}")
            return ""

    def parsed(self, name: str, default: str, parse: Callable[[str], T], fallback: T) -> T:
        """Parse a value; a ValueError becomes a problem that names the setting."""
        text = self.text(name, default)
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{name}={text}: {error}")
            return fallback

    def path(self, name: str) -> Path | None:
        """A path, or None when unset."""
        text = self.text(name)
        return Path(text) if text else None


def _read(reader: _Reader, *, serves_grpc: bool) -> Settings:
    environment = reader.parsed(
        "NOVAPAY_ENV", "development", _environment, fallback=Environment.PRODUCTION
    )
    is_production = environment is Environment.PRODUCTION
    data_dir = Path(reader.text("NOVAPAY_DATA_DIR", ".novapay")).absolute()
    http_bind = reader.parsed("NOVAPAY_HTTP_BIND", "127.0.0.1:8000", _host_and_port, "")
    grpc_bind = reader.parsed(
        "NOVAPAY_GRPC_BIND",
        "127.0.0.1:50051",
        _served_grpc_address if serves_grpc else _grpc_address,
        "",
    )
    one_core = 1 if grpc_bind.startswith("unix:") else MAX_PROCESSES
    cpus = len(os.sched_getaffinity(0))
    return Settings(
        environment=environment,
        data_dir=data_dir,
        database_url=_database_url(reader),
        http_bind=http_bind,
        prepared_statements=reader.parsed(
            "NOVAPAY_PREPARED_STATEMENTS", "on", _on_or_off, fallback=True
        ),
        grpc_bind=grpc_bind,
        grpc_tls=_grpc_tls(reader, serves_grpc=serves_grpc),
        grpc_token=_grpc_token(reader, data_dir),
        sandbox_bind=reader.parsed("NOVAPAY_SANDBOX_BIND", "127.0.0.1:8010", _host_and_port, ""),
        metrics_bind=reader.parsed("NOVAPAY_METRICS_BIND", "", _optional_bind, None),
        public_base_url=reader.parsed(
            "NOVAPAY_PUBLIC_BASE_URL", _local_url(http_bind), _base_url, ""
        ),
        encryption_keys=_encryption_keys(reader, data_dir, is_production=is_production),
        encryption_keys_file=_encryption_keys_file(reader, data_dir),
        trusted_proxies=reader.parsed("NOVAPAY_TRUSTED_PROXIES", "", parse_networks, ()),
        outbound_allow=reader.parsed(
            "NOVAPAY_OUTBOUND_ALLOW", "" if is_production else "127.0.0.0/8", parse_networks, ()
        ),
        # A core costs about twice the processor time of the edge, and one process uses one core.
        core_processes=_processes(reader, "CORE", cpus, one_core),
        edge_processes=_processes(reader, "EDGE", max(1, cpus // 2)),
        worker_processes=_processes(reader, "WORKER", max(1, cpus // 4)),
        credential_rate_limit=reader.parsed(
            "NOVAPAY_CREDENTIAL_RATE_LIMIT", str(CREDENTIAL_RATE_LIMIT), _positive, 1
        ),
        admin_bootstrap=_admin_bootstrap(reader, is_production=is_production),
        system_config_defaults=_system_config(reader),
    )


def _development_defaults(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Find what production does not tolerate."""
    problems = []
    if not environ.get("NOVAPAY_PUBLIC_BASE_URL"):
        problems.append("NOVAPAY_PUBLIC_BASE_URL is needed in production: https://your.domain")
    elif not settings.public_base_url.startswith("https://"):
        problems.append("NOVAPAY_PUBLIC_BASE_URL must begin with https:// in production")
    if environ.get("NOVAPAY_SANDBOX_BIND"):
        problems.append("NOVAPAY_SANDBOX_BIND must not be set: the sandbox has no place here")
    problems += [
        f"{name} must not be set: it makes processes die on purpose"
        for name in FAILPOINT_SETTINGS
        if environ.get(name)
    ]
    if 0 < len(settings.grpc_token) < MIN_PRODUCTION_TOKEN_LENGTH:
        problems.append(
            f"NOVAPAY_GRPC_TOKEN is too short: {MIN_PRODUCTION_TOKEN_LENGTH} characters or more"
        )
    if settings.outbound_allow:
        problems.append(
            "NOVAPAY_OUTBOUND_ALLOW must not be set: in production callbacks reach public addresses"
            " only"
        )
    return problems


def _environment(text: str) -> Environment:
    try:
        return Environment(text)
    except ValueError:
        raise ValueError("must be development, test or production") from None


def _host_and_port(text: str) -> str:
    parse_bind(text)
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number from 1")
    return int(text)


def _on_or_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("must be on or off")
    return text == "on"


def _optional_bind(text: str) -> str | None:
    return _host_and_port(text) if text else None


def _grpc_address(text: str) -> str:
    if not text.startswith("unix:"):
        return _host_and_port(text)
    path = text.removeprefix("unix:")
    if not path:
        raise ValueError("must be host:port, or unix:PATH")
    if len(os.fsencode(path)) > MAX_UNIX_PATH_BYTES:
        raise ValueError(f"the path of a socket may have {MAX_UNIX_PATH_BYTES} bytes")
    return text


def _served_grpc_address(text: str) -> str:
    if _grpc_address(text).startswith("unix:"):
        directory = Path(text.removeprefix("unix:")).parent
        if not directory.is_dir():
            raise ValueError(f"there is no directory {directory}")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ValueError(f"this account cannot make a socket in {directory}")
    return text


def _local_url(bind: str) -> str:
    """Address under which a browser on this machine reaches the edge."""
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port or 8000}"  # noqa: S104 (called, not bound)


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must not have credentials, a query or a fragment")
    return text.rstrip("/")


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse addresses and CIDR ranges between commas or white space; raises ValueError."""
    return tuple(ipaddress.ip_network(part) for part in text.replace(",", " ").split())


def _database_url(reader: _Reader) -> str | None:
    url = reader.secret("DATABASE_URL")
    if url and not url.startswith(("postgresql://", "postgres://")):
        reader.problems.append("DATABASE_URL must begin with postgresql://")
    return url or None


def _grpc_tls(reader: _Reader, *, serves_grpc: bool) -> GrpcTls | None:
    prefix = "NOVAPAY_GRPC_TLS_"
    names = ("CERT", "KEY", "CA", "CLIENT_CA", "CLIENT_CERT", "CLIENT_KEY")
    files = {name: reader.path(f"{prefix}{name}") for name in names}
    if not any(files.values()):
        return None
    for pair in (("CERT", "KEY"), ("CLIENT_CERT", "CLIENT_KEY")):
        if len([name for name in pair if files[name]]) == 1:
            reader.problems.append(f"{prefix}{pair[0]} and {prefix}{pair[1]} go together")
    if serves_grpc:
        if not files["CERT"] and not files["KEY"]:
            reader.problems.append(
                f"{prefix}CERT and {prefix}KEY are needed to serve gRPC with TLS"
            )
        if files["CLIENT_CA"] and not files["CLIENT_CERT"] and not files["CLIENT_KEY"]:
            reader.problems.append(
                f"{prefix}CLIENT_CERT and {prefix}CLIENT_KEY are needed with {prefix}CLIENT_CA:"
                " whether the core is ready is asked over gRPC too"
            )
    elif not files["CA"] and not files["CERT"]:
        reader.problems.append(f"{prefix}CA is needed: the core's certificate is checked with it")
    # Its key, and whom it believes, are the core's own business: no caller need be able to read them.
    for name in ("CERT", "CA", "CLIENT_CERT", *(("CLIENT_CA",) if serves_grpc else ())):
        _check_certificate(reader, f"{prefix}{name}")
    for name in ("CLIENT_", *(("",) if serves_grpc else ())):
        _check_key(reader, f"{prefix}{name}KEY", files[f"{name}CERT"])
    return GrpcTls(
        certificate=files["CERT"],
        key=files["KEY"],
        ca=files["CA"],
        client_ca=files["CLIENT_CA"],
        client_certificate=files["CLIENT_CERT"],
        client_key=files["CLIENT_KEY"],
    )


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; raises ValueError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("must be a file with a certificate in PEM form") from None


def _check_certificate(reader: _Reader, name: str) -> None:
    if reader.text(name):
        reader.parsed(name, "", lambda text: read_certificate(Path(text)), None)


def _check_key(reader: _Reader, name: str, certificate: Path | None) -> None:
    """A key in PEM form without a password, of its certificate unless that is wrong itself."""

    def parse(text: str) -> None:
        try:
            key = load_pem_private_key(Path(text).read_bytes(), None)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("must be a file with a key in PEM form, without a password") from None
        try:
            of_certificate = certificate and read_certificate(certificate).public_key()
        except (ValueError, UnsupportedAlgorithm):
            return
        if of_certificate and of_certificate != key.public_key():
            raise ValueError(f"is not the key of {certificate}")

    if reader.text(name):
        reader.parsed(name, "", parse, None)


def _grpc_token(reader: _Reader, data_dir: Path) -> str:
    given = reader.secret("NOVAPAY_GRPC_TOKEN")
    if given and not (given.isascii() and given.isprintable() and " " not in given):
        reader.problems.append("NOVAPAY_GRPC_TOKEN must be printable ASCII without spaces")
    return given or _kept_secret(
        reader, data_dir / "grpc_token", "NOVAPAY_GRPC_TOKEN", lambda: secrets.token_urlsafe(32)
    )


def _encryption_keys(reader: _Reader, data_dir: Path, *, is_production: bool) -> Ring:
    name = "NOVAPAY_DATA_ENCRYPTION_KEYS"
    given = reader.secret(name)
    if not given:
        if is_production:
            reader.problems.append(
                f"{name} is needed in production, as id:base64key; make a key with"
                " `openssl rand -base64 32` and keep a copy: without it stored secrets are lost"
            )
            return {}
        path = data_dir / ENCRYPTION_KEYS_FILE
        given = _kept_secret(reader, path, name, lambda: ring_text(new_ring()))
    try:
        return parse_ring(given)
    except ValueError as error:
        reader.problems.append(f"{name}: {error}")  # never the value itself
        return {}


def _encryption_keys_file(reader: _Reader, data_dir: Path) -> Path | None:
    if reader.text("NOVAPAY_DATA_ENCRYPTION_KEYS"):
        return None
    return Path(reader.text("NOVAPAY_DATA_ENCRYPTION_KEYS_FILE") or data_dir / ENCRYPTION_KEYS_FILE)


def _kept_secret(reader: _Reader, path: Path, name: str, make: Callable[[], str]) -> str:
    """Read a secret that an earlier start made, or make it; several starts agree on one."""
    try:
        if not path.exists():
            _link_new_file(path, make())
        if path.stat().st_mode & 0o077:
            reader.problems.append(f"{path} can be read by others: chmod 600 {path}")
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        reader.problems.append(f"{name} is not set and {path} cannot be kept: {error}")
        return ""


def _link_new_file(path: Path, text: str) -> None:
    """Put a whole file into place unless another process was first."""
    # Root's directory may be passed through: the database runs under another account.
    path.parent.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _processes(reader: _Reader, kind: str, default: int, most: int = MAX_PROCESSES) -> int:
    def parse(text: str) -> int:
        if text.isdecimal() and 1 <= int(text) <= most:
            return int(text)
        why = " (two servers cannot share one unix socket)" if most == 1 else ""
        raise ValueError(f"must be a number from 1 to {most}{why}")

    default = min(default, most)
    return reader.parsed(f"NOVAPAY_{kind}_PROCESSES", str(default), parse, default)


def _admin_bootstrap(reader: _Reader, *, is_production: bool) -> AdminBootstrap | None:
    demo = {} if is_production else DEMO_ADMIN
    email = reader.text("ADMIN_BOOTSTRAP_EMAIL", demo.get("email", ""))
    password = reader.secret("ADMIN_BOOTSTRAP_PASSWORD") or demo.get("password", "")
    if not email and not password:
        return None
    if "@" not in email:
        reader.problems.append("ADMIN_BOOTSTRAP_EMAIL must be an e-mail address")
    if not password:
        reader.problems.append("ADMIN_BOOTSTRAP_PASSWORD is needed with ADMIN_BOOTSTRAP_EMAIL")
    if is_production and password == DEMO_ADMIN["password"]:
        reader.problems.append("ADMIN_BOOTSTRAP_PASSWORD is the demo password; choose another")
    if is_production and 0 < len(password) < MIN_PRODUCTION_PASSWORD_LENGTH:
        reader.problems.append(
            "ADMIN_BOOTSTRAP_PASSWORD is too short:"
            f" {MIN_PRODUCTION_PASSWORD_LENGTH} characters or more"
        )
    return AdminBootstrap(email, password, reader.text("ADMIN_BOOTSTRAP_NAME", "Administrator"))


DEMO_ADMIN: Mapping[str, str] = MappingProxyType(
    {"email": "admin@novapay.example", "password": "novapay-demo-admin"}
)
"""Signs in to the console in development; printed at start, refused in production."""


def _system_config(reader: _Reader) -> Mapping[str, str]:
    return MappingProxyType(
        {
            key: str(
                reader.parsed(
                    key,
                    str(default),
                    partial(parse_within, minimum=minimum, maximum=maximum),
                    default,
                )
            )
            for key, default in SYSTEM_CONFIG_DEFAULTS.items()
            for minimum, maximum in [SYSTEM_CONFIG_BOUNDS[key]]
        }
    )
