"""The other end of a connection: a plain socket beside a manager that the test polls."""

from __future__ import annotations

import socket
from typing import Callable, TypeVar

from conftest import pump

from mongoose_py import Manager

Self = TypeVar("Self", bound="Peer")
Found = TypeVar("Found")


class Peer:
    """Sends and receives bytes; what they mean is for those who inherit from it."""

    def __init__(self, manager: Manager, sock: socket.socket) -> None:
        self.manager = manager
        self.sock = sock
        self.wire = b""  # received and not looked at
        self.ended = False
        sock.setblocking(False)

    def send_bytes(self, data: bytes) -> None:
        """Send, polling when the socket is full."""
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.manager.poll(5)
            except OSError:  # they have hung up
                return

    def receive(self) -> None:
        """Take what has come, without waiting."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.wire += data
        self.ended = self.ended or not data

    def next(self, decode: Callable[[bytes], tuple[Found, bytes] | None]) -> Found:
        """Wait for what *decode* finds at the front of what has come, and take it off."""
        found: list[tuple[Found, bytes]] = []

        def complete() -> bool:
            self.receive()
            one = decode(self.wire)
            found.extend([one] if one else [])
            return bool(found) or self.ended

        pump(self.manager, complete, 2)
        assert found, f"the connection ended after {self.wire!r}"
        taken, self.wire = found[0]
        return taken

    def rest(self) -> bytes:
        """Return all that comes up to the end of the connection."""

        def over() -> bool:
            self.receive()
            return self.ended

        pump(self.manager, over, 2)
        wire, self.wire = self.wire, b""
        return wire

    def close(self) -> None:
        """Hang up."""
        self.sock.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
