"""Many connections that do nothing, held by this process."""

from __future__ import annotations

import socket
import struct
import time

from servers import common

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PER_ADDRESS = 4000
"""Connections from one 127.0.0.x; the ports of one address would do for some 28,000."""
IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>; Python has a name for it from 3.12 on


class Crowd:
    """Idle keep-alive connections to the `hello` application at a port.

    Each has made one request and read the answer, so that a server has had its
    buffers in use before the connection falls silent.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def grow(self, size: int) -> float:
        """Open connections until there are *size*.

        Returns:
            Seconds until the server had accepted the last one, told by its answer:
            connections are accepted in order.
        """
        new = range(len(self._sockets), size)
        start = time.perf_counter()
        for number in new:
            self._sockets.append(self._connect(number))
        self._sockets[-1].sendall(REQUEST)
        self._read_answer(self._sockets[-1])
        seconds = time.perf_counter() - start
        others = self._sockets[new.start : -1]
        for sock in others:  # all ask before one is read: no waiting for each other
            sock.sendall(REQUEST)
        for sock in others:
            self._read_answer(sock)
        return seconds

    def alive(self) -> int:
        """Return how many connections the server has not closed."""
        return sum(_is_open(sock) for sock in self._sockets)

    def close(self) -> None:
        """Give all up, by a reset: no port is kept in TIME_WAIT."""
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self._sockets.clear()

    def _connect(self, number: int) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(30)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        sock.connect(("127.0.0.1", self._port))
        return sock

    @staticmethod
    def _read_answer(sock: socket.socket) -> None:
        answer = b""
        while not answer.endswith(common.HELLO):
            data = sock.recv(65536)
            if not data:
                raise RuntimeError("the server closed a connection without an answer")
            answer += data


def _is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
