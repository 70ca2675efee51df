"""SNTP packets as RFC 5905 draws them, and a server that says what a test tells it to.

Written with ``struct`` and Python's whole numbers, apart from the package: the tests compare
the two.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from fractions import Fraction
from types import TracebackType

from conftest import udp_socket

TO_1970 = 2_208_988_800  # seconds from 1900
IN_2020 = 1_577_836_800  # seconds from 1970, as the others
IN_2024 = 1_704_067_200
ERA_1 = 2_085_978_496  # 2036-02-07 06:28:16: the 32 bits begin again
IN_2100 = 4_102_444_800

_LAYOUT = struct.Struct("!BBbbIIIQQQQ")


def stamp(unix: float | Fraction) -> int:
    """Return the 64 bits for a time in seconds since 1970."""
    return int((Fraction(unix) + TO_1970) * 2**32) % 2**64


def unix(at: int) -> Fraction:
    """Return seconds since 1970 of a timestamp that is not from before 2020."""
    seconds = Fraction(at, 2**32) - TO_1970
    return seconds if seconds >= IN_2020 else seconds + 2**32


@dataclasses.dataclass(frozen=True)
class Packet:
    """The fields of a packet; of an answer that is in order, if nothing else is said."""

    origin: int
    receive: int
    transmit: int
    leap: int = 0
    version: int = 4
    mode: int = 4
    stratum: int = 1
    reference: bytes = b"GPS\0"
    more: bytes = b""

    def wire(self) -> bytes:
        first = self.leap << 6 | self.version << 3 | self.mode
        reference = int.from_bytes(self.reference, "big")
        stamps = (0, self.origin, self.receive, self.transmit)
        return _LAYOUT.pack(first, self.stratum, 6, -20, 0, 0, reference, *stamps) + self.more


def verdict(wire: bytes, cookie: int) -> str:
    """Tell what a client that has waited for less than 3 seconds makes of a datagram.

    ``"time"``, ``"error"`` or ``"strange"``: RFC 4330 section 5 and RFC 5905 section 8. The
    time at the server is taken to be 0, or longer than the client has waited.
    """
    if len(wire) < 48:
        return "strange"
    first, stratum, *_, origin, receive, transmit = _LAYOUT.unpack(wire[:48])
    if first & 7 != 4 or first >> 3 & 7 not in (3, 4) or origin != cookie:
        return "strange"
    if first >> 6 == 3 or not 1 <= stratum <= 15 or 0 in (receive, transmit):
        return "error"
    if receive != transmit:  # before it, or longer after it than the client has waited
        return "error"
    return "time" if unix(transmit) < IN_2100 else "error"


class Server:
    """A UDP socket on the loopback that is asked for the time."""

    def __init__(self) -> None:
        self.sock = udp_socket()
        self.url = f"udp://127.0.0.1:{self.sock.getsockname()[1]}"
        self.client: tuple[str, int] = ("", 0)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.sock.close()

    def asked(self) -> int:
        """Return the cookie of the next request, having looked at the rest of it."""
        wire, self.client = self.sock.recvfrom(1000)
        assert len(wire) == 48
        assert wire[:40] == b"\x23" + bytes(39)  # version 4, client; and nothing else
        return int.from_bytes(wire[40:], "big")

    def idle(self) -> bool:
        """Tell whether no request waits."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1000, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(10)
        return False

    def say(self, what: Packet | bytes) -> None:
        """Send a datagram to whoever asked last."""
        wire = what if isinstance(what, bytes) else what.wire()
        self.sock.sendto(wire, self.client)

    def tell(self, cookie: int, seconds: float | Fraction = IN_2024) -> None:
        """Answer a request: the time is so many seconds since 1970."""
        self.say(Packet(cookie, stamp(seconds), stamp(seconds)))
