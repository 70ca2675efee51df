"""WebSocket frames (RFC 6455, section 5.2) in the plainest way, and a raw peer that uses them."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

import rawpeer
from conftest import dial

from mongoose_py import Connection, Manager

TEXT, BINARY, CONTINUE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3


class Frame(NamedTuple):
    """One frame, its payload unmasked."""

    op: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = None


def masked(data: bytes, key: bytes) -> bytes:
    """XOR *data* with the four bytes of *key*, over and over."""
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


def encode(frame: Frame) -> bytes:
    """Return *frame* as it goes on the wire."""
    size = len(frame.payload)
    bit = 0 if frame.mask is None else 0x80
    wire = bytes([frame.fin << 7 | frame.rsv << 4 | frame.op])
    if size <= 125:
        wire += bytes([bit | size])
    elif size <= 0xFFFF:
        wire += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        wire += bytes([bit | 127]) + size.to_bytes(8, "big")
    if frame.mask is None:
        return wire + frame.payload
    return wire + frame.mask + masked(frame.payload, frame.mask)


def decode(wire: bytes) -> tuple[Frame, bytes] | None:
    """Return the first frame and what is behind it, ``None`` when it is not whole."""
    if len(wire) < 2:
        return None
    size, at = wire[1] & 0x7F, 2
    if size > 125:
        width = 2 if size == 126 else 8
        size, at = int.from_bytes(wire[2 : 2 + width], "big"), 2 + width
    key = None
    if wire[1] & 0x80:
        key, at = wire[at : at + 4], at + 4
    if len(wire) < at + size:
        return None
    payload = wire[at : at + size]
    frame = Frame(
        wire[0] & 15,
        payload if key is None else masked(payload, key),
        bool(wire[0] & 0x80),
        wire[0] >> 4 & 7,
        key,
    )
    return frame, wire[at + size :]


def text(data: str, fin: bool = True) -> bytes:
    """Return a text frame as a client sends it."""
    return encode(Frame(TEXT, data.encode(), fin, mask=b"\x01\x02\x03\x04"))


def binary(data: bytes, op: int = BINARY, fin: bool = True) -> bytes:
    """Return any other frame as a client sends it."""
    return encode(Frame(op, data, fin, mask=b"\xaa\xbb\xcc\xdd"))


def closing(code: int, reason: str = "") -> bytes:
    """Return a close frame as a client sends it."""
    return binary(code.to_bytes(2, "big") + reason.encode(), CLOSE)


def handshake(*lines: str, path: str = "/") -> bytes:
    """Return an opening request; *lines* replace those of the same name, or are added."""
    fields = {
        "host": "Host: a",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    for line in lines:
        fields[line.partition(":")[0].lower()] = line
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields.values(), "", ""]).encode()


def accept(key: str) -> str:
    """Return what answers *key*, RFC 6455 section 4.2.2."""
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


class Peer(rawpeer.Peer):
    """The other end of a WebSocket."""

    @classmethod
    def of(cls, manager: Manager, listener: Connection, *lines: str) -> Peer:
        """Connect to *listener* and become a WebSocket."""
        other = cls(manager, dial(listener))
        other.send(handshake(*lines))
        other.head()
        return other

    def send(self, *wires: bytes) -> None:
        """Send, polling when the socket is full."""
        self.send_bytes(b"".join(wires))

    def head(self) -> str:
        """Return the next HTTP head."""

        def decode_head(wire: bytes) -> tuple[str, bytes] | None:
            head, end, rest = wire.partition(b"\r\n\r\n")
            return (head.decode(), rest) if end else None

        return self.next(decode_head)

    def frame(self) -> Frame:
        """Return the next frame."""
        return self.next(decode)

    def until_the_end(self) -> list[Frame]:
        """Return all frames up to the end of the connection."""
        wire = self.rest()
        frames = []
        while wire:
            one = decode(wire)
            assert one is not None
            frame, wire = one
            frames.append(frame)
        return frames
