"""What a connection can do that is a WebSocket, or is to become one (:rfc:`6455`).

The part of :class:`~mongoose_py.Connection` that concerns WebSocket; the C core does the
work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py import _dispatch, websocket
from mongoose_py._args import Data, as_bytes
from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import ConnectionClosed
from mongoose_py.http import HttpMessage
from mongoose_py.websocket import WEBSOCKET_OP_CLOSE, WEBSOCKET_OP_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.http import Headers

_EINVAL: int = lib.MGX_EINVAL
_ESTATE: int = lib.MGX_ESTATE
_kept = _dispatch.kept
_ws_send = lib.mgx_ws_send
_MORE: int = lib.MGX_WS_MORE
_UTF8: int = lib.MGX_WS_UTF8
_DEFLATED: int = lib.MGX_WS_DEFLATED


class WebsocketConnection(BaseConnection):
    """The WebSocket methods of :class:`~mongoose_py.Connection`."""

    __slots__ = ()

    @property
    def is_websocket(self) -> bool:
        """It has become a WebSocket."""
        return self._is(lib.MGX_IS_WEBSOCKET)

    def ws_upgrade(
        self,
        message: HttpMessage,
        extra_headers: Headers | None = None,
        *,
        subprotocol: str | Iterable[str] | None = None,
        compression: bool = False,
        origins: Iterable[str | None] | None = None,
    ) -> bool:
        """Answer the request *message* with 101 and make the connection a WebSocket.

        ``MG_EV_WS_OPEN`` comes inside this call. A request that is no proper handshake
        (:rfc:`6455`, section 4.2.1) is answered with 426 or 400 instead, one of another
        origin than *origins* with 403, and its connection closes.

        Args:
            message: The message of the running event.
            extra_headers: For the answer; as in :meth:`reply`.
            subprotocol: The one to speak, or several, the most wanted first: the first
                that the request offers is chosen, none when it offers none of them.
            compression: Whether to agree to permessage-deflate (:rfc:`7692`).
            origins: Those whose pages may connect (section 10.2), as their browsers name
                them in ``Origin``: ``"https://example.com"``, ``"http://127.0.0.1:8000"``.
                ``"same"`` among them: pages of the host that the request is for, its
                ``Host``. ``None`` among them: programs that send no ``Origin``. Default:
                everybody, and so every page that somebody who may connect has open.

        Returns:
            Whether it is a WebSocket now.

        Raises:
            ValueError: If *message* is not that of the running event, a header is
                malformed or one that the handshake sets, or one of *origins* is none.
                Nothing was sent.
            Error: If the request was answered already.
            ConnectionClosed: If the connection is closed.
        """
        stale = "HttpMessage is not valid for this event"
        if not isinstance(message, HttpMessage):
            raise TypeError(f"message must be an HttpMessage, not {type(message).__name__}")
        allowed = None if origins is None else websocket.checked_origins(origins)
        deflate = websocket.Deflate.offered(message) if compression else None
        head = websocket.upgrade_headers(message, extra_headers, subprotocol, deflate)
        if not message or message._raw.conn != self._id:
            raise ValueError(stale)
        forbidden = allowed is not None and not websocket.is_allowed(message, allowed)
        number = self._open_id()
        accept = websocket.accept_for(message.header("Sec-WebSocket-Key", ""))
        self._deflate = deflate
        code = lib.mgx_ws_upgrade(
            self._mgr, number, accept, head, len(head), deflate is not None, forbidden
        )
        if code == _ESTATE:
            raise ValueError(stale)
        self._check(code, "ws_upgrade")
        return bool(code)

    def ws_send(self, data: Data, op: int = WEBSOCKET_OP_TEXT, *, fin: bool = True) -> None:
        """Send a message on a WebSocket, as one frame.

        Args:
            data: Payload; ``str`` goes as UTF-8 whatever *op* is.
            op: ``WEBSOCKET_OP_TEXT`` or ``WEBSOCKET_OP_BINARY``; ``WEBSOCKET_OP_PING`` or
                ``WEBSOCKET_OP_PONG`` with at most 125 bytes; ``WEBSOCKET_OP_CLOSE``, see
                :meth:`ws_close`.
            fin: ``False``: more of the message follows, with ``WEBSOCKET_OP_CONTINUE``.

        Raises:
            ValueError: If *op* is none of these, *data* is too long for it, or a text is
                not UTF-8.
            Error: If the connection is not a WebSocket, or not yet; fragments are out of
                order; or ``Limits.send_backlog`` stands against it. Nothing was sent.
            ConnectionClosed: If the connection is closed, or a close frame was sent.
        """
        how = 0 if fin else _MORE
        if type(data) is str and op == WEBSOCKET_OP_TEXT:
            payload = data.encode()
            how |= _UTF8
        else:
            payload = data if type(data) is bytes else as_bytes(data)
        number = self._id
        if not number:
            raise ConnectionClosed("Connection has been closed")
        if self._deflate is None or not fin or not 1 <= op <= 2:  # text or binary
            code = _ws_send(self._mgr, number, payload, len(payload), op, how)
        else:
            code = self._send_deflated(self._deflate, payload, op)
        if code or _kept:
            self._check_ws(code, payload, op)

    def _send_deflated(self, deflate: websocket.Deflate, payload: bytes, op: int) -> int:
        if op == WEBSOCKET_OP_TEXT and not payload.isascii():
            payload.decode()  # C cannot look into what is compressed
        with deflate.lock:
            packed = deflate.deflate(payload)
            how = 0 if packed is None else _DEFLATED
            wire = payload if packed is None else packed
            code: int = _ws_send(self._mgr, self._id, wire, len(wire), op, how)
            if code < 0:
                deflate.forget()
            return code

    def _check_ws(self, code: int, payload: bytes, op: int) -> None:
        if op == WEBSOCKET_OP_TEXT:
            bad = "a text must be UTF-8; send bytes with WEBSOCKET_OP_BINARY"
        elif op == WEBSOCKET_OP_CLOSE:
            bad = "the payload must be a status code and at most 123 bytes of UTF-8"
        elif op in (lib.WEBSOCKET_OP_PING, lib.WEBSOCKET_OP_PONG):
            bad = "data must be at most 125 bytes, and fin set"
        else:
            bad = f"op must be a WEBSOCKET_OP_..., not {op}"
        causes = {
            _EINVAL: bad,
            _ESTATE: "WEBSOCKET_OP_CONTINUE continues a message that was begun, and no other may",
            lib.MGX_EKIND: "not a WebSocket, or not yet",
        }
        self._check(code, f"ws_send of {len(payload)} bytes", causes)

    def ws_close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake of :rfc:`6455`, section 7.1.2; harmless when repeated.

        Messages still come in until the peer answers, for ``Limits.ws_close_timeout`` at
        most; nothing can be sent any more.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: At most 123 bytes as UTF-8.

        Raises:
            ValueError: If *code* may not be sent, or *reason* is too long.
            Error: If the connection is not a WebSocket, or not yet.
            ConnectionClosed: If the connection is closed.
        """
        payload = websocket.close_payload(code, reason)
        number = self._open_id()
        result = _ws_send(self._mgr, number, payload, len(payload), WEBSOCKET_OP_CLOSE, 0)
        if result == lib.MGX_ECLOSED and not self._is_closing():
            return  # a close frame was sent before
        self._check_ws(result, payload, WEBSOCKET_OP_CLOSE)
