"""WebSocket messages, the texts of a handshake (:rfc:`6455`), and compression (:rfc:`7692`).

The C core frames, masks, checks and closes. Here is what it leaves to Python: the
message as a handler sees it; keys and their hashes, which the standard library makes;
and permessage-deflate, through :mod:`zlib`.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Any

from mongoose_py._mongoose_cffi import lib
from mongoose_py.http import header_bytes, header_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.http import Headers, HttpMessage

WEBSOCKET_OP_CONTINUE: int = lib.WEBSOCKET_OP_CONTINUE
"""A further fragment of a message."""
WEBSOCKET_OP_TEXT: int = lib.WEBSOCKET_OP_TEXT
"""Text, in UTF-8."""
WEBSOCKET_OP_BINARY: int = lib.WEBSOCKET_OP_BINARY
"""Bytes."""
WEBSOCKET_OP_CLOSE: int = lib.WEBSOCKET_OP_CLOSE
"""A close frame."""
WEBSOCKET_OP_PING: int = lib.WEBSOCKET_OP_PING
"""A ping. It is answered by itself."""
WEBSOCKET_OP_PONG: int = lib.WEBSOCKET_OP_PONG
"""A pong."""

COMPRESSED = 0x40  # RSV1 of a message's first frame
_OPCODE = 0x0F
_NO_STATUS = 1005  # RFC 6455, 7.1.5: the close frame had no code
_PROTOCOL_ERROR, _BAD_DATA, _TOO_BIG = 1002, 1007, 1009
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ORIGIN = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9!$%&'()*+,;=._~-]+)"  # RFC 3986, 3.2.2
    r"(?::(0|[1-9][0-9]{0,4}))?"
)
SAME = "same"  # among origins: that of the page's own server
_USUAL_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_OURS = (
    "connection",
    "content-length",
    "host",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
)


class WsMessage:
    """A message, or a ping, pong or close frame, as given to a handler.

    It is valid until the handler returns; after that :attr:`data` is ``b""`` and
    :attr:`flags` is 0. The bytes themselves may be kept.

    Attributes:
        data: Payload, of all fragments together and not compressed.
        raw_flags: First byte of the first frame: FIN 0x80, RSV1 0x40 when it came
            compressed, the opcode below.
    """

    __slots__ = ("data", "raw_flags")
    data: bytes
    raw_flags: int

    if not TYPE_CHECKING:  # hides from type checkers which attributes there are

        def __getattr__(self, name):
            """Take an instance that nobody has filled for a stale one."""
            if name == "data":
                return b""
            if name == "raw_flags":
                return 0
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _switch_off(self) -> None:
        self.data = b""
        self.raw_flags = 0

    def __bool__(self) -> bool:
        return self.raw_flags != 0

    def __repr__(self) -> str:
        if not self:
            return "<WsMessage stale>"
        return f"<WsMessage flags={self.flags} data={self.data[:40]!r}>"

    @property
    def text(self) -> str:
        """Payload as text. Text messages are UTF-8, that was checked.

        Undecodable bytes of others become lone surrogates.
        """
        if self.raw_flags & _OPCODE == WEBSOCKET_OP_TEXT:
            return self.data.decode()
        return self.data.decode("utf-8", "surrogateescape")

    @property
    def flags(self) -> int:
        """Opcode of the first frame, ``WEBSOCKET_OP_TEXT`` and so on."""
        return self.raw_flags & _OPCODE

    @property
    def close_code(self) -> int | None:
        """Status code of a close frame, 1005 when it has none; ``None`` of other frames."""
        if self.flags != WEBSOCKET_OP_CLOSE:
            return None
        return int.from_bytes(self.data[:2], "big") if self.data else _NO_STATUS

    @property
    def close_reason(self) -> str | None:
        """Reason of a close frame, for people to read; ``None`` of other frames."""
        if self.flags != WEBSOCKET_OP_CLOSE:
            return None
        return self.data[2:].decode("utf-8", "surrogateescape")


def close_payload(code: int, reason: str) -> bytes:
    """Return the payload of a close frame, :rfc:`6455` section 5.5.1.

    Raises:
        ValueError: If *code* may not be sent (section 7.4), or *reason* is longer than
            123 bytes as UTF-8.
    """
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(f"code must be 1000..1003, 1007..1014 or 3000..4999, not {code}")
    payload = code.to_bytes(2, "big") + reason.encode()
    if len(payload) > 125:
        raise ValueError(f"reason must be at most 123 bytes, not {len(payload) - 2}")
    return payload


# -- handshakes -------------------------------------------------------------


def accept_for(key: str) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that answers *key*, :rfc:`6455` section 4.2.2."""
    from binascii import b2a_base64
    from hashlib import sha1

    digest = sha1(key.encode("utf-8", "surrogateescape") + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False)


def new_key() -> str:
    """Return a random ``Sec-WebSocket-Key``."""
    from binascii import b2a_base64
    from os import urandom

    return b2a_base64(urandom(16), newline=False).decode()


