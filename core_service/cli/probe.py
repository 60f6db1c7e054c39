"""`python -m core_service.cli.probe`: exit 0 as soon as the core's health service says SERVING."""

import os

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from core_service.cli.channel import channel_to_core
from core_service.settings import Settings

WAIT_SECONDS = 10.0


def main() -> int:
    """Ask once, waiting for the core to listen; 1 when it does not serve."""
    with channel_to_core(Settings.load(os.environ)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS, wait_for_ready=True
            )
        except grpc.RpcError:
            return 1
    is_serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return 0 if is_serving else 1


if __name__ == "__main__":
    raise SystemExit(main())
