"""What a manager can do with WebSockets (:rfc:`6455`).

The part of :class:`~mongoose_py.Manager` that concerns WebSocket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py import websocket
from mongoose_py._args import Data, as_bytes
from mongoose_py._manager import BaseManager
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.http import header_lines, host_line, request_text
from mongoose_py.url import url_pass, url_uri, url_user

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.connection import Connection
    from mongoose_py.handler import AnyHandler
    from mongoose_py.http import Headers
    from mongoose_py.tls import Tls


class WebsocketManager(BaseManager):
    """The WebSocket methods of :class:`~mongoose_py.Manager`."""

    def ws_connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        headers: Headers | None = None,
        subprotocols: Iterable[str] = (),
        compression: bool = False,
        events: Iterable[int] | None = None,
        tls: Tls | None = None,
    ) -> Connection:
        """Start to connect a WebSocket to *url* and return the connection at once.

        The handshake (:rfc:`6455`, section 4.1) is sent by itself. ``MG_EV_WS_OPEN``, with
        the answer, tells success: which subprotocol was chosen stands in its header
        ``Sec-WebSocket-Protocol``. ``MG_EV_ERROR`` tells failure.

        Args:
            url: ``ws://127.0.0.1:8000/chat``, or ``wss://`` for TLS. A user and password
                in it are sent as ``Authorization``.
            handler: ``None``: the manager's.
            headers: More lines for the request; as in ``Connection.reply()``.
            subprotocols: Those to offer, the most wanted first.
            compression: Whether to offer permessage-deflate (:rfc:`7692`).
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.
            tls: As for :meth:`connect`.

        Raises:
            AddressError: If *url* is malformed.
            ValueError: If a header or a subprotocol is malformed, or a header is one that
                the handshake sets.
            SystemCallError: If the system has no descriptor left.
            Error: If the manager is closed.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}")
        offered = websocket.checked_subprotocols(subprotocols)
        key = websocket.new_key()
        text = url.replace("\0", "")  # refused by C, with its reason
        is_unix = text.partition("://")[0].lower() == "unix"
        user, password = ("", "") if is_unix else (url_user(text), url_pass(text))
        pairs = websocket.request_pairs(user, password, headers, key, offered, compression)
        path = "/" if is_unix else url_uri(text)
        kept = [
            ffi.from_buffer(part)
            for part in (
                request_text("GET", path, host_line(text, True), header_lines(pairs), b""),
                websocket.accept_for(key),
                ",".join(offered).encode(),
            )
        ]
        head, accept, protocols = [(part, len(part)) for part in kept]
        request = ffi.new("struct mgx_ws_request *", (head, accept, protocols, compression))
        options = {"http": lib.MGX_HTTP_OFF, "ws": request}
        return self._open(lib.mgx_connect, "connect to", url, handler, events, "", options, tls)

    def ws_broadcast(
        self, conns: Iterable[Connection], data: Data, op: int = websocket.WEBSOCKET_OP_TEXT
    ) -> int:
        """Send one message to many WebSockets; its frame is made once.

        Left out are connections that are closed, closing or no WebSocket, that are in the
        middle of a fragmented message, or for which ``Limits.send_backlog`` is full.

        Args:
            conns: Connections of this manager.
            data: As in ``Connection.ws_send()``. It is not compressed.
            op: ``WEBSOCKET_OP_TEXT``, ``WEBSOCKET_OP_BINARY``, or a ping or pong.

        Returns:
            How many connections it was queued for.

        Raises:
            ValueError: If *op* or *data* is not acceptable, or a connection is another
                manager's.
            Error: If the manager is closed.
        """
        payload = as_bytes(data)
        numbers = self._numbers(conns)
        ids = ffi.new("uint64_t[]", numbers)
        count: int = lib.mgx_ws_broadcast(self._mgr, ids, len(numbers), payload, len(payload), op)
        if count == lib.MGX_EINVAL:
            raise ValueError("op must be text (in UTF-8), binary, or a ping or pong of 125 bytes")
        self._check(count, "ws_broadcast")
        return count