def _checked(headers: Headers | None) -> list[tuple[str, str]]:
    pairs = header_pairs(headers or ())
    for name, _ in pairs:
        if name.lower() in _OURS:
            raise ValueError(f"header {name!r} belongs to the handshake itself")
    return pairs


def checked_subprotocols(names: Iterable[str]) -> list[str]:
    """Return the subprotocols to offer.

    Raises:
        ValueError: If one is not a token, or given twice.
        TypeError: If *names* is a single text.
    """
    if isinstance(names, str):
        raise TypeError("subprotocols must be several names, not one str")
    found = [name for name, _ in header_pairs((name, "") for name in names)]  # tokens too
    if len(set(found)) < len(found):
        raise ValueError(f"subprotocols must not repeat: {found}")
    return found


def checked_origins(origins: Iterable[str | None]) -> set[str | None]:
    """Return the origins that may connect, each in one form.

    Raises:
        ValueError: If one is not ``scheme://host`` or ``scheme://host:port``.
        TypeError: If *origins* is a single text, or one of them no text.
    """
    if isinstance(origins, str):
        raise TypeError("origins must be several, not one str")
    found: set[str | None] = set()
    for origin in origins:
        if origin is not None and not isinstance(origin, str):
            raise TypeError(f"origins must be str, not {type(origin).__name__}")
        known = origin is None or origin == SAME
        same = origin if known else _same_origin(origin or "")
        if same == "":
            raise ValueError(f"origins must be scheme://host or scheme://host:port, not {origin!r}")
        found.add(same)
    return found


def is_allowed(message: HttpMessage, origins: set[str | None]) -> bool:
    """Tell whether a request is of one of these origins, :rfc:`6454` section 7.

    One that names several, ``null``, or what is no origin, is of none.
    """
    values = [value for name, value in message.headers() if name.lower() == "origin"]
    if not values:
        return None in origins
    origin = _same_origin(values[0]) if len(values) == 1 else ""
    if not origin or SAME not in origins:
        return origin in origins
    # A proxy may have taken the TLS off: the scheme is what the browser says it is.
    ours = _same_origin(f"{origin.partition(':')[0]}://{message.header('Host', '')}")
    return origin in origins or origin == ours


