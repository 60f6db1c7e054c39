"""The whole product as its users meet it: real processes, started by the command that users start, driven from outside.

Nothing here imports NovaPay: requests are signed and callbacks are verified by code of their own.
"""

import hashlib
import hmac
import http.server
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import urllib3

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90
UNFORESEEN = frozenset(
    {"unexpected failure", "round_failed", "asking_failed", "callback_attempt_failed"}
)
"""Events of the log that tell of a defect."""
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "test-only password 1"  # a test password


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(
    condition: Callable[[], Any], *, seconds: float = 20, what: str = "condition"
) -> Any:
    """The first true value of `condition`; fails the test when none comes in time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str | None:
        """The contract's error code."""
        return self.json.get("code") if self.raw.startswith(b"{") else None


class Http:
    """A plain HTTP client for one base URL: no redirects, no retries."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._pool = urllib3.PoolManager(retries=False, timeout=30)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = self._pool.request(
            method, self.base + path, body=body, headers=dict(headers or {}), redirect=False
        )
        return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.data)

    def post_json(self, path: str, body: Any, **headers: str) -> Answer:
        sent = {"content-type": "application/json", **headers}
        return self.request("POST", path, body=json.dumps(body).encode(), headers=sent)


@dataclass
class Merchant:
    """A merchant's shop: knows its code and one credential, signs what it sends."""

    http: Http
    code: str
    key_id: str
    secret: str

    def sign(
        self, raw: bytes, *, timestamp: str | None = None, nonce: str | None = None
    ) -> dict[str, str]:
        timestamp = timestamp or str(int(time.time()))
        nonce = nonce or secrets.token_hex(12)
        signed = f"{timestamp}.{nonce}.".encode() + raw
        return {
            "x-novapay-key": self.key_id,
            "x-novapay-timestamp": timestamp,
            "x-novapay-nonce": nonce,
            "x-novapay-signature": hmac.new(
                self.secret.encode(), signed, hashlib.sha256
            ).hexdigest(),
        }

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | bytes,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        timestamp: str | None = None,
        nonce: str | None = None,
    ) -> Answer:
        """Sends a signed request. A mapping gets this merchant's code; `headers` replaces, None removes."""
        raw = (
            body
            if isinstance(body, bytes)
            else json.dumps({"merchantCode": self.code, **body}).encode()
        )
        sent: dict[str, str | None] = dict(self.sign(raw, timestamp=timestamp, nonce=nonce))
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        sent.update(headers or {})
        return self.http.request(
            "POST", path, body=raw, headers={k: v for k, v in sent.items() if v is not None}
        )

    def create_order(
        self, channel: str = "alipay.page", amount: Any = "88.10", **fields: Any
    ) -> Answer:
        body = {
            "channelCode": channel,
            "externalOrderId": f"ext-{secrets.token_hex(8)}",
            "amount": amount,
            "subject": "一年会员",
            **fields,
        }
        return self.post("/api/payment-orders", body)

    def order(self, reference: str, *, sync: bool = False) -> Any:
        answer = self.post(f"/api/payment-orders/{reference}", {"sync": sync})
        assert answer.status == 200, answer.raw
        return answer.json["order"]

    def refund(self, reference: str, amount: Any, **fields: Any) -> Answer:
        body = {"externalRefundId": f"ref-{secrets.token_hex(8)}", "amount": amount, **fields}
        return self.post(f"/api/payment-orders/{reference}/refunds", body)


