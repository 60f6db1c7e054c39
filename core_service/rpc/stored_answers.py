"""Answers that exist as bytes already: what is kept for a replay is sent as it is, never read and written again."""

from typing import Any

from google.protobuf.message import Message


def as_stored(response: bytes) -> Any:
    """For a handler to return: Any, because the server takes it in place of the handler's message."""
    return response


def bytes_of(answer: Message | bytes) -> bytes:
    """The server's serializer."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
