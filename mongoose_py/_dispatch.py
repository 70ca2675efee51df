"""The one door from C into Python: every callback of the C core is here.

A callback gets the tag of its manager and the number of a connection: integers,
which cost nothing. None lets an exception through, for C has nowhere to put it:
an ``Exception`` goes to the manager's error handlers; the first of any other
kind is kept for the thread it happened on, and raised by the call that entered
C (:func:`raise_kept`), which the loop leaves early for that reason.

What a handler is given borrows from C, so a message is switched off when its
handler has returned, whatever happened.
"""

from __future__ import annotations

import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any

from mongoose_py import logs
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.events import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_MSG,
    MG_EV_MQTT_OPEN,
    MG_EV_RESOLVE,
    MG_EV_SNTP_TIME,
    MG_EV_TLS_HS,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    event_name,
)
from mongoose_py.http import ReceivedMessage
from mongoose_py.mqtt import ReceivedMqtt
from mongoose_py.websocket import COMPRESSED, Deflate, Unacceptable, WsMessage

if TYPE_CHECKING:
    from types import TracebackType

    from mongoose_py._manager import BaseManager
    from mongoose_py.connection import Connection
    from mongoose_py.manager import Manager

_WANTS_ERROR = 1 << MG_EV_ERROR
_WANTS_WS_MSG = 1 << MG_EV_WS_MSG
# A connection whose handler failed here is not what the program takes it for: the request
# was not made, the TLS not switched on, the others not told.
_BEGINNINGS = {MG_EV_ACCEPT, MG_EV_CONNECT, MG_EV_TLS_HS, MG_EV_WS_OPEN, MG_EV_MQTT_OPEN}
_INTERNAL_ERROR = 1011  # RFC 6455, 7.4.1

# Weak, so that a manager nobody holds goes away and takes its sockets with it.
managers: dict[int, weakref.ref[Manager]] = {}
PAUSED, DRAINED, CLOSED = -1, 1, 2  # Connection._ended; 0: none of them
kept: dict[int, BaseException] = {}  # by thread: C is entered and left on the same one

_buffer = ffi.buffer
_unpack = ffi.unpack
_new = object.__new__  # a call of the class takes half as long again


def raise_kept() -> None:
    """Raise what a callback on this thread had to keep, if anything."""
    exc = kept.pop(get_ident(), None) if kept else None
    if exc is not None:
        raise exc


def keep(manager: BaseManager | None, exc: BaseException) -> None:
    """Keep the first exception that has to leave the loop, and have the loop left."""
    kept.setdefault(get_ident(), exc)
    if manager is not None:
        lib.mgx_mgr_break(manager._mgr)


def failed(
    manager: BaseManager, exc: BaseException, conn: Connection | None, ev: int | None
) -> None:
    """Deal with what a handler or a timer's callback raised."""
    if isinstance(exc, Exception):
        manager._report(exc, conn, ev)
    else:
        keep(manager, exc)


def _failed(manager: Manager, exc: BaseException, conn: Connection, ev: int) -> None:
    """Deal with what the handler of an event raised; end a connection that was to begin.

    What is no ``Exception`` says nothing about the connection.
    """
    failed(manager, exc, conn, ev)
    if ev not in _BEGINNINGS or not isinstance(exc, Exception):
        return
    if conn._is_closing() or conn._is(lib.MGX_IS_DRAINING):
        return
    conn._ended = CLOSED
    text = f"the handler of {event_name(ev)} raised {type(exc).__name__}"
    if conn._mqtt is not None:
        conn._mqtt._failed(text)
    reason = text.encode("utf-8", "replace")
    if ev == MG_EV_WS_OPEN:
        lib.mgx_ws_fail(manager._mgr, conn._id, _INTERNAL_ERROR, reason, len(reason))
    elif conn._target.mask & _WANTS_ERROR:
        lib.mgx_conn_error(manager._mgr, conn._id, reason, len(reason))
    else:
        lib.mgx_close(manager._mgr, conn._id)  # the exception itself is told already


