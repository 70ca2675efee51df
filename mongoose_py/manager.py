"""The manager: one event loop, its connections, handlers and timers.

It owns what must outlive a callback on the Python side: the ``Connection`` of
each number that has come up, the handler behind each number that C was given,
the callbacks of timers. C owns everything else, and is asked for it.
"""

from __future__ import annotations

import errno
import math
import os
import weakref
from collections import deque
from itertools import count
from operator import index
from threading import RLock, current_thread, main_thread
from typing import TYPE_CHECKING, Any, Callable, Literal

from mongoose_py import _dispatch, mqtt, websocket
from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.connection import Connection
from mongoose_py.dns import Resolver
from mongoose_py.errors import Error, SystemCallError, failure
from mongoose_py.events import MG_EV_TLS_HS
from mongoose_py.handler import Target, check_handler, event_masks
from mongoose_py.http import header_lines, request_text
from mongoose_py.limits import Limits, as_struct, ws_message_limit
from mongoose_py.mqtt_session import (
    ConnectRequest,
    MqttClientSession,
    MqttSession,
    Reconnect,
    publish_failure,
)
from mongoose_py.timer import Timer
from mongoose_py.tls import server_name_of
from mongoose_py.url import url_host, url_is_ssl, url_pass, url_port, url_uri, url_user

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

    from mongoose_py.handler import AnyHandler
    from mongoose_py.http import Headers
    from mongoose_py.mqtt import Properties
    from mongoose_py.tls import Tls
    from mongoose_py.tls_context import Context, Contexts

_POLLERS = {
    None: lib.MGX_POLLER_DEFAULT,
    "epoll": lib.MGX_POLLER_EPOLL,
    "poll": lib.MGX_POLLER_POLL,
}
_HTTP = {None: lib.MGX_HTTP_BY_SCHEME, False: lib.MGX_HTTP_OFF, True: lib.MGX_HTTP_ON}
_FEW_TARGETS = 16  # not worth a purge
_tags = count(1)
_made_in: dict[int, int] = {}  # address of a struct mg_mgr: process


class _Core(int):
    """The address of a ``struct mg_mgr``, freed with the last reference to this object.

    Managers, connections and timers refer to it. In a cycle that is collected finalizers
    run in any order, so one that is to call C asks :func:`is_alive` first.
    """

    __slots__ = ()

    def __del__(
        self,
        # Bound now: when the interpreter ends, the names of this module may go first.
        made_in: dict[int, int] = _made_in,
        getpid: Callable[[], int] = os.getpid,
        cast: Callable[[str, int], Any] = ffi.cast,
        delete: Callable[[Any], None] = lib.mgx_mgr_delete,
    ) -> None:
        if made_in.pop(int(self), 0) == getpid():  # a forked child shares the sockets
            delete(cast("struct mg_mgr *", int(self)))


def is_alive(
    core: int,
    # Bound now, as above.
    made_in: dict[int, int] = _made_in,
    getpid: Callable[[], int] = os.getpid,
) -> bool:
    """Tell whether there is a ``struct mg_mgr`` at this address, and made in this process."""
    return made_in.get(int(core)) == getpid()


