"""Runtime settings: the environment gives defaults, a row in the database overrides.

Every process keeps the values in memory and looks at the database once a second, so that a change
is in force everywhere within five seconds and reading a setting costs nothing.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from core_service.calls import Call
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.settings import SYSTEM_CONFIG_BOUNDS, SYSTEM_CONFIG_DEFAULTS, parse_within
from core_service.storage import audit
from core_service.storage import system_config as storage
from core_service.storage.database import connection_scope, transact

REFRESH_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SystemConfig:
    """The settings in force; each field is the key of the same name in lower case."""

    payment_expire_minutes: int
    merchant_signature_max_age_seconds: int
    idempotency_lease_seconds: int
    idempotency_retention_days: int
    callback_timeout_ms: int
    callback_max_attempts: int
    callback_retry_interval_seconds: int
    settlement_hold_days: int


@dataclass(frozen=True)
class _Setting:
    """One key: where it is shown, and which whole numbers it takes."""

    key: str
    group: str
    label: str

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest."""
        return SYSTEM_CONFIG_BOUNDS[self.key]

    def parse(self, text: str) -> int:
        """Raises ValueError that says what is taken."""
        try:
            return parse_within(text, *self.bounds)
        except ValueError as problem:
            raise ValueError(f"{self.key} {problem}") from None


_SETTINGS = (
    _Setting(
        "PAYMENT_EXPIRE_MINUTES",
        "payment",
        "订单有效期(分钟) · Order lifetime (minutes)",
    ),
    _Setting(
        "MERCHANT_SIGNATURE_MAX_AGE_SECONDS",
        "security",
        "请求签名有效期(秒) · Age limit of request signatures (seconds)",
    ),
    _Setting(
        "IDEMPOTENCY_LEASE_SECONDS",
        "idempotency",
        "幂等处理租约(秒) · Lease of a running idempotent request (seconds)",
    ),
    _Setting(
        "IDEMPOTENCY_RETENTION_DAYS",
        "idempotency",
        "幂等结果保留天数 · Days that idempotent answers are kept",
    ),
    _Setting(
        "CALLBACK_TIMEOUT_MS",
        "callback",
        "商户回调超时(毫秒) · Time limit of a merchant callback (milliseconds)",
    ),
    _Setting(
        "CALLBACK_MAX_ATTEMPTS",
        "callback",
        "商户回调最多尝试次数 · Attempts of a merchant callback",
    ),
    _Setting(
        "CALLBACK_RETRY_INTERVAL_SECONDS",
        "callback",
        "商户回调首次重试间隔(秒) · First pause between callback attempts (seconds)",
    ),
    _Setting(
        "SETTLEMENT_HOLD_DAYS",
        "settlement",
        "结算保留天数 · Days before an amount can be settled",
    ),
)
_BY_KEY: Mapping[str, _Setting] = {setting.key: setting for setting in _SETTINGS}


@dataclass(frozen=True)
class ConfigEntry:
    """A setting as it is shown."""

    key: str
    value: str
    group: str
    label: str
    updated_at: datetime
    """When it was last set; for a default, when the database was set up."""
    default_value: str
    updated_by: str | None
    minimum: str
    maximum: str


def _parsed(texts: Mapping[str, str]) -> SystemConfig:
    values = {key.lower(): setting.parse(texts[key]) for key, setting in _BY_KEY.items()}
    return SystemConfig(**values)


_defaults: Mapping[str, str] = {key: str(value) for key, value in SYSTEM_CONFIG_DEFAULTS.items()}
_current = _parsed(_defaults)


def configure(defaults: Mapping[str, str]) -> None:
    """Takes the environment's defaults; the database's values follow with the first refresh.

    Raises ValueError naming a key whose default is out of its bounds.
    """
    global _defaults, _current  # noqa: PLW0603 (one set of settings per process)
    _current = _parsed(defaults)
    _defaults = dict(defaults)


def current() -> SystemConfig:
    """The settings in force, from memory; at most about two seconds old."""
    return _current


def refresh_now() -> None:
    """Reads the database. Raises DATABASE_UNAVAILABLE or OVERLOADED."""
    global _current  # noqa: PLW0603 (one set of settings per process)
    with connection_scope():
        _current = _parsed(_texts(storage.stored()))


def entries() -> list[ConfigEntry]:
    """Every setting, as it is in the database at this moment."""
    stored = storage.stored()
    texts = _texts(stored)
    began = storage.schema_began_at()
    return [
        ConfigEntry(
            key=key,
            value=texts[key],
            group=setting.group,
            label=setting.label,
            updated_at=stored[key].updated_at if key in stored else began,
            default_value=_defaults[key],
            updated_by=stored[key].updated_by if key in stored else None,
            minimum=str(setting.bounds[0]),
            maximum=str(setting.bounds[1]),
        )
        for key, setting in _BY_KEY.items()
    ]


def update(call: Call, changes: Sequence[tuple[str, str]], *, now: datetime) -> int:
    """Sets all of these (key, value) or none; how many there were.

    Raises INVALID_REQUEST naming each key that is unknown or given twice, and each value that its
    key does not take.
    """
    values = _checked(changes)

    def write() -> None:
        storage.lock()
        before = _texts(storage.stored())
        storage.put(values, by=audit.who(call), now=now)
        audit.record(
            call,
            action="system_config.update",
            target="system_config",
            before={key: before[key] for key in values},
            after=values,
        )

    transact(write)
    _refresh_if_possible()
    return len(values)


def _checked(changes: Sequence[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    seen: set[str] = set()
    violations = []
    for index, (key, value) in enumerate(changes):
        setting = _BY_KEY.get(key)
        if setting is None:
            violations.append(FieldViolation(f"configs[{index}].key", f"unknown key {key[:64]}"))
        elif key in seen:
            violations.append(FieldViolation(f"configs[{index}].key", f"{key} is given twice"))
        else:
            seen.add(key)
            try:
                values[key] = str(setting.parse(value))
            except ValueError as problem:
                violations.append(FieldViolation(f"configs[{index}].value", str(problem)))
    if violations:
        raise invalid_request(*violations)
    return values


def _texts(stored: Mapping[str, storage.StoredValue]) -> dict[str, str]:
    """Every setting as text; a stored value that its key does not take does not count."""
    texts = dict(_defaults)
    for key, setting in _BY_KEY.items():
        if key not in stored:
            continue
        try:
            setting.parse(stored[key].value)
        except ValueError as problem:
            _log.warning("stored setting ignored", problem=str(problem))
        else:
            texts[key] = stored[key].value
    return texts


def _refresh_if_possible() -> None:
    try:
        refresh_now()
    except CoreError as failure:
        _log.warning("settings not refreshed", reason=failure.reason)


class _Refresher:
    """The thread that keeps this process's settings fresh."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-config", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(REFRESH_SECONDS):
            _refresh_if_possible()


_refresher: _Refresher | None = None


def start_refresher() -> None:
    """Keeps the settings fresh from now on; once per process, after any fork."""
    global _refresher  # noqa: PLW0603 (one refresher per process)
    if _refresher is None:
        _refresh_if_possible()
        _refresher = _Refresher()
        _refresher.start()


def stop_refresher() -> None:
    """Ends the thread and waits for it."""
    global _refresher  # noqa: PLW0603 (one refresher per process)
    if _refresher is not None:
        _refresher.stop()
        _refresher = None
