"""The merchant and configuration services behind the real interceptors, and a client with the token."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import grpc
import pytest

from core_service.application.channel_accounts import ChannelAccounts
from core_service.application.credentials import Credentials
from core_service.application.merchants import Merchants
from core_service.client import core_error_from, service_channel
from core_service.errors import CoreError
from core_service.rpc.callers import Callers
from core_service.rpc.config_servicer import ConfigServicer
from core_service.rpc.interceptors import Interceptors
from core_service.rpc.merchant_servicer import MerchantServicer
from core_service.rpc.server import THREADS, CoreServer
from core_service.storage.secret_box import SecretBox
from novapay.config.v1.config_service_pb2_grpc import ConfigServiceStub
from novapay.merchants.v1.merchant_service_pb2_grpc import MerchantServiceStub
from tests.core_service.admin_setup import database_pool
from tests.core_service.rpc.running import servicers

BASE_URL = "https://pay.example.com"
BOX = SecretBox({"k1": bytes(range(32))})  # a test key
TOKEN = "test-token-of-at-least-32-characters"  # a test token


@dataclass(frozen=True)
class AdminServer:
    """Stubs of both services."""

    merchants: Any
    config: Any


@contextmanager
def running_admin_server(database_url: str) -> Iterator[AdminServer]:
    """A real server on a free port and a real channel to it."""
    server = CoreServer(
        {
            **servicers({}),
            "novapay.merchants.v1.MerchantService": MerchantServicer(
                Merchants(BOX, [ip_network("127.0.0.0/8")]),
                Credentials(BOX),
                ChannelAccounts(BOX, public_base_url=BASE_URL, allow_custom_base_url=False),
            ),
            "novapay.config.v1.ConfigService": ConfigServicer(),
        },
        Interceptors(Callers(TOKEN), threads=THREADS),
        bind="127.0.0.1:0",
        tls=None,
        is_port_shared=False,
        with_reflection=False,
        is_healthy=lambda: True,
    )
    with database_pool(database_url):
        server.start()
        try:
            with service_channel(f"127.0.0.1:{server.port}", TOKEN) as channel:
                yield AdminServer(MerchantServiceStub(channel), ConfigServiceStub(channel))
        finally:
            server.stop(1)


def refusal_of(call: Callable[..., Any], request: Any) -> CoreError:
    """The error that a call is answered with."""
    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=10)
    return core_error_from(failure.value)


def named_fields(error: CoreError) -> list[str]:
    """The fields that an INVALID_REQUEST names."""
    assert error.reason == "INVALID_REQUEST"
    return [violation.field for violation in error.violations]
