"""A merchant's callback address that costs next to nothing: answers 200 to whatever comes.

`python -m bench.receiver PORT [FILE]`: each callback's delivery id and order id become a line of the file.
"""

import asyncio
import sys
from io import FileIO
from typing import cast

import uvloop

_notes: list[FileIO] = []
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Receiver(asyncio.Protocol):
    """One connection; a callback ends with its body, which is JSON."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        if len(body) >= (length := int(_header(head, b"content-length"))):
            self._received = body[length:]
            for file in _notes:
                names = (b"x-novapay-delivery-id", b"x-novapay-order-id")
                file.write(b" ".join(_header(head, name) for name in names) + b"\n")
            self._transport.write(_ANSWER)


def _header(head: bytes, name: bytes) -> bytes:
    """The ids are in lower case anyway."""
    return head.lower().partition(b"\r\n" + name + b":")[2].split(b"\r\n")[0].strip()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Receiver, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    _notes += [FileIO(name, "a") for name in sys.argv[2:]]
    uvloop.run(_serve(int(sys.argv[1])))
