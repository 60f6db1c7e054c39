"""Process settings of the sandbox, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """The sandbox must not start with these settings; the text says why."""


@dataclass(frozen=True)
class Settings:
    """`bind` is host:port, `unix:PATH` or `fd://N`; `directory` holds keys and books."""

    bind: str
    directory: Path


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads the environment; SettingsError in production, where simulated money has no place."""
    if environment.get("NOVAPAY_ENV", "development") == "production":
        raise SettingsError(
            "沙箱不能在生产环境启动 / the sandbox does not start with NOVAPAY_ENV=production"
        )
    data_directory = Path(environment.get("NOVAPAY_DATA_DIR") or ".novapay")
    return Settings(
        bind=environment.get("NOVAPAY_SANDBOX_BIND") or "127.0.0.1:8010",
        directory=data_directory / "sandbox",
    )