@dataclass
class Receiver:
    """A merchant's callback endpoint on loopback that records what it gets and answers as told."""

    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Taken from the front, one a request; 200 when none is left."""
    url: str = ""
    _server: http.server.ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                receiver.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/callback"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def about(self, order_id: str) -> list[tuple[dict[str, str], Any]]:
        """Headers and parsed body of what came about one order."""
        return [
            (headers, json.loads(body))
            for headers, body in list(self.received)
            if headers.get("x-novapay-order-id") == order_id
        ]


class Stack:
    """`novapay up` in a folder of its own, on ports of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.http_port, self.grpc_port, self.sandbox_port = free_port(), free_port(), free_port()
        self.metrics_port = free_port()
        self.base = f"http://127.0.0.1:{self.http_port}"
        self.grpc_address = f"127.0.0.1:{self.grpc_port}"
        self.sandbox_base = f"http://127.0.0.1:{self.sandbox_port}"
        self.http = Http(self.base)
        self.sandbox = Http(self.sandbox_base)
        self.accounts_of: dict[str, dict[str, Any]] = {}
        """Merchant code → channel → what `accounts create` answered."""
        self.environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("NOVAPAY_")
            },
            "NOVAPAY_DATA_DIR": str(self.data),
            "NOVAPAY_ENV": "test",
            "NOVAPAY_HTTP_BIND": f"127.0.0.1:{self.http_port}",
            "NOVAPAY_GRPC_BIND": self.grpc_address,
            "NOVAPAY_SANDBOX_BIND": f"127.0.0.1:{self.sandbox_port}",
            "NOVAPAY_PUBLIC_BASE_URL": self.base,
            "NOVAPAY_METRICS_BIND": f"127.0.0.1:{self.metrics_port}",
            "ADMIN_BOOTSTRAP_EMAIL": ADMIN_EMAIL,
            "ADMIN_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            **environment,
        }
        self.environment.pop("DATABASE_URL", None)
        self.environment.update(environment)
        self.log = folder / "log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it, or starts it again on the same data, and waits until it is ready."""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "core_service.cli", "up"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._ready, seconds=START_SECONDS, what="novapay up to become ready")
        except AssertionError:
            self.stop()
            raise
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"novapay up ended: {self.log.read_text()[-4000:]}")
        fresh = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        return any(line.startswith("ready") for line in fresh.splitlines())

    def log_records(self) -> list[dict[str, Any]]:
        """What the processes have logged since the first start, oldest first."""
        return list(self._logged())

    def _logged(self, having: str = "") -> Iterator[dict[str, Any]]:
        """One by one, of the lines with this text: after a long load they are millions."""
        with self.log.open(errors="replace") as lines:
            yield from (
                json.loads(line) for line in lines if having in line and line.startswith("{")
            )

    def internal_errors(self) -> list[dict[str, Any]]:
        """Log records of failures that nobody foresaw: none, whatever the tests did (V24)."""
        return [
            record
            for record in self._logged()
            if "INTERNAL" in (record.get("reason"), record.get("code"))
            or record.get("event") in UNFORESEEN
            or (
                record.get("level") in ("error", "critical")
                and "was sent SIGKILL"
                not in record["event"]  # gunicorn, of a worker that we killed
            )
        ]

    @property
    def process_id(self) -> int | None:
        """The process that supervises all others."""
        return self._process.pid if self._process else None

    def process_ids(self, program: str) -> list[int]:
        """The newest process of each program whose name begins so: `core`, `worker`, `edge`."""
        newest: dict[str, int] = {}
        for record in self._logged('"program_re'):
            if record.get("event") in ("program_ready", "program_restarted"):
                newest[record["program"]] = record["pid"]
        return [pid for name, pid in newest.items() if name.startswith(program)]

    def is_serving(self, process_id: int) -> bool:
        """Whether this process of the core takes calls."""
        return any(
            record.get("process") == process_id
            for record in self._logged('"serving"')
            if record.get("event") == "serving"
        )

    def stop(self) -> int:
        """SIGTERM and the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def cli(self, *arguments: str, stdin: str = "") -> Any:
        """Runs a management command and returns the object that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "core_service.cli", *arguments, "--json"],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def service_token(self) -> str:
        return (self.data / "grpc_token").read_text().strip()

    def new_merchant(self, code: str | None = None, *, approve: bool = True) -> Merchant:
        """A merchant with a credential and nothing else."""
        code = code or f"shop-{secrets.token_hex(5)}"
        self.cli(
            "merchants",
            "create",
            "--code",
            code,
            "--name",
            "测试商店",
            *(["--approve"] if approve else []),
        )
        credential = self.cli("credentials", "create", "--merchant", code)
        return Merchant(self.http, code, credential["keyId"], credential["secret"])

    def add_account(self, merchant: Merchant, channel: str, config: Mapping[str, Any]) -> Any:
        path = self.folder / f"account-{secrets.token_hex(4)}.json"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return self.cli(
            "accounts",
            "create",
            "--merchant",
            merchant.code,
            "--channel",
            channel,
            "--config",
            str(path),
        )

    def sign_in(self, email: str = ADMIN_EMAIL, password: str = ADMIN_PASSWORD) -> "AdminSession":
        answer = self.http.post_json(
            "/api/admin/session", {"email": email, "password": password}, origin=self.base
        )
        assert answer.status in (200, 201), answer.raw
        cookie = answer.headers["set-cookie"].split(";")[0]
        return AdminSession(self.http, cookie, self.base)


@dataclass(frozen=True)
class AdminSession:
    """An operator's browser: sends the cookie and, on changes, the Origin."""

    http: Http
    cookie: str
    origin: str

    def get(self, path: str) -> Answer:
        return self.http.request("GET", path, headers={"cookie": self.cookie})

    def send(self, method: str, path: str, body: Any) -> Answer:
        headers = {"cookie": self.cookie, "origin": self.origin, "content-type": "application/json"}
        return self.http.request(method, path, body=json.dumps(body).encode(), headers=headers)
