"""The process: start, refusal in production, what survives a restart, stop."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import falcon.testing
import pytest
import requests
import urllib3

from sandbox.app import create_app
from sandbox.server import SandboxServer
from sandbox.state import SandboxState
from tests.sandbox.helpers import account_config, until, wechat_client

ROOT = Path(__file__).parent.parent.parent


def test_production_is_refused(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "sandbox"],
        env={**os.environ, "NOVAPAY_ENV": "production", "NOVAPAY_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "production" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_books_and_keys_survive_a_restart_and_held_answers_do_not_block_the_stop(
    tmp_path: Path,
) -> None:
    server = SandboxServer(tmp_path)
    server.start()
    config = account_config(server, "wxpay", "public_key")
    client = wechat_client(config, server.url, "http://127.0.0.1:1/notify", tmp_path)
    client.pay("商品", "WXR00001", {"total": 100})
    server.control("scenarios", scenario="timeout_after_success", match={"operation": "query"})

    def held() -> None:
        with pytest.raises(requests.exceptions.RequestException):
            client.query(out_trade_no="WXR00001")

    caller = threading.Thread(target=held)
    caller.start()
    until(lambda: [c for c in server.get("/control/books")["calls"] if c["scenario"]])
    assert server.stop() == 0
    caller.join()

    with SandboxServer(tmp_path) as again:
        assert account_config(again, "wxpay", "public_key")["privateKey"] == config["privateKey"]
        (trade,) = again.get("/control/books")["trades"]
        assert (trade["outTradeNo"], trade["status"]) == ("WXR00001", "WAITING")
    key_file = tmp_path / "sandbox" / "TEST-KEYS-ONLY.json"
    assert key_file.stat().st_mode & 0o077 == 0
    assert json.loads(key_file.read_text())["warning"].startswith("TEST KEYS")


def test_the_application_can_be_embedded(tmp_path: Path) -> None:
    state = SandboxState(tmp_path)
    try:
        client = falcon.testing.TestClient(create_app(state))
        assert client.simulate_get("/health").json == {"ok": True}
        page = client.simulate_get("/").text
        assert "notify_lost" in page
        assert "沙箱" in page
    finally:
        state.stop()


def test_index_lists_every_amount(sandbox: SandboxServer) -> None:
    page = urllib3.request("GET", sandbox.url).data.decode()
    listing = sandbox.get("/control/scenarios")
    assert all(f"x.{row['fenPart']}" in page for row in listing["amounts"])
    assert all(row["name"] in page for row in listing["scenarios"])
