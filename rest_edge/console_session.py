"""Operators' sessions over HTTP for programs: sign in, show, sign out."""

import falcon.asgi

from core_service.errors import CoreError
from core_service.schema import method_named
from novapay.access.v1 import access_service_pb2
from rest_edge.authentication import session_metadata
from rest_edge.console_guard import ConsoleGuard
from rest_edge.core_connection import CoreConnection
from rest_edge.errors import invalid_field
from rest_edge.json_codec import Violations, decoder_for, encoder_for
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.strict_json import InvalidJson, load_object

SESSION_PATH = "/api/admin/session"


class ConsoleSession:
    """POST, GET and DELETE on `/api/admin/session`."""

    def __init__(self, core: CoreConnection, guard: ConsoleGuard) -> None:
        self._guard = guard
        self._core = core
        self._decode_sign_in = decoder_for(access_service_pb2.SignInRequest.DESCRIPTOR)
        self._encode_session = encoder_for(access_service_pb2.GetSessionResponse.DESCRIPTOR)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Sign in; the answer has no session token, only the cookie has."""
        request = _request(req)
        self._guard.check_sign_in(req, request)
        message = self._sign_in_request(request)
        answer = await self._core.ask(method_named("AccessService.SignIn"), message, request)
        resp.append_header("set-cookie", self._guard.cookie(answer.session_token))
        self._show(
            resp,
            access_service_pb2.GetSessionResponse(
                operator=answer.operator, csrf_token=answer.csrf_token, expires_at=answer.expires_at
            ),
        )

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Who is signed in."""
        request = _request(req)
        token = self._guard.session_token(req)
        answer = await self._core.ask(
            method_named("AccessService.GetSession"),
            access_service_pb2.GetSessionRequest(),
            request,
            session_metadata(token),
        )
        self._show(resp, answer)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Sign out on the server and drop the cookie."""
        request = _request(req)
        token = self._guard.session_token(req)
        self._guard.check_change(req, request, token)
        await self._core.ask(
            method_named("AccessService.SignOut"),
            access_service_pb2.SignOutRequest(),
            request,
            session_metadata(token),
        )
        resp.append_header("set-cookie", self._guard.cookie(""))
        resp.status = falcon.HTTP_204

    def _sign_in_request(self, request: EdgeRequest) -> access_service_pb2.SignInRequest:
        try:
            document = load_object(request.body)
        except InvalidJson:
            raise CoreError("INVALID_JSON") from None
        violations = Violations(
            [(path, "has a character that is not allowed") for path in document.forbidden.values()]
        )
        message = access_service_pb2.SignInRequest()
        self._decode_sign_in.fill(message, document.value, violations)
        if violations.items:
            raise invalid_field(*violations.items[0])
        return message

    def _show(
        self, resp: falcon.asgi.Response, session: access_service_pb2.GetSessionResponse
    ) -> None:
        resp.content_type = "application/json"
        resp.data = self._encode_session(session).encode()


def _request(req: falcon.asgi.Request) -> EdgeRequest:
    request: EdgeRequest = req.scope[REQUEST_KEY]
    request.route = SESSION_PATH
    return request
