"""Runs the load generator (`load.c`), which is compiled on this machine when it has changed."""

import array
import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SOURCE = Path(__file__).with_name("load.c")


@dataclass(frozen=True)
class Load:
    """What came back: times in milliseconds, `rate` right answers a second."""

    right: int
    wrong: int
    seconds: float
    processor_seconds: float
    milliseconds: list[float]
    first_error: str

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.right / self.seconds if self.seconds else 0.0


def http(path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request: POST with a body, GET without."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(
    port: int,
    requests: Iterable[bytes],
    *,
    connections: int,
    seconds: float,
    status: int,
    expected: str,
) -> Load:
    """Send the requests, each once, until they or the seconds have run out."""
    with tempfile.TemporaryDirectory(prefix="novapay-bench-") as folder:
        sent, latencies = Path(folder, "requests"), Path(folder, "latencies")
        with sent.open("wb") as file:
            for request in requests:
                file.write(len(request).to_bytes(4, "little") + request)
        command = [program(), port, connections, seconds, status, expected, sent, latencies]
        done = subprocess.run(
            [str(part) for part in command], check=True, capture_output=True, timeout=seconds + 60
        )
        result = json.loads(done.stdout)
        times = array.array("I", latencies.read_bytes())
    return Load(
        right=result["right"],
        wrong=result["wrong"],
        seconds=result["seconds"],
        processor_seconds=result["processorSeconds"],
        milliseconds=[time / 1000 for time in times],
        first_error=result["firstError"],
    )


def program() -> Path:
    """The compiled generator, kept in the folder for temporary files by the hash of its source."""
    digest = sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = Path(tempfile.gettempdir(), f"novapay-bench-load-{digest}")
    if not path.exists():
        draft = path.with_name(f"{path.name}.{id(path)}")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", draft, SOURCE], check=True)
        draft.rename(path)
    return path
