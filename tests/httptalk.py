"""A client of an HTTP server that reads what the server sends, byte by byte.

One of the plugins that conftest.py names, for the fixture ``talk``.
"""

from __future__ import annotations

import socket
from typing import Callable

import pytest
from conftest import Recorder, dial, pump

from mongoose_py import MG_EV_HTTP_MSG, Connection, HttpMessage, Manager

MakeManager = Callable[..., Manager]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def on_request(answer: Callable[[Connection, HttpMessage], object]) -> Recorder:
    """Return a handler that calls *answer* with each request."""
    return Recorder(lambda conn, ev, data: ev == MG_EV_HTTP_MSG and answer(conn, data))


class Talk:
    """One manager with a listener, and plain sockets that talk to it."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.seen = Recorder()
        self.listener = manager.listen("http://127.0.0.1:0", self.seen)

    def __call__(
        self,
        answer: Callable[[Connection, HttpMessage], object],
        request: bytes = GET,
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and all bytes of the body until the server closes."""
        self.seen.answer = lambda conn, ev, data: (
            ev == MG_EV_HTTP_MSG
            and (
                answer(conn, data),
                conn.drain(),
            )
        )
        with dial(self.listener) as client:
            client.sendall(request)
            wire = self.until_closed(client)
        head, _, body = wire.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body

    def until_closed(self, client: socket.socket) -> bytes:
        """Poll and read until the server has ended the stream."""
        client.setblocking(False)
        wire = bytearray()

        def ended() -> bool:
            try:
                piece = client.recv(65536)
            except BlockingIOError:
                return False
            wire.extend(piece)
            return not piece

        pump(self.manager, ended, ms=2)
        return bytes(wire)


@pytest.fixture
def talk(make_manager: MakeManager) -> Talk:
    return Talk(make_manager())
