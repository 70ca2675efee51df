"""Connections: what a handler does with the one it is called for.

A :class:`Connection` refers to the one in C by a number that is never used
twice. So an object may be kept as long as one likes, and used from any thread:
when the connection is gone the number leads nowhere, and C says so.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

from mongoose_py import _dispatch, http, websocket
from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import ConnectionClosed, failure
from mongoose_py.handler import check_handler
from mongoose_py.mqtt_connection import MqttConnection
from mongoose_py.sntp import SntpResult
from mongoose_py.tls import TlsInfo, info_of, server_name_of
from mongoose_py.websocket import WEBSOCKET_OP_CLOSE, WEBSOCKET_OP_TEXT

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable

    from mongoose_py.handler import AnyHandler, Target
    from mongoose_py.http import Headers, HttpMessage
    from mongoose_py.manager import Manager
    from mongoose_py.tls import Tls
    from mongoose_py.tls_context import Context

    Path = Union[str, "os.PathLike[str]"]

_ERROR = ffi.typeof("struct mgx_error *")
_EINVAL: int = lib.MGX_EINVAL
_ESTATE: int = lib.MGX_ESTATE
_ESYSTEM: int = lib.MGX_ESYSTEM
_PLAIN_TEXT = b"Content-Type: text/plain\r\n"
_JSON = b"Content-Type: application/json\r\n"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_kept = _dispatch.kept
_http_reply = lib.mgx_http_reply
_ws_send = lib.mgx_ws_send
_MORE: int = lib.MGX_WS_MORE
_UTF8: int = lib.MGX_WS_UTF8
_DEFLATED: int = lib.MGX_WS_DEFLATED


class Connection(MqttConnection):
    """A listener, an accepted or an outbound connection.

    Made by the manager. Handlers get the same object with every event of one
    connection, so it can be a key of dictionaries. After ``MG_EV_CLOSE``, or when
    the manager was closed, it is in the closed state: :attr:`id` is 0, what asks
    gives ``False``, 0, ``None`` or ``b""`` (:attr:`is_closing` gives ``True``),
    ``close()``, ``drain()`` and ``set_handler()`` do nothing, and what sends
    raises :class:`~mongoose_py.ConnectionClosed`.

    Every method may be called from any thread.

    Attributes:
        userdata: Any object of yours; ``None`` at first.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_deflate",
        "_ended",
        "_host",
        "_id",
        "_manager",
        "_mgr",
        "_mqtt",
        "_target",
        "_tls",
        "userdata",
    )

    _id: int  # 0 once closed
    _ended: int  # PAUSED, DRAINED, CLOSED when that was asked for: a batch in hand is cut short
    _mgr: Any  # struct mg_mgr *
    _core: Any  # keeps what _mgr points at
    _manager: weakref.ref[Manager]
    _target: Target
    _host: str  # of the URL it connects to, for the Host line
    _deflate: websocket.Deflate | None  # a WebSocket's compression, when it was agreed
    _tls: tuple[Tls | None, Context] | None  # what listen(), connect() or tls_init() was given

    def __init__(self) -> None:
        self._id = 0
        self._ended = 0
        self.userdata: Any = None

    @classmethod
    def _open(cls, manager: Manager, number: int, target: Target) -> Connection:
        self = cls()
        self._mgr = manager._mgr
        self._core = manager._core
        self._manager = manager._ref
        self._target = target
        self._host = target.host
        self._deflate = None
        self._mqtt = target.mqtt
        self._tls = None
        self._id = number
        if target.mqtt is not None:
            target.mqtt._attach(self)
        return self

    def __repr__(self) -> str:
        flags = self._flags()
        if flags < 0:
            return "<Connection closed>"
        readable = bool(flags & lib.MGX_IS_READABLE)
        writable = bool(flags & lib.MGX_IS_WRITABLE)
        return f"<Connection id={self._id} readable={readable} writable={writable}>"

    # -- what it is ---------------------------------------------------------

    def _flags(self) -> int:
        number = self._id
        flags: int = lib.mgx_conn_flags(self._mgr, number) if number else lib.MGX_ECLOSED
        return flags

    def _is(self, bit: int) -> bool:
        flags = self._flags()
        return flags >= 0 and flags & bit != 0

    def _info(self) -> Any:
        """Return a new ``struct mgx_conn_info *``, all zero when closed."""
        info = ffi.new("struct mgx_conn_info *")
        number = self._id
        if number:
            lib.mgx_conn_info(self._mgr, number, info)
        return info

    @property
    def id(self) -> int:
        """Positive number, unique in its manager and never used again; 0 when closed."""
        return self._id

    @property
    def handler(self) -> AnyHandler | None:
        """The connection's own handler; ``None`` when it uses the manager's."""
        target = getattr(self, "_target", None)
        return None if target is None else target.handler

    @property
    def is_listening(self) -> bool:
        """It is a listener."""
        return self._is(lib.MGX_IS_LISTENING)

    @property
    def is_client(self) -> bool:
        """It is outbound, made by ``connect()``."""
        return self._is(lib.MGX_IS_CLIENT)

    @property
    def is_tls(self) -> bool:
        """TLS is switched on."""
        return self._is(lib.MGX_IS_TLS)

    @property
    def is_udp(self) -> bool:
        """It is a UDP socket."""
        return self._is(lib.MGX_IS_UDP)

    @property
    def is_websocket(self) -> bool:
        """It has become a WebSocket."""
        return self._is(lib.MGX_IS_WEBSOCKET)

    @property
    def is_readable(self) -> bool:
        """The last poll found the socket readable."""
        return self._is(lib.MGX_IS_READABLE)

    @property
    def is_writable(self) -> bool:
        """The last poll found the socket writable."""
        return self._is(lib.MGX_IS_WRITABLE)

    @property
    def is_closing(self) -> bool:
        """It is being closed, or gone."""
        flags = self._flags()
        return flags < 0 or flags & lib.MGX_IS_CLOSING != 0

    @property
    def is_full(self) -> bool:
        """Reading has stopped: the receive buffer is full, or ``pause()`` was called."""
        return self._is(lib.MGX_IS_FULL)

    @property
    def is_draining(self) -> bool:
        """``drain()`` was called."""
        return self._is(lib.MGX_IS_DRAINING)

    @property
    def local_addr(self) -> tuple[str, int, bool] | None:
        """``(ip, port, is_ipv6)`` of this end; a unix socket's is ``(path, 0, False)``.

        On an accepted connection the address that the peer connected to.
        """
        info = self._info()
        return _dispatch.address(info.loc) if info.has_loc else None

    @property
    def remote_addr(self) -> tuple[str, int, bool] | None:
        """``(ip, port, is_ipv6)`` of the peer; on a UDP listener of the last datagram."""
        info = self._info()
        return _dispatch.address(info.rem) if info.has_rem else None

    @property
    def recv_len(self) -> int:
        """Bytes in the receive buffer."""
        length: int = self._info().recv_len
        return length

    @property
    def recv_size(self) -> int:
        """Bytes allocated for the receive buffer."""
        size: int = self._info().recv_size
        return size

    @property
    def send_len(self) -> int:
        """Bytes that wait to be sent."""
        length: int = self._info().send_len
        return length

    @property
    def send_size(self) -> int:
        """Bytes allocated for the send queue."""
        size: int = self._info().send_size
        return size

    # -- handlers and life --------------------------------------------------

    def set_handler(
        self, handler: AnyHandler | None, *, events: Iterable[int] | None = None
    ) -> None:
        """Set or, with ``None``, remove the connection's own handler.

        On a listener this decides for connections it accepts from now on.

        Args:
            handler: Callable or :class:`~mongoose_py.Handler`; ``None``: the manager's.
            events: The only events it wants. Default: all; see
                :class:`~mongoose_py.Manager`.

        Raises:
            TypeError: If *handler* cannot be one.
        """
        manager = self._manager() if self._id else None
        if manager is None:
            check_handler(handler)
        else:
            manager._set_handler(self, handler, events)

    def close(self) -> None:
        """Close without sending what waits. ``MG_EV_CLOSE`` comes from the loop."""
        number = self._id
        if number:
            self._ended = _dispatch.CLOSED
            lib.mgx_close(self._mgr, number)

    def drain(self) -> None:
        """Close once everything queued has been sent."""
        number = self._id
        if number:
            self._ended = max(self._ended, _dispatch.DRAINED)
            lib.mgx_drain(self._mgr, number)

    def error(self, message: str) -> None:
        """Raise ``MG_EV_ERROR`` with *message* on this connection and close it.

        Raises:
            ConnectionClosed: If it is closed already.
        """
        text = as_bytes(message, "message")
        number = self._open_id()
        self._ended = _dispatch.CLOSED
        self._check(lib.mgx_conn_error(self._mgr, number, text, len(text)), "error")

    def resolve(self, url: str) -> None:
        """Look up the host of *url*; nothing else happens to this connection.

        ``MG_EV_RESOLVE`` on it tells the addresses as a list of ``(ip, port, is_ipv6)``,
        best first. ``MG_EV_ERROR`` tells that there are none; the connection stays open. An
        address, ``localhost`` and names below it are told inside this call, others later.
        Several names may be looked up at a time; what is known first comes first. On a TCP
        listener :attr:`remote_addr` becomes the first address.

        Args:
            url: ``tcp://example.com:80``, ``example.com:80``, ``example.com``. The port is
                the URL's, that of its scheme, or 0.

        Raises:
            AddressError: If *url* is malformed.
            ConnectionClosed: If the connection is closed.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}")
        address = url.encode("utf-8", "surrogateescape")
        number = self._open_id()
        err = ffi.new(_ERROR)
        code = lib.mgx_resolve(self._mgr, number, address, len(address), err)
        if code < 0 or _kept:
            causes = {lib.MGX_EADDR: ffi.string(err.text).decode("utf-8", "replace")}
            self._check(code, f"Failed to resolve {url!r}", causes)

    def resolve_cancel(self) -> None:
        """Forget what :meth:`resolve` has begun: no event will tell of it.

        The look-up that belongs to ``connect()`` goes on; :meth:`close` ends it.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        self._check(lib.mgx_resolve_cancel(self._mgr, self._open_id()), "resolve_cancel")

    def pause(self) -> None:
        """Stop reading, so that the peer has to wait; :attr:`is_full` is ``True`` meanwhile.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        self._ended = self._ended or _dispatch.PAUSED
        self._check(lib.mgx_pause(self._mgr, number, True), "pause")

    def resume(self) -> None:
        """Go on reading after :meth:`pause`.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        if self._ended == _dispatch.PAUSED:
            self._ended = 0
        self._check(lib.mgx_pause(self._mgr, number, False), "resume")

    def _open_id(self) -> int:
        number = self._id
        if not number:
            raise ConnectionClosed("Connection has been closed")
        return number

    @staticmethod
    def _check(code: int, doing: str, causes: dict[int, str] | None = None, errno: int = 0) -> None:
        """Raise for a negative *code*; or what a handler raised inside the call."""
        if _kept:
            _dispatch.raise_kept()
        if code < 0:
            raise failure(code, doing, (causes or {}).get(code, ""), errno)

    # -- bytes --------------------------------------------------------------

    def send(self, data: Data) -> None:
        """Queue bytes for sending and return at once; ``str`` goes as UTF-8.

        On UDP one datagram per call, sent at once: to the sender of the last one on a
        listener. On an HTTP server's connection the bytes are the answer to the pending
        request, head included, and the head tells how ``http_chunk()`` frames.

        Raises:
            ConnectionClosed: If the connection is closed.
            Error: If ``Limits.send_backlog`` stands against it, or there is nothing to
                answer. Nothing was queued then.
            SystemCallError: If the system refused the datagram.
        """
        payload = data if type(data) is bytes else as_bytes(data)
        number = self._id
        if not number:
            raise ConnectionClosed("Connection has been closed")
        err = ffi.new(_ERROR)
        code = lib.mgx_send(self._mgr, number, payload, len(payload), err)
        if code < 0 or _kept:
            causes = {_ESYSTEM: ffi.string(err.text).decode("utf-8", "replace")}
            self._check(code, f"send of {len(payload)} bytes", causes, err.sys)

    def recv_data(self, length: int = -1) -> bytes:
        """Return a copy of the front of the receive buffer, which stays as it is.

        In ``MG_EV_READ`` these are the bytes that the handler was given.

        Args:
            length: At most so many bytes; negative: all.
        """
        return self._peek(lib.mgx_recv_data, length, "recv_len")

    def send_data(self, length: int = -1) -> bytes:
        """Return a copy of the front of the send queue, which stays as it is.

        Args:
            length: At most so many bytes; negative: all.
        """
        return self._peek(lib.mgx_send_data, length, "send_len")

    def _peek(self, copy: Any, length: int, field: str) -> bytes:
        there: int = getattr(self._info(), field)
        size = there if length < 0 else min(length, there)
        if not size:
            return b""
        buf = ffi.new("char[]", size)
        count: int = copy(self._mgr, self._id, buf, size)
        return ffi.buffer(buf, count)[:] if count > 0 else b""

    def recv_keep(self, n: int) -> None:
        """Keep the last *n* bytes that ``MG_EV_READ`` gave: they come again.

        In front of the bytes that arrive next. Without this call all are consumed when
        the handler returns.

        Raises:
            ValueError: If *n* is negative or more than the handler was given.
            Error: If no ``MG_EV_READ`` of this connection is running.
            ConnectionClosed: If the connection is closed.
        """
        self._drop(lib.mgx_recv_keep, n, "recv_keep")

    def recv_consume(self, n: int) -> None:
        """Drop the first *n* bytes of the receive buffer.

        For connections whose handler takes no ``MG_EV_READ``, so that bytes stay in the
        buffer until they are dropped.

        Raises:
            ValueError: If *n* is negative or more than :attr:`recv_len`.
            Error: If the bytes belong to a running event or to a protocol.
            ConnectionClosed: If the connection is closed.
        """
        self._drop(lib.mgx_recv_consume, n, "recv_consume")

    def _drop(self, call: Any, n: int, doing: str) -> None:
        number = self._open_id()
        there = f"n must be 0 up to the number of bytes there are, not {n}"
        if n < 0:
            raise ValueError(f"{doing}: {there}")
        self._check(call(self._mgr, number, n), doing, {_EINVAL: there})

    # -- TLS ----------------------------------------------------------------

    def tls_init(self, opts: Tls) -> None:
        """Have the connection speak TLS, with *opts* instead of what it was to use.

        The handshake begins when the running event is over; what is sent before its end
        waits. For accepted connections the place is ``MG_EV_ACCEPT``, for outbound ones
        ``MG_EV_CONNECT``; later in the life of a connection that began in plain text it
        works as well, when nothing of that is on its way any more. On a listener this
        decides for connections it accepts from now on; there, options that OpenSSL cannot
        use are logged, and every connection is refused with ``MG_EV_ERROR``.

        Args:
            opts: :class:`~mongoose_py.TlsOpts`, or an :class:`ssl.SSLContext`.

        Raises:
            TypeError: If *opts* is neither.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
            OSError: If a file cannot be read.
            Error: If the handshake has begun, on UDP, or without OpenSSL.
            ConnectionClosed: If the connection is closed.
        """
        if opts is None:
            raise TypeError("tls must be TlsOpts, not NoneType")
        self._tls_set(opts, self.is_listening)

    def tls_reload(self, opts: Tls | None = None) -> None:
        """Use other certificates for the connections this listener accepts from now on.

        Connections that are open stay as they are.

        Args:
            opts: Default: those it has, with their files read anew. They may have been
                changed.

        Raises:
            TypeError: If *opts* is nothing that ``tls=`` takes.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
                The listener goes on with those it has; so with the next.
            OSError: If a file cannot be read.
            Error: If this is not a listener, or it was given no options.
            ConnectionClosed: If it is closed.
        """
        self._open_id()
        if not self.is_listening:
            raise failure(lib.MGX_EKIND, "tls_reload", "not a listener")
        had = None if self._tls is None else self._tls[0]
        used = had if opts is None else opts
        if used is None:
            raise failure(_ESTATE, "tls_reload", "the listener was given no TLS options")
        self._tls_set(used, False)

    def _tls_set(self, opts: Tls, lenient: bool) -> None:
        number = self._open_id()
        manager = self._manager()
        if manager is None:
            raise ConnectionClosed("Connection has been closed")
        context = manager._tls.get(opts, not self.is_client, lenient=lenient)
        name = server_name_of(opts)
        code = lib.mgx_tls_init(self._mgr, number, context.number, name, len(name))
        causes = {
            _ESTATE: "its TLS handshake has begun",
            lib.MGX_EKIND: "TLS runs over TCP and unix sockets",
        }
        self._check(code, "tls_init", causes)
        self._tls = opts, context

    def tls_free(self) -> None:
        """Undo :meth:`tls_init`.

        A connection whose handshake has begun is closed in order: there is no way back
        to plain text.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        self._check(lib.mgx_tls_free(self._mgr, number), "tls_free")
        self._tls = None

    def tls_info(self) -> TlsInfo | None:
        """Return what the TLS handshake came to.

        ``None`` before its end (``MG_EV_TLS_HS``), without TLS, and when the connection
        is closed.
        """
        number = self._id
        manager = self._manager() if number else None
        if manager is None:
            return None
        contexts = manager._tls_contexts
        info = None if contexts is None else contexts.info(number)
        return info or info_of(self._mgr, number)

    # -- HTTP ---------------------------------------------------------------

    def reply(self, status_code: int, body: Data = b"", headers: Headers | None = None) -> None:
        """Answer the pending request with a complete response.

        Status line, ``Date``, lengths and framing are made here. With ``Transfer-Encoding:
        chunked`` or ``Content-Type: text/event-stream`` among *headers* the answer is
        chunked and stays open: go on with ``http_chunk()`` or ``http_sse()``, end it with
        ``http_chunk(b"")``. No body goes out in answer to HEAD, and none with 1xx, 204
        and 304. May be called at any time, from any event.

        Args:
            status_code: 100 to 999.
            body: ``str`` goes as UTF-8.
            headers: Mapping or pairs of names and values; values are converted with
                ``str()``. ``Content-Type: text/plain`` is added when none is given.

        Raises:
            ValueError: If a name is not a token, a value has a control character,
                *status_code* is out of range, or a ``Content-Length`` or
                ``Transfer-Encoding`` does not fit. Nothing was sent.
            TypeError: If a name or value is of the wrong type.
            Error: If the request was answered already, or ``Limits.send_backlog`` stands
                against it.
            ConnectionClosed: If the connection is closed.
        """
        if headers is None:
            head = _PLAIN_TEXT if status_code == 200 or _has_body(status_code) else b""
        else:
            default = "text/plain" if _has_body(status_code) else ""
            head = http.reply_headers(headers, default)
        if type(body) is not bytes:
            body = as_bytes(body, "body")
        number = self._id  # _reply() written out: one frame less on the hot path
        if not number:
            raise ConnectionClosed("Connection has been closed")
        code = _http_reply(self._mgr, number, status_code, head, len(head), body, len(body))
        if code:
            self._check_reply(code, status_code, len(body))

    def reply_json(
        self, data: object, status_code: int = 200, headers: Headers | None = None
    ) -> None:
        """Answer the pending request with *data* as JSON.

        ``Content-Type: application/json`` wins over one in *headers*; else as
        :meth:`reply`.

        Raises:
            TypeError: If *data* is not serialisable. Nothing was sent.
            ValueError: So too, for NaN and infinities and for circular references.
        """
        from json import dumps  # when needed: it takes its time

        if headers is None:
            head = _JSON
        else:
            head = http.reply_headers(headers, "application/json", replace=True)
        self._reply(status_code, head, dumps(data, allow_nan=False).encode())

    def _reply(self, status_code: int, head: bytes, body: bytes) -> None:
        number = self._open_id()
        code = _http_reply(self._mgr, number, status_code, head, len(head), body, len(body))
        if code or _kept:
            self._check_reply(code, status_code, len(body))

    def _check_reply(self, code: int, status_code: int, size: int) -> None:
        if code == lib.MGX_ELENGTH:
            raise ValueError(f"reply: Content-Length must be the body's, {size}")
        status = f"status_code must be 100..999, not {status_code}"
        framing = "Transfer-Encoding must be chunked, and without Content-Length"
        self._check(code, "reply", {_EINVAL: framing if 100 <= status_code < 1000 else status})

    def http_chunk(self, data: Data) -> None:
        """Send a piece of the body of an answer, or of a request, that was begun.

        Framed as its head announced: as a chunk, or as it is. Empty data ends the body.

        Raises:
            Error: If nothing was begun, or more comes than ``Content-Length`` announced.
            ConnectionClosed: If the connection is closed.
        """
        payload = as_bytes(data)
        number = self._open_id()
        code = lib.mgx_http_chunk(self._mgr, number, payload, len(payload))
        if code < 0 or _kept:
            self._check(code, "http_chunk", {lib.MGX_EANSWERED: "no body was begun"})

    def http_sse(self, event_type: str, data: Data) -> None:
        """Send one server-sent event in an answer that was begun.

        ``reply(200, "", {"Content-Type": "text/event-stream"})`` begins one.

        Args:
            event_type: Name of the event; ``""``: none, which browsers call ``message``.
            data: Text of any number of lines.

        Raises:
            ValueError: If *event_type* has a line break.
            Error: If no answer was begun.
            ConnectionClosed: If the connection is closed.
        """
        self.http_chunk(http.event_text(event_type, data))

    def http_basic_auth(self, username: str, password: str) -> None:
        """Queue an ``Authorization: Basic`` header line, :rfc:`7617`.

        For a client that writes its request by hand. A colon in *username* would move
        the border between the two.

        Raises:
            ValueError: If NUL is in either.
            ConnectionClosed: If the connection is closed.
        """
        from binascii import b2a_base64

        credentials = f"{as_text(username, 'username')}:{as_text(password, 'password')}"
        code = b2a_base64(credentials.encode(), newline=False)
        self.send(b"Authorization: Basic " + code + b"\r\n")

    def request(
        self,
        method: str,
        path: str = "/",
        headers: Headers | None = None,
        body: Data = b"",
    ) -> None:
        """Send an HTTP request, with ``Host`` and framing; several may be under way.

        Without *body*, ``Content-Length`` or ``Transfer-Encoding: chunked`` among
        *headers* announces one that ``http_chunk()`` sends.

        Args:
            method: A token, ``"GET"``.
            path: Path and query, percent-encoded; or another form of request target
                (:rfc:`9112`, section 3.2).
            headers: As in :meth:`reply`; ``Host`` is added when it is not there.
            body: ``str`` goes as UTF-8.

        Raises:
            ValueError: If *method*, *path* or a header is malformed, or a
                ``Content-Length`` does not fit *body*.
            Error: If this is not a client's HTTP connection.
            ConnectionClosed: If the connection is closed.
        """
        lines = http.header_lines(headers or ())
        payload = as_bytes(body, "body")
        number = self._open_id()
        wire = http.request_text(method, path, self._host, lines, payload)
        is_head = method == "HEAD"
        code = lib.mgx_http_request(self._mgr, number, wire, len(wire), is_head)
        if code < 0 or _kept:
            self._check(code, "request", {lib.MGX_EKIND: "not an HTTP client's connection"})

    def stream_body(self) -> None:
        """Have the body of the message whose ``MG_EV_HTTP_HDRS`` is running in pieces.

        They come as ``MG_EV_READ``, without chunk framing and counted against no buffer
        limit; then ``MG_EV_HTTP_MSG`` with an empty body. A body that is cut off gives
        ``MG_EV_ERROR`` instead.

        Raises:
            Error: In any other event.
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        causes = {_ESTATE: "only while MG_EV_HTTP_HDRS is being handled"}
        code = lib.mgx_http_stream_body(self._mgr, number)
        self._check(code, "stream_body", causes)

    # -- SNTP ---------------------------------------------------------------

    def sntp_request(self) -> None:
        """Ask the SNTP server again; see ``Manager.sntp_connect()``.

        While a request is under way, the first one included, this one waits for its answer.

        Raises:
            Error: If this is not an SNTP connection.
            SystemCallError: If the system refused the datagram.
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        err = ffi.new(_ERROR)
        code = lib.mgx_sntp_request(self._mgr, number, err)
        causes = {
            _ESYSTEM: ffi.string(err.text).decode("utf-8", "replace"),
            lib.MGX_EKIND: "not an SNTP connection",
        }
        self._check(code, "sntp_request", causes, err.sys)

    @property
    def sntp_result(self) -> SntpResult | None:
        """The last answer of the SNTP server; ``None``: there was none yet."""
        number = self._id
        raw = ffi.new("struct mgx_sntp_result *")
        if not number or lib.mgx_sntp_result(self._mgr, number, raw) < 0:
            return None
        return SntpResult(raw)

    # -- WebSocket ----------------------------------------------------------

    def ws_upgrade(
        self,
        message: HttpMessage,
        extra_headers: Headers | None = None,
        *,
        subprotocol: str | Iterable[str] | None = None,
        compression: bool = False,
    ) -> bool:
        """Answer the request *message* with 101 and make the connection a WebSocket.

        ``MG_EV_WS_OPEN`` comes inside this call. A request that is no proper handshake
        (:rfc:`6455`, section 4.2.1) is answered with 426 or 400 instead, and its
        connection closes.

        Args:
            message: The message of the running event.
            extra_headers: For the answer; as in :meth:`reply`.
            subprotocol: The one to speak, or several, the most wanted first: the first
                that the request offers is chosen, none when it offers none of them.
            compression: Whether to agree to permessage-deflate (:rfc:`7692`).

        Returns:
            Whether it is a WebSocket now.

        Raises:
            ValueError: If *message* is not that of the running event, or a header is
                malformed or one that the handshake sets. Nothing was sent.
            Error: If the request was answered already.
            ConnectionClosed: If the connection is closed.
        """
        stale = "HttpMessage is not valid for this event"
        if not isinstance(message, http.HttpMessage):
            raise TypeError(f"message must be an HttpMessage, not {type(message).__name__}")
        deflate = websocket.Deflate.offered(message) if compression else None
        head = websocket.upgrade_headers(message, extra_headers, subprotocol, deflate)
        if not message or message._raw.conn != self._id:
            raise ValueError(stale)
        number = self._open_id()
        accept = websocket.accept_for(message.header("Sec-WebSocket-Key", ""))
        self._deflate = deflate
        code = lib.mgx_ws_upgrade(self._mgr, number, accept, head, len(head), deflate is not None)
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
        if result == lib.MGX_ECLOSED and not self.is_closing:
            return  # a close frame was sent before
        self._check_ws(result, payload, WEBSOCKET_OP_CLOSE)

    # -- files --------------------------------------------------------------

    def serve_dir(
        self,
        message: HttpMessage,
        root_dir: Path,
        extra_headers: str = "",
        mime_types: str = "",
        page404: Path = "",
        *,
        listing: bool = False,
    ) -> int:
        """Answer *message* with the file below *root_dir* that its URI names.

        Args:
            message: The message of the running event.
            root_dir: Nothing outside it is ever served.
            extra_headers: Header lines, separated by CR LF.
            mime_types: ``"ext=type,ext=type"``; ``"*=type"`` for all.
            page404: File that is sent, with status 200, instead of the 404 text.
            listing: Whether directories without ``index.html`` are listed.

        Returns:
            The status code that was sent.

        Raises:
            ValueError: If *message* is not that of the running event, a path has NUL, or
                a header line is malformed.
            ConnectionClosed: If the connection is closed.
        """
        return self._serve(
            lib.mg_http_serve_dir, message, root_dir, extra_headers, mime_types, page404, listing
        )

    def serve_file(
        self, message: HttpMessage, path: Path, extra_headers: str = "", mime_types: str = ""
    ) -> int:
        """Answer *message* with one file, whatever its URI; else as :meth:`serve_dir`."""
        return self._serve(
            lib.mg_http_serve_file, message, path, extra_headers, mime_types, "", False
        )

    def _serve(
        self,
        serve: Any,
        message: HttpMessage,
        root: Path,
        extra_headers: str,
        mime_types: str,
        page404: Path,
        listing: bool,
    ) -> int:
        stale = "HttpMessage is not valid for this event"
        if not isinstance(message, http.HttpMessage):
            raise TypeError(f"message must be an HttpMessage, not {type(message).__name__}")
        if not message or message._raw.conn != self._id:
            raise ValueError(stale)
        asked: tuple[Any, ...] = (root, extra_headers, mime_types, page404, bool(listing))
        try:
            opts, views = _remembered_serve_options(*asked)
        except TypeError:  # what cannot be hashed: let it be refused by its name
            opts, views = _serve_options(*asked)
        number = self._open_id()
        code: int = serve(self._mgr, number, opts)
        del views  # opts pointed at them
        if code == _ESTATE:
            raise ValueError(stale)
        self._check(code, "serve")
        return code


def _serve_options(
    root: Path, extra_headers: str, mime_types: str, page404: Path, listing: bool
) -> tuple[Any, list[Any]]:
    """Return a ``struct mg_http_serve_opts *`` and what it points at."""
    texts = {
        "root": _path(root, "path"),
        "extra_headers": http.raw_header_lines(extra_headers),
        "mime_types": _mime_types(mime_types),
        "page404": _path(page404, "page404"),
    }
    opts = ffi.new("struct mg_http_serve_opts *", {"listing": listing})
    views = []
    for name, text in texts.items():
        views.append(ffi.from_buffer(text))
        getattr(opts, name).buf = views[-1]
        getattr(opts, name).len = len(text)
    return opts, views


# A server has a few directories and asks for them with every request; to fill the
# struct takes 11 us, more than to find and open the file.
_remembered_serve_options = lru_cache(maxsize=64, typed=True)(_serve_options)


def _has_body(status_code: int) -> bool:
    """Tell whether a response of this status has content, RFC 9110 section 6.4.1."""
    return status_code >= 200 and status_code not in (204, 304)


def _path(value: Path, name: str) -> bytes:
    path = os.fsencode(value)
    if b"\0" in path:
        raise ValueError(f"{name} must not contain NUL, not {value!r}")
    return path


def _mime_types(value: str) -> bytes:
    if _CONTROL.search(as_text(value, "mime_types")):
        raise ValueError(f"mime_types must be one line, not {value!r}")
    return value.encode()
