"""How a command says that it failed, and the failures that several commands share."""

import os
from collections.abc import Mapping
from typing import Any

from core_service.settings import Settings, SettingsError


class CommandFailed(Exception):
    """The command did not do its work; the text tells a person why.

    `extra` joins the text in the object that `--json` prints.
    """

    def __init__(self, text: str, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.extra = dict(extra or {})


def load_settings(*, serves_grpc: bool = False) -> Settings:
    """Read the settings of this process; raises CommandFailed that lists every problem."""
    try:
        return Settings.load(os.environ, serves_grpc=serves_grpc)
    except SettingsError as error:
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        raise CommandFailed(
            f"the settings are not usable:\n{problems}", {"problems": error.problems}
        ) from None
