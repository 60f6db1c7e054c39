"""A TCP proxy before a server, that delays what it forwards and resets connections now and then."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_PIECE = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class SlowNetwork:
    """Forwards connections from a port on loopback; `delay` and `breaks` are asked for each answer.

    `black_hole`: takes what is sent and never answers, without closing anything.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self.delay: Callable[[], float] = lambda: 0.0
        self.breaks: Callable[[], bool] = lambda: False
        self.black_hole = threading.Event()
        self.resets = self.forwarded = self.ended_by_server = 0
        """Connections that were reset, pieces that came from clients, connections that the server ended."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            self._open += [client, server]
            for source, target, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._forward, args=(source, target, is_answer), daemon=True
                ).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:  # noqa: FBT001
        try:
            while piece := source.recv(_PIECE):
                if self.black_hole.is_set():
                    continue
                if is_answer:
                    time.sleep(self.delay())
                    if self.breaks():
                        self._reset(source, target)
                        return
                else:
                    self.forwarded += 1
                target.sendall(piece)
        except OSError:
            pass
        self.ended_by_server += is_answer
        if self.black_hole.is_set():
            return
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _reset(self, *ends: socket.socket) -> None:
        self.resets += 1
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RDWR)
                end.close()


def chance_of(share: float, seed: int) -> Callable[[], bool]:
    """True that often, the same each time."""
    chance = random.Random(seed)
    return lambda: chance.random() < share
