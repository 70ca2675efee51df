"""The manager: one event loop, its connections, handlers and timers.

Here are the loop, and what concerns connections of any kind; what a manager can do with
HTTP, WebSocket and MQTT comes from the files of these topics.
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

from mongoose_py import _dispatch
from mongoose_py._args import Data, as_bytes
from mongoose_py._core import Core, is_alive, made_in
from mongoose_py._manager import FEW_TARGETS
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.dns import Lookup, Resolver
from mongoose_py.errors import Error, SystemCallError, error_text, failure
from mongoose_py.handler import Handler, Target, check_handler, event_masks
from mongoose_py.http import host_line
from mongoose_py.http_manager import HttpManager
from mongoose_py.limits import Limits, as_struct, ws_message_limit
from mongoose_py.mqtt_manager import MqttManager
from mongoose_py.timer import Timer
from mongoose_py.websocket_manager import WebsocketManager

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

    from mongoose_py.connection import Connection
    from mongoose_py.handler import AnyHandler
    from mongoose_py.tls import Tls

_POLLERS = {
    None: lib.MGX_POLLER_DEFAULT,
    "epoll": lib.MGX_POLLER_EPOLL,
    "poll": lib.MGX_POLLER_POLL,
}
_HTTP = {None: lib.MGX_HTTP_BY_SCHEME, False: lib.MGX_HTTP_OFF, True: lib.MGX_HTTP_ON}
_LOOK = 0.05  # seconds; how often those are told to end that have come to be meanwhile
_tags = count(1)


class Manager(HttpManager, WebsocketManager, MqttManager):
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
        self._told_of_accepted = False  # an error of an accepted connection was logged
        self._ref = weakref.ref(self)
        self._lock = RLock()
        self._conns = {}
        self._gone = deque(maxlen=64)
        self._timers = {}
        self._targets = {0: default}
        self._target_keys = {}
        self._purge_at = FEW_TARGETS
        self._tls_contexts = None
        self._tag = next(_tags)
        self._mgr = self._new_mgr(_POLLERS[poller])
        self._core = Core(int(ffi.cast("uintptr_t", self._mgr)))
        made_in[self._core] = os.getpid()
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
            raise failure(code, "Failed to create a manager", error_text(err), err.sys)
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

    def run(self, poll_ms: float = 100, *, drain: float = 0) -> None:
        """Poll until SIGINT, SIGTERM or :meth:`stop`, then close the manager.

        The first signal lets the running handler finish; SIGINT after that raises
        ``KeyboardInterrupt``. Signals are watched in the main thread only. Whatever ends
        this call, the manager is closed and the handlers of both signals are back.

        With *drain* it ends in good order: listeners are closed at once; HTTP servers
        answer the requests that have begun to come in, and end event streams; WebSockets
        are told 1001 (:rfc:`6455`, section 7.4.1), MQTT clients 0x8b; other connections
        end when all is sent. Outbound ones do when those that came in have ended:
        meanwhile handlers and timers go on. Another signal ends the wait.

        Args:
            poll_ms: Milliseconds each turn of the loop waits at most.
            drain: Seconds that the end may take; 0: none.

        Raises:
            ValueError: If *drain* is negative or no number.
            Error: If the manager is closed, or another ``poll()`` is active.
        """
        timeout = _milliseconds(poll_ms)
        if not drain >= 0:  # false for NaN as well
            raise ValueError(f"drain must be 0 seconds or more, not {drain}")
        code = 0
        signals: list[int] = []
        previous: dict[int, Any] = {}
        try:
            if current_thread() is main_thread():
                self._watch_signals(previous, signals)
            while code == 0 and not self._stopping:
                code = lib.mg_mgr_poll(self._mgr, timeout)
                _dispatch.raise_kept()
            if code == 0 and drain:
                code = self._drain(drain, signals)
        finally:
            _restore_signals(previous)
            if code != lib.MGX_EBUSY:
                self.close()
        self._check(code, "run() is not reentrant")

    def _drain(self, seconds: float, signals: list[int]) -> int:
        """Let connections end for so long, or until one more of *signals* comes."""
        from time import monotonic

        from mongoose_py._farewell import Farewell

        farewell = Farewell(self)
        seen = len(signals)
        now = look = monotonic()
        end = now + seconds
        code = 0
        while code == 0 and now < end and len(signals) == seen:
            if now >= look:  # now and then, for there may be many
                farewell.go_on()
                look = now + _LOOK
            if not lib.mgx_mgr_conns(self._mgr, ffi.NULL, 0):
                return 0
            code = lib.mg_mgr_poll(self._mgr, _milliseconds(min(_LOOK, end - now) * 1000))
            _dispatch.raise_kept()
            now = monotonic()
        if code == 0:
            farewell.go_on(hurry=True)
            code = lib.mg_mgr_poll(self._mgr, 0)
            _dispatch.raise_kept()
        return code

    def _watch_signals(self, previous: dict[int, Any], seen: list[int]) -> None:
        import signal

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
        host = host_line(url, http)
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

    def resolve(
        self, url: str, callback: Callable[[list[tuple[str, int, bool]], str], object]
    ) -> Lookup:
        """Look up the host of *url* without a connection, as :class:`Resolver` says.

        A UDP socket on the loopback is open meanwhile, one of ``Limits.connections``.
        Exceptions of *callback* take the way of those of timers. When the manager is closed
        first it is not called.

        Args:
            url: ``example.com``, ``example.com:80``, ``tcp://example.com:80``; as for
                ``Connection.resolve()``.
            callback: Called once by the loop, with a list of ``(ip, port, is_ipv6)``, best
                first, and ``""``; or with ``[]`` and a text that says why there is none.

        Raises:
            AddressError: If *url* is malformed.
            TypeError: If *url* is no text, or *callback* not callable.
            SystemCallError: If the system has no descriptor left.
            Error: If the manager is closed, or ``Limits.connections`` stands against it.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        lookup = Lookup(callback)
        carrier = self._open(
            lib.mgx_connect, "resolve on", "udp://127.0.0.1:9", Handler(), None, "", {}
        )
        lookup._begin(carrier, url)
        return lookup

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Snapshot of the live connections, newest first: listeners, accepted, outbound."""
        there = len(self._conns)
        while True:
            room = there + 64
            ids = ffi.new("uint64_t[]", room)
            there = lib.mgx_mgr_conns(self._mgr, ids, room)
            if there <= room:
                break
        found = [self._adopt(ids[i]) for i in range(there)]
        return tuple([conn for conn in found if conn._id])

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