class Manager:
    """An event loop and its connections.

    Every method may be called from any thread, at any time; only ``poll()``, ``run()``
    and ``close()`` refuse while another ``poll()`` is active. Handlers run on the thread
    that polls, or inside the call that causes the event. A manager that nobody holds any
    more closes its sockets without telling anybody.

    Args:
        handler: Default handler, for connections that have none of their own.
        enable_wakeup: Whether :meth:`wakeup` works.
        error_handler: Called with each ``Exception`` that a handler or a timer's callback
            raises. Default: the traceback goes to ``sys.stderr``.
        events: The only events *handler* wants, as numbers; others never enter Python.
            Default: all, but ``MG_EV_POLL`` on accepted connections.
        limits: What peers may do. Default: ``Limits()``.
        on_exception: Called with the exception, the connection and the event number
            (both ``None`` for timers) instead of *error_handler*.
        poller: ``"epoll"`` or ``"poll"``; default: the better one there is.
        answer_500: Whether a request whose handler raised is answered 500 and its
            connection closed. Otherwise it is left as it is.
        send_date: Whether the HTTP server's answers have a ``Date``.
        resolver: How host names are looked up. Default: as the system's files say.

    Raises:
        TypeError: If *handler* cannot be one.
        ValueError: If *poller* is unknown, or an event number.
        SystemCallError: If the system has no descriptor left.
    """

    def __init__(
        self,
        handler: AnyHandler | None = None,
        enable_wakeup: bool = False,
        error_handler: Callable[[Exception], object] | None = None,
        *,
        events: Iterable[int] | None = None,
        limits: Limits | None = None,
        on_exception: Callable[[Exception, Connection | None, int | None], object] | None = None,
        poller: str | None = None,
        answer_500: bool = True,
        send_date: bool = True,
        resolver: Resolver | None = None,
    ) -> None:
        check_handler(handler)
        for hook in (error_handler, on_exception):
            if hook is not None and not callable(hook):
                raise TypeError(f"error handlers must be callable, not {type(hook).__name__}")
        if not isinstance(limits, (Limits, type(None))):
            raise TypeError(f"limits must be Limits, not {type(limits).__name__}")
        if not isinstance(resolver, (Resolver, type(None))):
            raise TypeError(f"resolver must be a Resolver, not {type(resolver).__name__}")
        if poller not in _POLLERS:
            raise ValueError(f"poller must be 'epoll' or 'poll', not {poller!r}")
        default = Target(None, handler, event_masks(handler, events))
        self._handler = handler
        self._error_handler = error_handler
        self._on_exception = on_exception
        self._answer_500 = answer_500
        self._limits = limits or Limits()
        self._ws_limit = ws_message_limit(self._limits)
        self._stopping = False
        self._closed = False
        self._ref = weakref.ref(self)
        self._lock = RLock()  # re-entrant: signal handlers and finalizers run anywhere
        self._conns: dict[int, Connection] = {}  # all that Python has heard of
        self._gone: deque[int] = deque(maxlen=64)  # closed a moment ago, see _adopt()
        self._timers: dict[int, Timer] = {}
        self._targets: dict[int, Target] = {0: default}  # by the number C knows
        self._target_keys: dict[tuple[int, int, int, str, int], Target] = {}
        self._purge_at = _FEW_TARGETS
        self._tls_contexts: Contexts | None = None  # made when TLS is wanted
        self._tag = next(_tags)
        self._mgr: Any = self._new_mgr(_POLLERS[poller])
        self._core = _Core(int(ffi.cast("uintptr_t", self._mgr)))
        _made_in[self._core] = os.getpid()
        _dispatch.managers[self._tag] = self._ref
        lib.mgx_handler_set(self._mgr, 0, default.mask, default.accepted_mask)
        lib.mgx_mgr_set_date(self._mgr, bool(send_date))
        if resolver is not None:
            self._check(resolver._set(self._mgr), "Failed to set the resolver")
        self._wakeup_id = self._new_wakeup() if enable_wakeup else 0

    def _new_mgr(self, poller: int) -> Any:
        err = ffi.new("struct mgx_error *")
        mgr = lib.mgpy_mgr_new(self._tag, as_struct(self._limits), poller, err)
        if not mgr:
            code = lib.MGX_ESYSTEM if err.sys else lib.MGX_ENOMEM
            raise failure(code, "Failed to create a manager", _text(err), err.sys)
        return mgr

    def _new_wakeup(self) -> int:
        number: int = lib.mg_wakeup_init(self._mgr)
        self._check(number, "Failed to enable wakeup")
        return number

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self.close()
        return False

    def __del__(self) -> None:
        """Close the sockets. No handler is called: C finds nobody under this tag."""
        if _dispatch is None:  # the interpreter ends; _Core does what is left to do
            return
        if _dispatch.managers.pop(getattr(self, "_tag", 0), None) is not None:
            if is_alive(self._core):  # a forked child shares the sockets
                lib.mg_mgr_free(self._mgr)
            self._end_all()

    # -- the loop -----------------------------------------------------------

    def poll(self, timeout_ms: float = 0) -> None:
        """Run one turn of the loop.

        Args:
            timeout_ms: Milliseconds to wait for something to do, rounded up; 0 does not
                wait, a negative number waits without limit. Timers shorten the wait.

        Raises:
            Error: If the manager is closed, or another ``poll()`` is active: it is not
                reentrant.
            BaseException: What is not an ``Exception``, from a handler.
        """
        code = lib.mg_mgr_poll(self._mgr, _milliseconds(timeout_ms))
        if code < 0 or _dispatch.kept:
            _dispatch.raise_kept()
            self._check(code, "poll() is not reentrant")

    def run(self, poll_ms: float = 100) -> None:
        """Poll until SIGINT, SIGTERM or :meth:`stop`, then close the manager.

        The first signal lets the running handler finish; SIGINT after that raises
        ``KeyboardInterrupt``. Signals are watched in the main thread only. Whatever ends
        this call, the manager is closed and the handlers of both signals are back.

        Args:
            poll_ms: Milliseconds each turn of the loop waits at most.

        Raises:
            Error: If the manager is closed, or another ``poll()`` is active.
        """
        timeout = _milliseconds(poll_ms)
        code = 0
        previous: dict[int, Any] = {}
        try:
            if current_thread() is main_thread():
                self._watch_signals(previous)
            while code == 0 and not self._stopping:
                code = lib.mg_mgr_poll(self._mgr, timeout)
                _dispatch.raise_kept()
        finally:
            _restore_signals(previous)
            if code != lib.MGX_EBUSY:
                self.close()
        self._check(code, "run() is not reentrant")

    def _watch_signals(self, previous: dict[int, Any]) -> None:
        import signal

        seen: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            if seen and number == signal.SIGINT:
                raise KeyboardInterrupt
            seen.append(number)
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.getsignal(number)
            signal.signal(number, stop)

    def stop(self) -> None:
        """End :meth:`run`, now or as soon as it starts; harmless when repeated."""
        self._stopping = True
        lib.mgx_mgr_interrupt(self._mgr)

    def close(self) -> None:
        """Close every connection, newest first, each with its ``MG_EV_CLOSE``; end timers.

        Harmless when repeated.

        Raises:
            Error: If ``poll()`` is active, in another thread or around this handler.
            BaseException: What is not an ``Exception``, from a handler.
        """
        code = lib.mg_mgr_free(self._mgr)
        if code == lib.MGX_EBUSY:
            raise Error("Cannot close Manager while poll() is active: call stop() instead")
        self._closed = True
        self._end_all()
        _dispatch.raise_kept()

    def _end_all(self) -> None:
        with self._lock:
            for conn in self._conns.values():
                conn._id = 0
            for timer in self._timers.values():
                timer._active = False
            self._conns.clear()
            self._timers.clear()

    def fileno(self) -> int:
        """Return a descriptor that is readable when :meth:`poll` has work.

        With :meth:`next_timeout` this lets another event loop drive the manager.

        Raises:
            OSError: With the ``"poll"`` poller, which has none.
            Error: If the manager is closed.
        """
        fd: int = lib.mgx_mgr_fd(self._mgr)
        if fd == lib.MGX_EKIND:
            raise SystemCallError(errno.EOPNOTSUPP, "the poll poller has no descriptor")
        self._check(fd, "fileno")
        return fd

    def next_timeout(self) -> float | None:
        """Return how many seconds one may wait before the next :meth:`poll`.

        0.0 when work is pending, ``None`` without limit.

        Raises:
            Error: If the manager is closed.
        """
        if self._closed:
            self._check(lib.MGX_ECLOSED, "next_timeout")
        ms: int = lib.mgx_mgr_next_timeout(self._mgr)
        return None if ms < 0 else ms / 1000

    def _check(self, code: int, doing: str, err: Any = None) -> None:
        """Raise for a negative *code*."""
        if code == lib.MGX_ECLOSED:
            raise Error("Manager has been closed")
        if code < 0:
            text, number = ("", 0) if err is None else (_text(err), err.sys)
            raise failure(code, doing, text, number)

    # -- connections --------------------------------------------------------

    def listen(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        http: bool | None = None,
        events: Iterable[int] | None = None,
        reuse_port: bool = False,
        tls: Tls | None = None,
    ) -> Connection:
        """Listen at *url* and return the listener.

        Args:
            url: ``http://127.0.0.1:8000``, ``tcp://[::1]:0``, ``udp://:5000``,
                ``unix:///path``; ``https``, ``wss``, ``mqtts`` or ``tls`` for TLS. Port 0
                picks a free one: see ``local_addr``.
            handler: For the listener and the connections it accepts; ``None``: the
                manager's.
            http: Whether to speak HTTP; ``None``: when the scheme says so.
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.
            reuse_port: Whether several processes or managers may share the port
                (``SO_REUSEPORT``).
            tls: Certificate and key, :class:`~mongoose_py.TlsOpts` or an
                :class:`ssl.SSLContext`; with it TLS is spoken whatever the scheme. A
                listener of a TLS URL without it refuses every connection, unless the
                handler of ``MG_EV_ACCEPT`` calls ``tls_init()``.

        Raises:
            AddressError: If *url* is malformed.
            SystemCallError: If the system refuses the address.
            ValueError: If OpenSSL cannot use *tls*.
            OSError: If a file that *tls* names cannot be read.
            Error: If the manager is closed.
        """
        options = {"http": _http_mode(http), "reuse_port": bool(reuse_port)}
        return self._open(lib.mgx_listen, "listen on", url, handler, events, "", options, tls)

    def connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        http: bool | None = None,
        events: Iterable[int] | None = None,
        tls: Tls | None = None,
    ) -> Connection:
        """Start to connect to *url* and return the connection at once.

        ``MG_EV_RESOLVE`` tells the addresses of a host name, best first; they are tried
        in this order (:rfc:`8305`). ``MG_EV_CONNECT`` tells success, ``MG_EV_TLS_HS`` that
        of a TLS handshake, ``MG_EV_ERROR`` failure. Nothing else is sent by itself; the
        URL's path is for ``request()`` to repeat.

        Args:
            url: As for :meth:`listen`, with an address or a host name.
            handler: ``None``: the manager's.
            http: Whether to speak HTTP; ``None``: when the scheme says so.
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.
            tls: :class:`~mongoose_py.TlsOpts` or an :class:`ssl.SSLContext`; with it TLS
                is spoken whatever the scheme. Default for a TLS URL: ``TlsOpts()``, which
                verifies the server against the system's store and the URL's host.

        Raises:
            AddressError: If *url* is malformed.
            SystemCallError: If the system has no descriptor left.
            ValueError: If OpenSSL cannot use *tls*.
            OSError: If a file that *tls* names cannot be read.
            Error: If the manager is closed, or there is no OpenSSL.
        """
        options = {"http": _http_mode(http)}
        host = _host_line(url, http)
        return self._open(lib.mgx_connect, "connect to", url, handler, events, host, options, tls)

    def http_listen(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        events: Iterable[int] | None = None,
        reuse_port: bool = False,
        tls: Tls | None = None,
    ) -> Connection:
        """Listen for HTTP whatever the scheme; else as :meth:`listen`."""
        return self.listen(url, handler, http=True, events=events, reuse_port=reuse_port, tls=tls)

    def http_connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        events: Iterable[int] | None = None,
        tls: Tls | None = None,
    ) -> Connection:
        """Connect for HTTP whatever the scheme; else as :meth:`connect`."""
        return self.connect(url, handler, http=True, events=events, tls=tls)

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
                request_text("GET", path, _host_line(text, True), header_lines(pairs), b""),
                websocket.accept_for(key),
                ",".join(offered).encode(),
            )
        ]
        head, accept, protocols = [(part, len(part)) for part in kept]
        request = ffi.new("struct mgx_ws_request *", (head, accept, protocols, compression))
        options = {"http": lib.MGX_HTTP_OFF, "ws": request}
        return self._open(lib.mgx_connect, "connect to", url, handler, events, "", options, tls)

    def sntp_connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        events: Iterable[int] | None = None,
    ) -> Connection:
        """Ask an SNTP server for the time and return the connection at once.

        The first request (:rfc:`4330`, :rfc:`5905`) is sent by itself, further ones by
        ``Connection.sntp_request()``. Each answer is ``MG_EV_SNTP_TIME``, with milliseconds
        since 1970; ``MG_EV_ERROR`` tells that there was none for ``Limits.sntp_timeout``, or
        why it is of no use. No clock is set.

        Args:
            url: ``sntp://pool.ntp.org``, port 123, or ``udp://192.0.2.1:123``.
            handler: ``None``: the manager's.
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.

        Raises:
            AddressError: If *url* is malformed, or another kind of URL.
            SystemCallError: If the system has no descriptor left.
            Error: If the manager is closed.
        """
        options = {"http": lib.MGX_HTTP_OFF, "sntp": True}
        doing = "connect to SNTP server"
        return self._open(lib.mgx_connect, doing, url, handler, events, "", options)

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

    # -- MQTT ---------------------------------------------------------------

    def mqtt_connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        client_id: str = "",
        username: str = "",
        password: Data = "",
        clean_session: bool = True,
        keepalive: int = 60,
        *,
        version: int = 4,
        will_topic: str | None = None,
        will_message: Data = b"",
        will_qos: int = 0,
        will_retain: bool = False,
        will_properties: Properties | None = None,
        properties: Properties | None = None,
        session_expiry: int | None = None,
        reconnect: bool | Reconnect | None = None,
        events: Iterable[int] | None = None,
        tls: Tls | None = None,
    ) -> Connection:
        """Start to connect to the MQTT server at *url* and return the connection at once.

        CONNECT is sent by itself (MQTT 5.0, section 3.1), as are pings while nothing else
        is. ``MG_EV_MQTT_OPEN`` tells the server's answer, 0: it is open.
        ``MG_EV_ERROR`` tells failure. What outlives the connection is its
        ``mqtt_session``.

        Args:
            url: ``mqtt://127.0.0.1:1883``. A user and password in it are sent unless
                *username* is given.
            handler: ``None``: the manager's.
            client_id: ``""``: 19 random letters and digits, and a clean session.
            username: ``""``: none.
            password: ``""``: none.
            clean_session: Whether to start without what the server remembers of this
                *client_id*. ``False`` also asks it to remember, in version 5 unless
                *session_expiry* says for how long.
            keepalive: Seconds, 0 to 65535: after so long without a packet the other side
                is gone. A ping leaves after three quarters of it; 0: none does.
            version: 4, which is MQTT 3.1.1, or 5.
            will_topic: Where the server is to publish *will_message* when it loses us.
            will_message: Payload of the will.
            will_qos: 0 to 2.
            will_retain: Whether the will is to be retained.
            will_properties: Of version 5, by name: ``{"will_delay_interval": 30}``.
            properties: Of version 5, for CONNECT: ``{"receive_maximum": 100}``.
            session_expiry: Seconds the server is to keep the session without a
                connection. Version 5.
            reconnect: ``True`` or a :class:`Reconnect`: connect again whenever the
                connection is lost.
            tls: As in :meth:`connect`, for ``mqtts://``.
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.

        Raises:
            AddressError: If *url* is malformed.
            ValueError: If an argument is out of its range, a topic malformed, a
                password without user (3.1.1), or something needs version 5.
            OverflowError: If *keepalive* is not 0 to 65535.
            SystemCallError: If the system has no descriptor left.
            Error: If the manager is closed.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}")
        if not (reconnect is None or isinstance(reconnect, (bool, Reconnect))):
            raise TypeError(f"reconnect must be a Reconnect, not {type(reconnect).__name__}")
        if not username and "\0" not in url and url.partition("://")[0].lower() != "unix":
            username, password = url_user(url), password or url_pass(url)
        will = (will_topic, will_message, will_qos, will_retain, will_properties)
        request = ConnectRequest(
            version,
            client_id,
            username,
            password,
            clean_session,
            keepalive,
            properties,
            session_expiry,
            will,
        )
        policy = reconnect if isinstance(reconnect, Reconnect) else None
        policy = Reconnect() if reconnect is True else policy
        if self._closed:
            self._check(lib.MGX_ECLOSED, "mqtt_connect")
        session = MqttClientSession(self, url, handler, events, request, policy, tls)
        return session._connect()

    def mqtt_listen(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        events: Iterable[int] | None = None,
        reuse_port: bool = False,
        tls: Tls | None = None,
    ) -> Connection:
        """Listen for MQTT clients; else as :meth:`listen`.

        3.1.1 or 5.0 is what each CONNECT says. Acknowledgements of messages go by
        themselves; CONNECT, SUBSCRIBE, UNSUBSCRIBE and PINGREQ, each an
        ``MG_EV_MQTT_CMD``, are for the handler to answer.
        """
        options = {"http": lib.MGX_HTTP_OFF, "mqtt": True, "reuse_port": bool(reuse_port)}
        doing = "listen for MQTT on"
        return self._open(lib.mgx_listen, doing, url, handler, events, "", options, tls)

    def mqtt_session(self) -> MqttSession:
        """Return a new session, for a server to keep for one of its clients."""
        return MqttSession(self)

    def mqtt_broadcast(
        self,
        conns: Iterable[Connection],
        topic: str,
        message: Data,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: Properties | None = None,
    ) -> int:
        """Publish one message on many connections; its packet is made once.

        Left out are connections for which ``Connection.mqtt_pub()`` would raise
        :class:`Error`, and properties on those of version 4.

        Args:
            conns: Connections of this manager.
            topic: Without wildcards.
            message: Payload; ``str`` goes as UTF-8.
            qos: 0 to 2.
            retain: Whether to mark it as retained.
            properties: Of version 5, by name.

        Returns:
            How many took it.

        Raises:
            ValueError: If an argument is not acceptable, or a connection is another
                manager's.
            TypeError: If one is of the wrong type.
            Error: If the manager is closed.
        """
        name = mqtt.utf8(topic, "topic")
        payload = as_bytes(message, "message")
        flags = mqtt.checked_qos(qos) << 1 | bool(retain)
        block = mqtt.properties_block(properties) if properties else b""
        numbers = self._numbers(conns)
        count: int = lib.mgx_mqtt_pub_many(
            self._mgr,
            ffi.new("uint64_t[]", numbers),
            len(numbers),
            name,
            len(name),
            payload,
            len(payload),
            flags,
            block,
            len(block),
            ffi.NULL,
        )
        if count == lib.MGX_EINVAL:
            raise publish_failure(count, topic, len(payload), properties)
        self._check(count, "mqtt_broadcast")
        return count

    def _numbers(self, conns: Iterable[Connection]) -> list[int]:
        """Return the numbers of those that are not closed."""
        mgr = self._mgr
        numbers = []
        for conn in conns:
            number = conn._id
            if number:
                if conn._mgr is not mgr:
                    raise ValueError(f"{conn!r} is not of this manager")
                numbers.append(number)
        return numbers

    def _open(
        self,
        call: Any,
        doing: str,
        url: str,
        handler: AnyHandler | None,
        events: Iterable[int] | None,
        host: str,
        options: dict[str, Any],
        tls: Tls | None = None,
        session: MqttClientSession | None = None,
    ) -> Connection:
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}")
        address = url.encode("utf-8", "surrogateescape")
        err = ffi.new("struct mgx_error *")
        context = self._tls_for(url, tls, call is lib.mgx_listen)
        name = ffi.from_buffer(server_name_of(tls))
        if context is not None:
            options.update(tls=context.number, tls_name=(name, len(name)))
        target = self._pin(handler, events, host, session)
        try:
            opts = ffi.new("struct mgx_open *", {"handler": target.number, **options})
            number = call(self._mgr, address, len(address), opts, err)
            _dispatch.raise_kept()
            self._check(number, f"Failed to {doing} {url!r}", err)
            conn = self._adopt(number)
        finally:
            target.pins -= 1
        if context is not None and conn._tls is None:  # no tls_init() in the meantime
            conn._tls = tls, context
        return conn

    # -- TLS ----------------------------------------------------------------

    @property
    def _tls(self) -> Contexts:
        contexts = self._tls_contexts
        if contexts is None:
            from mongoose_py.tls_context import Contexts

            with self._lock:
                contexts = self._tls_contexts = self._tls_contexts or Contexts(self)
        return contexts

    def _tls_for(self, url: str, tls: Tls | None, is_listener: bool) -> Context | None:
        """Return the context for a new connection, if it is to have one from the start."""
        if tls is None and (is_listener or "\0" in url or not url_is_ssl(url)):
            return None
        if tls is not None and url.partition("://")[0].lower() in ("udp", "sntp"):
            raise ValueError(f"tls: there is none for datagrams, {url!r}")
        return self._tls.get(tls, is_listener)

    def _tls_step(self, number: int, step: Any) -> bool:
        """Do a step of a connection's TLS that C leaves to Python; ``False``: it failed."""
        return self._tls.step(number, step)

    def _tls_name(self, number: int, name: str) -> int:
        """Return the context for what a client asks a server for, -1: none."""
        info = ffi.new("struct mgx_tls_info *")
        if lib.mgx_tls_info(self._mgr, number, info) < 0:
            return -1
        try:
            return self._tls.named(info.tls, name)
        except BaseException as exc:
            self._tls_failed(number, exc)
            return -1

    def _tls_failed(self, number: int, exc: BaseException) -> None:
        """Deal with what a function of server names raised."""
        _dispatch.failed(self, exc, self._adopt(number), MG_EV_TLS_HS)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Snapshot of the live connections, newest first: listeners, accepted, outbound."""
        there = len(self._conns)
        room = 0
        while there > room or not room:
            room = there + 64
            ids = ffi.new("uint64_t[]", room)
            there = lib.mgx_mgr_conns(self._mgr, ids, room)
        found = [self._adopt(ids[i]) for i in range(there)]
        return tuple([conn for conn in found if conn._id])

    def _adopt(self, number: int) -> Connection:
        """Return the connection of this number; a closed one when there is none.

        C is asked with the lock held, so that ``_forget()`` comes before or after, not
        between. A number may have been forgotten that C is about to let go of.
        """
        with self._lock:
            conn = self._conns.get(number)
            if conn is not None:
                return conn
            handler = lib.mgx_conn_handler(self._mgr, number)
            if handler < 0 or number in self._gone:
                return Connection()
            conn = Connection._open(self, number, self._targets[handler])
            return self._conns.setdefault(number, conn)

    def _forget(self, number: int) -> None:
        """Put a connection into the closed state: its ``MG_EV_CLOSE`` is over."""
        if self._tls_contexts is not None:
            self._tls_contexts.forget(number)
        with self._lock:
            self._gone.append(number)
            conn = self._conns.pop(number, None)
            if conn is not None:
                conn._id = 0
        if conn is not None and conn._mqtt is not None:
            conn._mqtt._lost(conn)

    # -- handlers -----------------------------------------------------------

    def _pin(
        self,
        handler: AnyHandler | None,
        events: Iterable[int] | None,
        host: str = "",
        session: MqttClientSession | None = None,
    ) -> Target:
        """Return what stands for *handler*, safe from purges until ``pins`` is lowered."""
        check_handler(handler)
        with self._lock:
            target = self._targets[0]
            if handler is not None or events is not None:
                used = self._handler if handler is None else handler
                target = self._target(handler, event_masks(used, events), host, session)
            elif host or session is not None:
                masks = target.mask, target.accepted_mask
                target = self._target(None, masks, host, session)
            target.pins += 1
            return target

    def _target(
        self,
        handler: AnyHandler | None,
        masks: tuple[int, int],
        host: str,
        session: MqttClientSession | None,
    ) -> Target:
        # The ids stay taken: the target keeps what they are of.
        key = (id(handler), *masks, host, id(session))
        target = self._target_keys.get(key)
        if target is None:
            if len(self._targets) >= self._purge_at:
                self._purge_targets()
            target = Target(handler, self._handler, masks, host, session)
            target.number = lib.mgx_handler_add(self._mgr, *masks)
            self._check(target.number, "Failed to add a handler")
            self._targets[target.number] = target
            self._target_keys[key] = target
        return target

    def _purge_targets(self) -> None:
        """Forget handlers that no connection has. Twice as many may come before the next time."""
        for key, target in list(self._target_keys.items()):
            if not target.pins and lib.mgx_handler_drop(self._mgr, target.number) == 1:
                del self._target_keys[key], self._targets[target.number]
        self._purge_at = max(_FEW_TARGETS, 2 * len(self._targets))

    def _set_handler(
        self, conn: Connection, handler: AnyHandler | None, events: Iterable[int] | None
    ) -> None:
        target = self._pin(handler, events)
        try:
            with self._lock:  # conn._target and C must change in the same order
                if lib.mgx_conn_set_handler(self._mgr, conn._id, target.number) >= 0:
                    conn._target = target
        finally:
            target.pins -= 1

    def _report(self, exc: Exception, conn: Connection | None, ev: int | None) -> None:
        """Tell the user's error handler, or else ``sys.stderr``."""
        try:
            if self._on_exception is not None:
                self._on_exception(exc, conn, ev)
            elif self._error_handler is not None:
                self._error_handler(exc)
            else:
                _print_exception(exc)
        except Exception as second:
            _print_exception(second)
        except BaseException as second:
            _dispatch.keep(self, second)

    # -- wake-up and timers -------------------------------------------------

    def wakeup(self, connection_id: int, data: Data = b"") -> bool:
        """Deliver ``MG_EV_WAKEUP`` with *data* to a connection, in the loop and in order.

        Args:
            connection_id: ``Connection.id``; :attr:`wakeup_id` only ends the wait of
                ``poll()``.
            data: Any size up to ``Limits.wakeup_payload``.

        Returns:
            Whether it was taken: not without ``enable_wakeup``, for a connection that is
            gone, or when ``Limits.wakeup_queue`` is full.

        Raises:
            ValueError: If *data* is too large.
            Error: If the manager is closed.
        """
        payload = as_bytes(data)
        largest = self._limits.wakeup_payload
        if largest and len(payload) > largest:
            raise ValueError(f"data must be at most {largest} bytes, not {len(payload)}")
        code: int = lib.mg_wakeup(self._mgr, connection_id, payload, len(payload))
        if code < 0 and code != lib.MGX_ELIMIT:
            self._check(code, "wakeup")
        return code == 1

    @property
    def wakeup_id(self) -> int:
        """Number to end a wait with; 0 without ``enable_wakeup``."""
        return self._wakeup_id

    def timer_add(
        self,
        milliseconds: float,
        callback: Callable[[], object],
        repeat: bool = False,
        run_now: bool = False,
    ) -> Timer:
        """Have *callback* called after a time that counts from now.

        Due timers fire in the order of their times. A repeating timer that is late drops
        what it missed. Exceptions take the way of those of handlers, and the timer goes on.

        Args:
            milliseconds: Rounded up; 0: in the next ``poll()``.
            callback: Called without arguments.
            repeat: Whether it fires until cancelled.
            run_now: Whether the first call comes in the next ``poll()``; without *repeat*
                it is the only one.

        Raises:
            ValueError: If *milliseconds* is 0 and *repeat* is set.
            OverflowError: If *milliseconds* is negative.
            TypeError: If *callback* is not callable.
            Error: If the manager is closed.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        ms = _milliseconds(milliseconds)
        flags = (lib.MG_TIMER_REPEAT if repeat else 0) | (lib.MG_TIMER_RUN_NOW if run_now else 0)
        timer = Timer(self, callback)
        with self._lock:  # another thread may fire it before its number is written down
            number: int = lib.mg_timer_add(self._mgr, ms, flags)
            if number == lib.MGX_EINVAL:
                raise ValueError(f"milliseconds must be 1 or more to repeat, not {milliseconds}")
            self._check(number, "timer_add")
            timer._number = number
            self._timers[number] = timer
        return timer

    def _due(self, number: int, active: bool) -> Timer | None:
        """Return the timer that fires, unless it was cancelled; *active*: it goes on."""
        with self._lock:
            timer = self._timers.get(number)
            if timer is None or not timer._active:
                return None
            if not active:
                timer._active = False
                del self._timers[number]
            return timer


def _text(err: Any) -> str:
    text: str = ffi.string(err.text).decode("utf-8", "replace")
    return text


def _restore_signals(previous: dict[int, Any]) -> None:
    if previous:
        import signal

        for number, handler in previous.items():
            # None: not set by Python, so it cannot be put back by Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _milliseconds(value: float) -> int:
    return math.ceil(value) if isinstance(value, float) else index(value)


def _http_mode(http: bool | None) -> int:
    mode: int = _HTTP[http if http is None else bool(http)]
    return mode


def _host_line(url: str, http: bool | None) -> str:
    """Return the value of ``Host`` for requests to *url*, RFC 9110 section 7.2.

    ``""`` when it will not speak HTTP, or is no URL at all: C says what is wrong with it.
    """
    if http is False or not isinstance(url, str) or "\0" in url:
        return ""
    scheme = url.partition("://")[0].lower()
    if http is None and scheme not in ("http", "https", "ws", "wss"):
        return ""
    if scheme == "unix":
        return "localhost"
    host, port = url_host(url), url_port(url)
    host = host.partition("%")[0] + "]" if "%" in host else host  # a zone is not for the wire
    usual = 443 if url_is_ssl(url) else 80
    return host if port in (0, usual) else f"{host}:{port}"


def _print_exception(exc: BaseException) -> None:
    import traceback

    traceback.print_exception(type(exc), exc, exc.__traceback__)
