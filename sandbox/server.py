"""`SandboxServer`: a sandbox in a subprocess, for tests and scripts."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0


class SandboxServer:
    """Listens on a free port of the loopback; `url` is known before the process runs.

    Use as a context manager, or call `start` and `stop`. `directory` becomes its data directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._http = urllib3.PoolManager(retries=False)
        self.url = ""

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stops."""
        self.stop()

    def start(self) -> None:
        """Returns when the sandbox answers; RuntimeError if it does not come up."""
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            environment = {
                **os.environ,
                "NOVAPAY_DATA_DIR": str(self._directory),
                "NOVAPAY_SANDBOX_BIND": f"fd://{listener.fileno()}",
                "NOVAPAY_ENV": "test",
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox"],
                env=environment,
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).parent.parent,
            )
        self._wait_until_up()

    def stop(self) -> int | None:
        """SIGTERM, then waits; the exit code."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def control(self, call: str, **body: Any) -> dict[str, Any]:
        """POST /control/{call}; RuntimeError with the answer unless 2xx."""
        return self._json("POST", f"/control/{call}", body)

    def get(self, path: str) -> dict[str, Any]:
        """GET any JSON page of the sandbox."""
        return self._json("GET", path, None)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE of a control call."""
        return self._json("DELETE", path, None)

    def _json(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        response = self._http.request(method, self.url + path, json=body, timeout=60)
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {response.data.decode()}")
        answer: dict[str, Any] = json.loads(response.data)
        return answer

    def _wait_until_up(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                self._http.request("GET", f"{self.url}/health", timeout=5)
            except urllib3.exceptions.HTTPError:
                continue  # the request waits in the backlog, so this does not spin
            return
        raise RuntimeError("the sandbox did not start")
