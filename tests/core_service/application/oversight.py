"""Asking the core as a console does: over gRPC, with the service token."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from core_service import metadata
from core_service.errors import CoreError
from core_service.rpc.payment_servicer import PaymentServicer
from core_service.rpc.refund_servicer import RefundServicer
from core_service.schema import methods
from tests.core_service.rpc.running import TOKEN, channel_to, invoke, running_server
from tests.core_service.shop import BASE

SERVICE = [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}".encode())]


@dataclass(frozen=True)
class Console:
    """Every RPC about payments and refunds, by name."""

    channel: grpc.Channel

    def ask(self, name: str, /, **fields: Any) -> Any:
        """The answer."""
        answer = self._invoke(name, fields)
        assert not isinstance(answer, CoreError), answer
        return answer

    def refusal(self, name: str, /, **fields: Any) -> str:
        """The reason of a refusal."""
        answer = self._invoke(name, fields)
        assert isinstance(answer, CoreError), answer
        return answer.reason

    def _invoke(self, name: str, fields: dict[str, Any]) -> Any:
        method = next(method for method in methods() if method.name == name)
        return invoke(self.channel, method.path, method.request_type(**fields), [*SERVICE])[0]


@contextmanager
def open_console() -> Iterator[Console]:
    """A console of a core that runs in this process."""
    payments, refunds = PaymentServicer(BASE), RefundServicer()
    handlers = {
        method.path: getattr(servicer, method.name)
        for service, servicer in (("PaymentService", payments), ("RefundService", refunds))
        for method in methods()
        if method.service_full_name.endswith(service)
    }
    with running_server(handlers) as server, channel_to(server) as channel:
        yield Console(channel)
