"""What providers send: passed to the core byte for byte, and its answer passed back byte for byte.

Nothing is parsed here: the signature covers exactly these bytes, and only the core can tell what they mean.
"""

import falcon
import falcon.asgi

from core_service.errors import CoreError
from core_service.schema import method_named
from novapay.payments.v1 import payment_service_pb2
from rest_edge.core_connection import CoreConnection
from rest_edge.errors import (
    DEFAULT_RETRY_AFTER_SECONDS,
    error_body,
    in_wechat_words,
    retry_after_seconds,
)
from rest_edge.middleware import REQUEST_KEY, EdgeRequest

ALIPAY_PATH = "/api/payments/callback/alipay/{account_id}/{token}"
WXPAY_PATH = "/api/payments/callback/wxpay/{account_id}/{token}"


class ProviderCallback:
    """One provider's callback address."""

    def __init__(self, core: CoreConnection, provider: str, template: str) -> None:
        self._core = core
        self._provider = provider
        self._template = template

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, account_id: str, token: str
    ) -> None:
        """A notification."""
        await self._forward(req, resp, account_id, token)

    async def _forward(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, account_id: str, token: str
    ) -> None:
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = self._template
        message = payment_service_pb2.HandleProviderNotificationRequest(
            provider=self._provider,
            account_id=account_id,
            token=token,
            method=req.method,
            query=req.scope["query_string"],
            body=request.body,
        )
        for name, value in request.headers:
            message.headers.add(name=name.decode("latin-1"), value=value)
        try:
            answer = await self._core.ask(
                method_named("PaymentService.HandleProviderNotification"), message, request
            )
        except CoreError as error:
            self._refuse(resp, error, request)
            return
        resp.status = falcon.code_to_http_status(answer.status)
        if answer.status == 503:
            resp.set_header("retry-after", str(DEFAULT_RETRY_AFTER_SECONDS))
        if answer.content_type:
            resp.content_type = answer.content_type
        if answer.body:
            resp.data = answer.body

    def _refuse(self, resp: falcon.asgi.Response, error: CoreError, request: EdgeRequest) -> None:
        status, body = error_body(error, request.request_id)
        resp.status = falcon.code_to_http_status(status)
        resp.content_type = "application/json"
        resp.data = self._in_provider_words(body)
        wait = retry_after_seconds(error)
        if wait is not None:
            resp.set_header("retry-after", str(wait))

    def _in_provider_words(self, body: bytes) -> bytes:
        return body


class AlipayCallback(ProviderCallback):
    """Alipay also sends, for debugging, the same notification as a query string."""

    def __init__(self, core: CoreConnection) -> None:
        super().__init__(core, "alipay", ALIPAY_PATH)

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, account_id: str, token: str
    ) -> None:
        """A notification in the query string."""
        await self._forward(req, resp, account_id, token)


class WxpayCallback(ProviderCallback):
    """Its refusals have WeChat's words too."""

    def __init__(self, core: CoreConnection) -> None:
        super().__init__(core, "wxpay", WXPAY_PATH)

    def _in_provider_words(self, body: bytes) -> bytes:
        return in_wechat_words(body)