def _same_origin(text: str) -> str:
    """Return what is equal for equal origins, :rfc:`6454` sections 4 and 5; ``""``: it is none."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return ""
    scheme, host, port = (part.lower() for part in found.groups(""))
    if int(port or 0) > 65535:
        return ""
    return f"{scheme}://{host}:{port or _USUAL_PORTS.get(scheme, '')}"


def upgrade_headers(
    message: HttpMessage,
    extra: Headers | None,
    subprotocol: str | Iterable[str] | None,
    deflate: Deflate | None,
) -> bytes:
    """Return the lines that ``ws_upgrade()`` adds to a 101.

    Raises:
        ValueError: If a header is malformed, or one that the library sets.
        TypeError: If a name or value is of the wrong type.
    """
    pairs = _checked(extra)
    ours = [subprotocol] if isinstance(subprotocol, str) else list(subprotocol or ())
    offered = message.ws_subprotocols()
    chosen = next((name for name in ours if name in offered), None)
    if chosen is not None:
        if any(name.lower() == "sec-websocket-protocol" for name, _ in pairs):
            raise ValueError("give subprotocol or the header Sec-WebSocket-Protocol, not both")
        pairs.append(("Sec-WebSocket-Protocol", chosen))
    if deflate is not None:
        pairs.append(("Sec-WebSocket-Extensions", deflate.answer))
    return header_bytes(pairs)


def request_pairs(
    url_user: str,
    url_pass: str,
    headers: Headers | None,
    key: str,
    subprotocols: list[str],
    compression: bool,
) -> list[tuple[str, str]]:
    """Return the headers of a client's handshake but for ``Host``, :rfc:`6455` section 4.1.

    Raises:
        ValueError: As in :func:`upgrade_headers`.
        TypeError: So too.
    """
    extra = _checked(headers)
    pairs = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if subprotocols:
        pairs.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if compression:
        pairs.append(("Sec-WebSocket-Extensions", OFFER))
    if (url_user or url_pass) and all(name.lower() != "authorization" for name, _ in extra):
        from binascii import b2a_base64

        credentials = b2a_base64(f"{url_user}:{url_pass}".encode(), newline=False)
        pairs.append(("Authorization", f"Basic {credentials.decode()}"))
    return pairs + extra


# -- permessage-deflate -----------------------------------------------------

OFFER = "permessage-deflate; client_max_window_bits"
_NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"  # ends a flushed piece; not sent, RFC 7692 section 7.2.1
_WINDOW, _MEMORY = 12, 5  # 32 KiB for each compressor; zlib's own 15 and 8 take 256
_TOO_SMALL = 64  # bytes that are not worth the work
_MAX_STREAMS = 16  # that end within one message


class Unacceptable(Exception):
    """What a peer sent inside a well-formed frame cannot be taken; *code* tells it why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Deflate:
    """Compression as one connection has agreed on it.

    Attributes:
        answer: The server's ``Sec-WebSocket-Extensions``.
    """

    def __init__(self, bits: int, keeps: bool, peer_keeps: bool, answer: str = "") -> None:
        self.answer = answer
        self.lock = Lock()  # what is compressed first must leave first
        self._bits = bits  # of our window; 8 is one that zlib cannot make
        self._keeps = keeps  # our window from message to message
        self._peer_keeps = peer_keeps
        self._compressor: Any = None
        self._inflater: Any = None

    @classmethod
    def offered(cls, message: HttpMessage) -> Deflate | None:
        """Return what a server agrees to of a request's offers, ``None``: nothing."""
        for params in _extensions(message):
            try:
                if params.pop("", "") != _NAME:
                    continue
                bits = _bits(params.pop("server_max_window_bits", "15"))
                params.pop("client_max_window_bits", None)  # any window of theirs fits ours
                keeps = params.pop("server_no_context_takeover", None) is None
                peer_keeps = params.pop("client_no_context_takeover", None) is None
            except ValueError:
                continue
            if params:
                continue
            answer = _NAME
            answer += "" if bits == 15 else f"; server_max_window_bits={bits}"
            answer += "" if keeps else "; server_no_context_takeover"
            answer += "" if peer_keeps else "; client_no_context_takeover"
            return cls(bits, keeps, peer_keeps, answer)
        return None

    @classmethod
    def chosen(cls, message: HttpMessage) -> Deflate | None:
        """Return what a client has to do for the answer to its offer.

        Raises:
            Unacceptable: If the answer is not one to :data:`OFFER`.
        """
        found = _extensions(message)
        if not found:
            return None
        params = found[0]
        try:
            if len(found) != 1 or params.pop("", "") != _NAME:
                raise ValueError
            _bits(params.pop("server_max_window_bits", "15"))
            bits = _bits(params.pop("client_max_window_bits", "15"))
            keeps = params.pop("client_no_context_takeover", None) is None
            peer_keeps = params.pop("server_no_context_takeover", None) is None
            if params:
                raise ValueError
        except ValueError:
            raise Unacceptable(_PROTOCOL_ERROR, "an extension nobody offered") from None
        return cls(bits, keeps, peer_keeps)

    def deflate(self, data: bytes) -> bytes | None:
        """Return *data* compressed, ``None`` when it had better go as it is."""
        if len(data) < _TOO_SMALL or self._bits < 9:
            return None
        from zlib import DEFLATED, Z_DEFAULT_COMPRESSION, Z_SYNC_FLUSH, compressobj

        compressor = self._compressor or compressobj(
            Z_DEFAULT_COMPRESSION, DEFLATED, -min(self._bits, _WINDOW), _MEMORY
        )
        self._compressor = compressor if self._keeps else None
        packed: bytes = compressor.compress(data) + compressor.flush(Z_SYNC_FLUSH)
        return packed[: -len(_TAIL)]

    def forget(self) -> None:
        """Start with an empty window: the peer did not get the last message."""
        self._compressor = None

    def inflate(self, data: bytes, first: int, limit: int) -> bytes:
        """Return a message as it was before it was compressed.

        Args:
            data: Payload as it came.
            first: First byte of its first frame.
            limit: Bytes it may have; 0: any number.

        Raises:
            Unacceptable: If it is larger, or no compressed data, or text not in UTF-8.
        """
        from zlib import decompressobj, error

        pieces = []
        left = limit + 1 if limit else 0
        rest = data + _TAIL
        try:
            for _ in range(_MAX_STREAMS):
                if self._inflater is None:
                    self._inflater = decompressobj(-15)
                piece = self._inflater.decompress(rest, left)
                pieces.append(piece)
                left -= len(piece) if limit else 0
                if limit and left <= 0:
                    raise Unacceptable(_TOO_BIG, "a message above the ws_message limit")
                if not self._inflater.eof:
                    break
                rest = self._inflater.unused_data  # its last block was marked as the last
                self._inflater = None
                if not rest:
                    break
            else:
                raise Unacceptable(_BAD_DATA, "a compressed message of too many streams")
        except error:
            raise Unacceptable(_BAD_DATA, "a message that is not compressed data") from None
        if not self._peer_keeps:
            self._inflater = None
        message = b"".join(pieces)
        if first & _OPCODE == WEBSOCKET_OP_TEXT and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                raise Unacceptable(_BAD_DATA, "text that is not UTF-8") from None
        return message


def _bits(value: str) -> int:
    if value not in ("8", "9", "10", "11", "12", "13", "14", "15"):
        raise ValueError(f"window bits must be 8..15, not {value!r}")
    return int(value)


def _extensions(message: HttpMessage) -> list[dict[str, str]]:
    """Return each extension as its parameters, its name under ``""``; malformed ones as ``{}``."""
    values = [
        value for name, value in message.headers() if name.lower() == "sec-websocket-extensions"
    ]
    return [_parameters(item) for item in ",".join(values).split(",") if item.strip()]


def _parameters(item: str) -> dict[str, str]:
    name, *rest = [part.strip() for part in item.split(";")]
    found = {"": name}
    for part in rest:
        key, _, value = part.partition("=")
        if key in found or not key:
            return {}
        found[key] = value.strip('"')
    return found
