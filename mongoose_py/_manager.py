"""What all the parts of a manager share: who is who, on both sides of the border to C.

:class:`~mongoose_py.Manager` is put together from one part for each protocol, each in
a file of its own; this is what they stand on. It owns what must outlive a callback on
the Python side: the ``Connection`` of each number that has come up, the handler behind
each number that C was given, the callbacks of timers. C owns everything else, and is
asked for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from mongoose_py import _dispatch
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.connection import Connection
from mongoose_py.errors import Error, error_text, failure
from mongoose_py.events import MG_EV_TLS_HS
from mongoose_py.handler import Target, check_handler, event_masks
from mongoose_py.tls import server_name_of
from mongoose_py.url import url_is_ssl

if TYPE_CHECKING:
    import weakref
    from collections import deque
    from collections.abc import Iterable
    from threading import RLock

    from mongoose_py._core import Core
    from mongoose_py.handler import AnyHandler
    from mongoose_py.limits import Limits
    from mongoose_py.manager import Manager
    from mongoose_py.mqtt_session import MqttClientSession
    from mongoose_py.timer import Timer
    from mongoose_py.tls import Tls
    from mongoose_py.tls_context import Context, Contexts

FEW_TARGETS = 16  # not worth a purge


class BaseManager:
    """The state of a :class:`~mongoose_py.Manager`, and what its parts have in common."""

    _mgr: Any  # struct mg_mgr *
    _core: Core  # keeps what _mgr points at
    _ref: weakref.ref[Manager]
    _closed: bool
    _limits: Limits
    _handler: AnyHandler | None
    _error_handler: Callable[[Exception], object] | None
    _on_exception: Callable[[Exception, Connection | None, int | None], object] | None
    _lock: RLock  # re-entrant: signal handlers and finalizers run anywhere
    _conns: dict[int, Connection]  # all that Python has heard of
    _gone: deque[int]  # closed a moment ago, see _adopt()
    _timers: dict[int, Timer]
    _targets: dict[int, Target]  # by the number C knows
    _target_keys: dict[tuple[int, int, int, str, int], Target]
    _purge_at: int
    _tls_contexts: Contexts | None  # made when TLS is wanted

    def _check(self, code: int, doing: str, err: Any = None) -> None:
        """Raise for a negative *code*."""
        if code == lib.MGX_ECLOSED:
            raise Error("Manager has been closed")
        if code < 0:
            text, number = ("", 0) if err is None else (error_text(err), err.sys)
            raise failure(code, doing, text, number)

    # -- connections --------------------------------------------------------

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
        self._purge_at = max(FEW_TARGETS, 2 * len(self._targets))

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


def _print_exception(exc: BaseException) -> None:
    import traceback

    traceback.print_exception(type(exc), exc, exc.__traceback__)