def _outside(
    _type: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> None:
    """Keep an exception that came between two lines of a callback below.

    A ``KeyboardInterrupt`` can land there. cffi would print it and go on.
    """
    names: dict[str, Any] = traceback.tb_frame.f_locals if traceback is not None else {}
    manager = _manager(names.get("tag", 0))
    keep(manager, exc)
    if manager is not None:
        _tidy(manager, names)


def _tidy(manager: Manager, names: dict[str, Any]) -> None:
    """Do what does not bear waiting of what the callback had still to do."""
    number = names.get("number", 0)
    message = names.get("message")
    if message is not None:
        message._switch_off()
    if "wanted" in names:
        manager._forget(number)
    elif "active" in names:
        manager._due(number, bool(names["active"]))
    elif "raw" in names and "ids" not in names and manager._answer_500:
        lib.mgx_http_fail(manager._mgr, number)  # the handler may not have got it


def _manager(tag: int) -> Manager | None:
    """Return the manager, ``None`` when it is just being dropped."""
    ref = managers.get(tag)
    return None if ref is None else ref()


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_event(tag: int, number: int, ev: int) -> None:
    """Deliver an event that has no data."""
    manager = _manager(tag)
    if manager is None:
        return
    _deliver_plain(manager, manager._conns.get(number) or manager._adopt(number), ev)


def _deliver_plain(manager: Manager, conn: Connection, ev: int) -> None:
    target = conn._target
    try:
        if target.fn is not None:
            target.fn(conn, ev, None)
        else:
            target.without_data[ev](conn)
    except BaseException as exc:
        _failed(manager, exc, conn, ev)


def _outside_batch(
    kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> int:
    """Keep an exception like :func:`_outside`; return how many of a batch were delivered."""
    names: dict[str, Any] = traceback.tb_frame.f_locals if traceback is not None else {}
    ids, number, conn = names.get("ids"), names.get("number"), names.get("conn")
    # A message that is still valid has not been given to a handler.
    begun = conn is not None and conn._id == number and not names.get("message")
    _outside(kind, exc, traceback)
    if ids is None or number is None:
        return 0
    delivered: int = ids.index(number) + begun
    return delivered


@ffi.def_extern(onerror=_outside_batch)  # type: ignore[untyped-decorator]
def mgpy_on_events(tag: int, numbers: Any, evs: Any, count: int) -> int:
    """Deliver events without data, one of each connection; return how many."""
    manager: Any = managers[tag]()
    conns = manager._conns
    ids = _unpack(numbers, count)
    for number, ev in zip(ids, _unpack(evs, count)):
        try:
            conn = conns[number]
        except KeyError:
            conn = manager._adopt(number)
        if conn._ended == CLOSED:  # by the handler of another one, a moment ago
            continue
        target = conn._target
        try:
            fn = target.fn
            if fn is None:
                target.without_data[ev](conn)
            else:
                fn(conn, ev, None)
        except BaseException as exc:
            _failed(manager, exc, conn, ev)
            if kept:  # the loop is to be left; the others come in its next turn
                delivered: int = ids.index(number) + 1
                return delivered
    return count


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_data(tag: int, number: int, ev: int, data: Any, size: int) -> None:
    """Deliver bytes, or the text of an error."""
    manager = _manager(tag)
    if manager is None:
        return
    conn = manager._conns.get(number) or manager._adopt(number)
    payload = _buffer(data, size)[:] if size else b""
    if ev == MG_EV_ERROR:
        _deliver_error(manager, conn, payload.decode("utf-8", "ignore"))
    else:
        _deliver(manager, conn, ev, payload)


def _deliver(manager: Manager, conn: Connection, ev: int, data: object) -> None:
    target = conn._target
    try:
        if target.fn is not None:
            target.fn(conn, ev, data)
        else:
            target.with_data[ev](conn, data)
    except BaseException as exc:
        _failed(manager, exc, conn, ev)


def _deliver_error(manager: Manager, conn: Connection, message: str) -> None:
    """Deliver ``MG_EV_ERROR``, which is logged when no handler takes it.

    Anybody who can connect could fill the log: of accepted connections the first error
    is a warning, the others are for those who look for them.
    """
    if conn._mqtt is not None:
        conn._mqtt._failed(message)
    if conn._target.mask & _WANTS_ERROR:
        _deliver(manager, conn, MG_EV_ERROR, message)
    else:
        accepted = conn._is(lib.MGX_IS_ACCEPTED)
        if accepted and not manager._told_of_accepted:
            manager._told_of_accepted, accepted = True, False
            message += " (of accepted connections later errors are logged at DEBUG)"
        logs.log_untaken_error(conn._id, message, quietly=accepted)


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_http(tag: int, number: int, ev: int, raw: Any) -> None:
    """Deliver a request or a response.

    The hot path, so what the other callbacks share is written out here and below: a
    call costs as much as four of these lines. The manager is alive, for it polls.
    """
    manager: Any = managers[tag]()
    message = ReceivedMessage()
    message._raw = raw
    message._head = None
    try:
        conn = manager._conns[number]
    except KeyError:
        conn = manager._adopt(number)
    target = conn._target
    try:
        fn = target.fn
        if fn is None:
            target.with_data[ev](conn, message)
        else:
            fn(conn, ev, message)
    except BaseException as exc:
        _failed_http(manager, exc, conn, ev)
    finally:
        message._raw = None


@ffi.def_extern(onerror=_outside_batch)  # type: ignore[untyped-decorator]
def mgpy_on_http_batch(tag: int, numbers: Any, events: Any, count: int) -> int:
    """Deliver the requests of a turn, one of each connection; return how many."""
    manager: Any = managers[tag]()
    conns = manager._conns
    ids = _unpack(numbers, count)
    for number, raw in zip(ids, _unpack(events, count)):
        message = ReceivedMessage()
        message._raw = raw
        message._head = None
        try:
            conn = conns[number]
        except KeyError:
            conn = manager._adopt(number)
        if conn._ended > 0:  # by the handler of another one, a moment ago
            continue
        target = conn._target
        try:
            fn = target.fn
            if fn is None:
                target.with_data[MG_EV_HTTP_MSG](conn, message)
            else:
                fn(conn, MG_EV_HTTP_MSG, message)
        except BaseException as exc:
            _failed_http(manager, exc, conn, MG_EV_HTTP_MSG)
            if kept:  # the loop is to be left; the others come in its next turn
                delivered: int = ids.index(number) + 1
                return delivered
        finally:
            message._raw = None
    return count


def _failed_http(manager: Manager, exc: BaseException, conn: Connection, ev: int) -> None:
    failed(manager, exc, conn, ev)
    if manager._answer_500 and conn._id:
        lib.mgx_http_fail(manager._mgr, conn._id)


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_ws_open(tag: int, number: int, raw: Any) -> None:
    """Deliver a finished handshake, having looked at the extension it agreed on."""
    manager = _manager(tag)
    if manager is None:
        return
    conn = manager._conns.get(number) or manager._adopt(number)
    message = ReceivedMessage()
    message._raw = raw
    message._head = None
    try:
        if message.status() == 101:  # a client's: the server has chosen
            conn._deflate = Deflate.chosen(message)
        _deliver(manager, conn, MG_EV_WS_OPEN, message)
    except Unacceptable as exc:
        _ws_fail(manager, number, exc)
    finally:
        message._raw = None


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_ws(tag: int, number: int, ev: int, first: int, data: Any, size: int) -> None:
    """Deliver a message, a ping, a pong or a close frame. A hot path as well."""
    manager: Any = managers[tag]()
    try:
        conn = manager._conns[number]
    except KeyError:
        conn = manager._adopt(number)
    target = conn._target
    message = WsMessage()
    message.data = _unpack(data, size) if size else b""
    message.raw_flags = first
    try:
        if first & COMPRESSED:
            message.data = conn._deflate.inflate(message.data, first, manager._ws_limit)
        fn = target.fn
        if fn is None:
            target.with_data[ev](conn, message)
        else:
            fn(conn, ev, message)
    except Unacceptable as exc:
        _ws_fail(manager, number, exc)
    except BaseException as exc:
        failed(manager, exc, conn, ev)
    finally:
        message.data = b""
        message.raw_flags = 0


def _outside_ws_batch(
    kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> int:
    """Keep an exception like :func:`_outside`; return how many messages were delivered."""
    names: dict[str, Any] = traceback.tb_frame.f_locals if traceback is not None else {}
    _outside(kind, exc, traceback)
    delivered: int = names.get("done", 0)
    return delivered


@ffi.def_extern(onerror=_outside_ws_batch)  # type: ignore[untyped-decorator]
def mgpy_on_ws_batch(tag: int, numbers: Any, firsts: Any, ends: Any, data: Any, count: int) -> int:
    """Deliver the short messages of a turn, those of a connection together; return how many."""
    manager: Any = managers[tag]()
    conns = manager._conns
    limits = _unpack(ends, count)
    text = _unpack(data, limits[-1])
    conn: Any = None
    target: Any = None
    fn: Any = None
    method: Any = None
    last = done = start = 0
    for number, first, end in zip(_unpack(numbers, count), _unpack(firsts, count), limits):
        if number != last:
            last = number
            try:
                conn = conns[number]
            except KeyError:
                conn = manager._adopt(number)
        if conn._target is not target:  # most connections have the same one
            target = conn._target
            fn = target.fn
            method = target.with_data[MG_EV_WS_MSG] if fn is None else None
            if not target.mask & _WANTS_WS_MSG:  # a handler has just set it
                fn, method = None, _nobody
        if conn._ended:  # by a handler, a moment ago
            if conn._ended == PAUSED:
                break
            start = end
            done += 1
            continue
        message = WsMessage()
        message.data = text[start:end]
        message.raw_flags = first
        start = end
        try:
            if fn is None:
                method(conn, message)
            else:
                fn(conn, MG_EV_WS_MSG, message)
        except BaseException as exc:
            failed(manager, exc, conn, MG_EV_WS_MSG)
            if kept:  # the loop is to be left; the others come in its next turn
                return done + 1
        finally:
            message.data = b""
            message.raw_flags = 0
        done += 1
    return done


def _nobody(conn: Connection, message: object) -> None:
    """Stand in for the method of a handler that does not take the event."""


def _ws_fail(manager: Manager, number: int, exc: Unacceptable) -> None:
    """End a connection whose peer sent what C could not look into."""
    text = str(exc).encode()
    lib.mgx_ws_fail(manager._mgr, number, exc.code, text, len(text))


def _outside_name(
    kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> int:
    """Keep an exception like :func:`_outside`; a name nobody has decided about is refused."""
    _outside(kind, exc, traceback)
    return -1


@ffi.def_extern(onerror=_outside_name)  # type: ignore[untyped-decorator]
def mgpy_on_tls_name(tag: int, number: int, name: Any, size: int) -> int:
    """Return the TLS context for the server name that a client asks for."""
    manager = _manager(tag)
    if manager is None:
        return -1
    context: int = manager._tls_name(number, _buffer(name, size)[:].decode("ascii", "replace"))
    return context


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_tls_step(tag: int, number: int, step: Any) -> None:
    """Do a step of a connection whose TLS is Python's."""
    step.failed = True  # unless it comes to its end
    manager = _manager(tag)
    if manager is not None and manager._tls_step(number, step):
        step.failed = False


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_mqtt(tag: int, number: int, ev: int, packet: Any) -> None:
    """Deliver a packet. For messages a hot path as well."""
    manager: Any = managers[tag]()
    message = _new(ReceivedMqtt)
    message._raw = packet
    try:
        conn = manager._conns[number]
    except KeyError:
        conn = manager._adopt(number)
    target = conn._target
    data: Any = message
    try:
        if ev != MG_EV_MQTT_MSG:
            if conn._mqtt is not None:
                conn._mqtt._heard(ev == MG_EV_MQTT_OPEN, message)
            if not packet.wanted:
                return
            if ev == MG_EV_MQTT_OPEN:
                data = message.ack
        fn = target.fn
        if fn is None:
            target.with_data[ev](conn, data)
        else:
            fn(conn, ev, data)
    except BaseException as exc:
        _failed(manager, exc, conn, ev)
    finally:
        message._raw = None


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_sntp(tag: int, number: int, result: Any) -> None:
    """Deliver the time; the rest of the result is asked for."""
    manager = _manager(tag)
    if manager is None:
        return
    conn = manager._conns.get(number) or manager._adopt(number)
    _deliver(manager, conn, MG_EV_SNTP_TIME, result.time_ms)


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_resolve(tag: int, number: int, addrs: Any, count: int) -> None:
    """Deliver the addresses of a peer, best first."""
    manager = _manager(tag)
    if manager is None:
        return
    conn = manager._conns.get(number) or manager._adopt(number)
    _deliver(manager, conn, MG_EV_RESOLVE, [address(addrs[i]) for i in range(count)])


def address(addr: Any) -> tuple[str, int, bool]:
    """Return a ``struct mgx_addr`` as Python has it."""
    ip = ffi.string(addr.ip).decode("utf-8", "surrogateescape")
    return ip, addr.port, addr.is_ip6


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_close(tag: int, number: int, wanted: int) -> None:
    """Deliver the last event of a connection, and forget it whatever happens."""
    manager = _manager(tag)
    if manager is None:
        return
    try:
        if wanted:
            conn = manager._conns.get(number) or manager._adopt(number)
            _deliver_plain(manager, conn, MG_EV_CLOSE)
    finally:
        manager._forget(number)


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_timer(tag: int, number: int, active: int) -> None:
    """Call a timer's callback."""
    manager = _manager(tag)
    timer = None if manager is None else manager._due(number, bool(active))
    if manager is None or timer is None:
        return
    try:
        timer._callback()
    except BaseException as exc:
        failed(manager, exc, None, None)


@ffi.def_extern(onerror=_outside)  # type: ignore[untyped-decorator]
def mgpy_on_log(tag: int, level: int, text: Any, size: int) -> None:
    """Pass a log line on."""
    manager = _manager(tag)
    try:
        logs.log_line(level, _buffer(text, size)[:].decode("utf-8", "replace") if size else "")
    except BaseException as exc:
        if manager is not None:
            failed(manager, exc, None, None)
