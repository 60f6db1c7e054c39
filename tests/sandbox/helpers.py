"""The independent client libraries on sandbox accounts, and an endpoint that receives pushes."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alipay
import wechatpayv3

from sandbox.server import SandboxServer

WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP endpoint: answers from `answers` in turn, then `default`; remembers requests."""

    url: str = ""
    default: tuple[int, bytes] = (200, b"success")
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, received: Received) -> tuple[int, bytes]:
        with self._changed:
            self.requests.append(received)
            self._changed.notify_all()
            return self.answers.pop(0) if self.answers else self.default

    def wait_for(self, count: int) -> list[Received]:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_SECONDS)
            assert arrived, f"only {len(self.requests)} of {count} requests came"
            return list(self.requests)


def account_config(sandbox: SandboxServer, provider: str, mode: str) -> dict[str, Any]:
    listing = sandbox.get("/control/accounts")["accounts"]
    found = next(a for a in listing if (a["provider"], a["mode"]) == (provider, mode))
    config: dict[str, Any] = found["config"]
    return config


def alipay_client(config: dict[str, Any]) -> alipay.AliPay:
    """python-alipay-sdk on an account of the sandbox."""
    if "appCert" in config:
        client = alipay.DCAliPay(
            appid=config["appId"],
            app_notify_url=None,
            app_private_key_string=config["privateKey"],
            app_public_key_cert_string=config["appCert"],
            alipay_public_key_cert_string=config["alipayCert"],
            # The library loses certificates that are not divided by an empty line.
            alipay_root_cert_string=config["alipayRootCert"].replace("-----\n---", "-----\n\n---"),
        )
    else:
        client = alipay.AliPay(
            appid=config["appId"],
            app_notify_url=None,
            app_private_key_string=config["privateKey"],
            alipay_public_key_string=config["alipayPublicKey"],
        )
    client._gateway = config["gatewayUrl"]
    return client


def wechat_client(
    config: dict[str, Any], sandbox_url: str, notify_url: str, folder: Path
) -> wechatpayv3.WeChatPay:
    """wechatpayv3 on an account of the sandbox; its certificates come from a folder at first."""
    for number, pem in enumerate(config.get("platformCertificates", [])):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.pem").write_text(pem)
    client = wechatpayv3.WeChatPay(
        wechatpay_type=wechatpayv3.WeChatPayType.NATIVE,
        mchid=config["mchId"],
        private_key=config["privateKey"],
        cert_serial_no=config["mchSerialNo"],
        apiv3_key=config["apiV3Key"],
        appid=config["appId"],
        notify_url=notify_url,
        cert_dir=str(folder) if "platformCertificates" in config else None,
        public_key=config.get("platformPublicKey"),
        public_key_id=config.get("platformPublicKeyId"),
        timeout=(5, 30),
    )
    # The library signs the path without any prefix, so it talks to the API at the root.
    client._core._gate_way = sandbox_url
    return client


def until(condition: Callable[[], Any]) -> Any:
    """Waits until the condition gives something true; that value."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("the condition did not come true")
