"""GET /api/health: whether the core serves, and so whether its database works."""

import falcon
import falcon.asgi
from grpc_health.v1 import health_pb2

from rest_edge.core_connection import CallFailed, CoreConnection
from rest_edge.middleware import REQUEST_KEY, EdgeRequest

HEALTH_PATH = "/api/health"
HEALTH_TIMEOUT_SECONDS = 1.5

_CHECK = "/grpc.health.v1.Health/Check"
_WELL = b'{"ok":true,"database":"ok"}'
_UNWELL = b'{"ok":false,"database":"unavailable"}'


class Health:
    """Asks the core over the gRPC health protocol; the core answers SERVING only with a working database."""

    def __init__(self, core: CoreConnection) -> None:
        self._core = core

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, or 503 with the same shape."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = HEALTH_PATH
        resp.content_type = "application/json"
        if await self._core_serves(request):
            resp.data = _WELL
            return
        resp.status = falcon.HTTP_503
        resp.set_header("retry-after", "1")
        resp.data = _UNWELL

    async def _core_serves(self, request: EdgeRequest) -> bool:
        try:
            answer, _ = await self._core.call(
                _CHECK,
                health_pb2.HealthCheckRequest(),
                health_pb2.HealthCheckResponse,
                request,
                timeout_seconds=HEALTH_TIMEOUT_SECONDS,
            )
        except CallFailed:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
