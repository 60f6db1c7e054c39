"""Python loads this at the start of every process of a watched stack: each address that is connected to is noted (V21).

Only what Python itself connects: PostgreSQL's and gRPC's libraries know their one address each.
"""

import os
import sys
from typing import Any

FILE_SETTING = "WATCHED_CONNECTIONS"


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        os.write(_file, f"{arguments[1]!r}\n".encode())


if FILE_SETTING in os.environ:
    _file = os.open(os.environ[FILE_SETTING], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.addaudithook(_note)
