"""`python -m sandbox`: serves the sandbox under gunicorn, one worker process."""

import sys
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from sandbox.app import create_app
from sandbox.settings import Settings, SettingsError, load_settings
from sandbox.state import SandboxState
from sandbox.wire_faults import WireFaultMiddleware

# A held answer keeps its thread, so there are more of them than one would need otherwise.
_THREADS = 64


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: SandboxState | None = None
        super().__init__()

    def load_config(self) -> None:
        """Settings of gunicorn."""
        values: dict[str, Any] = {
            "bind": self._settings.bind,
            "workers": 1,
            "worker_class": "gthread",
            "threads": _THREADS,
            "keepalive": 30,
            "graceful_timeout": 5,
            "control_socket_disable": True,
            "loglevel": "warning",
            "proc_name": "novapay-sandbox",
            "post_worker_init": self._started,
            "worker_exit": self._stopped,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> WireFaultMiddleware:
        """Called in the worker process."""
        self._state = SandboxState(self._settings.directory)
        self._state.start()
        return create_app(self._state)

    def _started(self, worker: Worker) -> None:
        """Held answers end as soon as the worker is told to stop."""
        if self._state:
            self._state.is_running = lambda: bool(worker.alive)

    def _stopped(self, _arbiter: object, _worker: object) -> None:
        if self._state:
            self._state.stop()


def main() -> int:
    """Runs until SIGTERM; 1 if the settings forbid the start."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
