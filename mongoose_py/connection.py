"""Connections: what a handler does with the one it is called for.

Here is what every connection has; what one has that speaks HTTP, WebSocket, MQTT,
TLS or SNTP comes from the files of these topics.

A :class:`Connection` refers to the one in C by a number that is never used
twice. So an object may be kept as long as one likes, and used from any thread:
when the connection is gone the number leads nowhere, and C says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mongoose_py import _dispatch
from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import ConnectionClosed, Error, error_text
from mongoose_py.handler import check_handler
from mongoose_py.http_connection import HttpConnection
from mongoose_py.mqtt_connection import MqttConnection
from mongoose_py.sntp import SntpConnection
from mongoose_py.static_files import FilesConnection
from mongoose_py.tls_connection import TlsConnection
from mongoose_py.websocket_connection import WebsocketConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py._manager import BaseManager
    from mongoose_py.handler import AnyHandler, Target
    from mongoose_py.manager import Manager

_ERROR = ffi.typeof("struct mgx_error *")
_EINVAL: int = lib.MGX_EINVAL
_ESYSTEM: int = lib.MGX_ESYSTEM
_kept = _dispatch.kept
_SCHEMES = (
    (lib.MGX_IS_UDP, "udp", "udp"),
    (lib.MGX_IS_WEBSOCKET, "ws", "wss"),
    (lib.MGX_IS_HTTP, "http", "https"),
    (lib.MGX_IS_MQTT, "mqtt", "mqtts"),
)


class Connection(
    HttpConnection,
    FilesConnection,
    WebsocketConnection,
    MqttConnection,
    TlsConnection,
    SntpConnection,
):
    """A listener, an accepted or an outbound connection.

    Made by the manager. Handlers get the same object with every event of one
    connection, so it can be a key of dictionaries. After ``MG_EV_CLOSE``, or when
    the manager was closed, it is in the closed state: :attr:`id` is 0, what asks
    gives ``False``, 0, ``None``, ``""`` or ``b""`` (:attr:`is_closing` gives ``True``),
    ``close()``, ``drain()`` and ``set_handler()`` do nothing, and what sends
    raises :class:`~mongoose_py.ConnectionClosed`.

    Every method may be called from any thread.

    Attributes:
        userdata: Any object of yours; ``None`` at first.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._id = 0
        self._ended = 0
        self.userdata: Any = None

    @classmethod
    def _open(cls, manager: BaseManager, number: int, target: Target) -> Connection:
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

    @property
    def id(self) -> int:
        """Positive number, unique in its manager and never used again; 0 when closed."""
        return self._id

    @property
    def manager(self) -> Manager:
        """The manager it belongs to.

        Raises:
            Error: If the manager is gone, which it never is while a handler runs.
        """
        manager = self._manager() if hasattr(self, "_manager") else None
        if manager is None:
            raise Error("Manager has been closed")
        return manager

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
    def is_udp(self) -> bool:
        """It is a UDP socket."""
        return self._is(lib.MGX_IS_UDP)

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
        return self._is_closing()

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
    def url(self) -> str:
        """Where its server is, as a URL: ``http://127.0.0.1:8000``, ``tcp://[::1]:7``.

        Of a listener and of what it accepts the address is :attr:`local_addr`, of an
        outbound connection :attr:`remote_addr`; ``""``: there is none yet, or any more.
        The scheme says what is spoken now: ``http``, ``https``, ``ws``, ``wss``, ``mqtt``,
        ``mqtts``, ``tls``, ``tcp``, ``udp``, or ``unix:///path`` whatever is spoken there.
        """
        info = self._info()
        flags = info.flags
        is_client = flags & lib.MGX_IS_CLIENT
        if not (info.has_rem if is_client else info.has_loc):
            return ""
        ip, port, is_ipv6 = _dispatch.address(info.rem if is_client else info.loc)
        if not port:
            return f"unix://{ip}" if ip else ""
        plain, secret = next((names for bit, *names in _SCHEMES if flags & bit), ("tcp", "tls"))
        scheme = secret if flags & lib.MGX_IS_TLS else plain
        return f"{scheme}://[{ip}]:{port}" if is_ipv6 else f"{scheme}://{ip}:{port}"

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
            causes = {lib.MGX_EADDR: error_text(err)}
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
            causes = {_ESYSTEM: error_text(err)}
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
