"""Handlers: who is told about what.

A user's handler is a callable or a :class:`Handler`. To the C core a handler is
a number with two sets of events, for the connections it is set on and for those
that a listener accepts; what is not in the set never enters Python. A
:class:`Target` is what stands behind such a number on this side.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING, Any, Callable, Union

from mongoose_py import events
from mongoose_py._mongoose_cffi import lib

if TYPE_CHECKING:
    from mongoose_py.connection import Connection
    from mongoose_py.http import HttpMessage
    from mongoose_py.mqtt import MqttMessage
    from mongoose_py.mqtt_session import MqttClientSession
    from mongoose_py.websocket import WsMessage

ALL_EVENTS = (1 << events.MG_EV_USER) - 1
_POLL = 1 << events.MG_EV_POLL
_READ = 1 << events.MG_EV_READ
_READ_WITH_DATA = 1 << lib.MGX_READ_WITH_DATA_SHIFT
_MQTT_BOTH = 1 << events.MG_EV_MQTT_MSG | 1 << events.MG_EV_MQTT_CMD
_MQTT_NO_PUBLISH_CMD = 1 << lib.MGX_MQTT_NO_PUBLISH_CMD_SHIFT


class Handler:
    """Base class of handlers with one method per event.

    The methods that a subclass overrides are the events it gets; for all others
    Python is not entered at all. What a method is given is valid until it
    returns, but for ``conn``. The return value is ignored.
    """

    def on_error(self, conn: Connection, message: str) -> None:
        """``MG_EV_ERROR``: it failed, *message* says why.

        ``on_close`` follows, but for what :meth:`Connection.resolve` could not find.
        """

    def on_open(self, conn: Connection) -> None:
        """``MG_EV_OPEN``: the connection exists; inside ``listen()`` and ``connect()``."""

    def on_poll(self, conn: Connection) -> None:
        """``MG_EV_POLL``: once per turn of the loop."""

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        """``MG_EV_RESOLVE``: ``(ip, port, is_ipv6)`` of a host, best first."""

    def on_connect(self, conn: Connection) -> None:
        """``MG_EV_CONNECT``: an outbound connection is there."""

    def on_accept(self, conn: Connection) -> None:
        """``MG_EV_ACCEPT``: a listener accepted *conn*."""

    def on_tls(self, conn: Connection) -> None:
        """``MG_EV_TLS_HS``: a TLS handshake is done."""

    def on_read(self, conn: Connection, data: bytes) -> None:
        """``MG_EV_READ``: *data* came in on a raw connection, or is a piece of a streamed body.

        Consumed when the method returns, see :meth:`Connection.recv_keep`. Not called
        where a protocol took the bytes: a callable gets ``MG_EV_READ`` with ``None`` then.
        """

    def on_write(self, conn: Connection) -> None:
        """``MG_EV_WRITE``: bytes have left the send queue."""

    def on_close(self, conn: Connection) -> None:
        """``MG_EV_CLOSE``: exactly once, last."""

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        """``MG_EV_HTTP_HDRS``: the head is complete, the body need not be."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """``MG_EV_HTTP_MSG``: a whole request or response."""

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """``MG_EV_WS_OPEN``: a WebSocket is there; *message*: request or, on a client, answer."""

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """``MG_EV_WS_MSG``: a whole text or binary message."""

    def on_ws_control(self, conn: Connection, message: WsMessage) -> None:
        """``MG_EV_WS_CTL``: a ping, a pong or the peer's close frame; answered by itself."""

    def on_mqtt_open(self, conn: Connection, code: int) -> None:
        """``MG_EV_MQTT_OPEN``: a server has answered CONNECT; 0: it is open, else it closes."""

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        """``MG_EV_MQTT_MSG``: a PUBLISH; acknowledged by itself."""

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        """``MG_EV_MQTT_CMD``: any packet, but no PUBLISH that :meth:`on_mqtt_message` gets.

        A callable gets this event for every packet, behind the one of its own.
        """

    def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
        """``MG_EV_SNTP_TIME``: milliseconds since 1970; more in ``conn.sntp_result``."""

    def on_wakeup(self, conn: Connection, data: bytes) -> None:
        """``MG_EV_WAKEUP``: *data* was given to ``Manager.wakeup()`` for *conn*."""


EventData = Union[
    None,
    str,
    bytes,
    int,
    "list[tuple[str, int, bool]]",
    "HttpMessage",
    "WsMessage",
    "MqttMessage",
]
"""Whatever a callable may be given as *data*: which event comes with what, the numbers say.

For annotations: a type checker then wants an ``isinstance()``. Who knows better, because of
``events=`` or a look at the event, may annotate with that type, or with ``Any``.
"""
EventHandler = Callable[["Connection", int, Any], object]
"""A callable that handles: ``handler(conn, event, data)``. What it returns is ignored."""
AnyHandler = Union[EventHandler, Handler]

_WITH_DATA = {
    events.MG_EV_ERROR: "on_error",
    events.MG_EV_RESOLVE: "on_resolve",
    events.MG_EV_READ: "on_read",
    events.MG_EV_HTTP_HDRS: "on_http_headers",
    events.MG_EV_HTTP_MSG: "on_http",
    events.MG_EV_WS_OPEN: "on_ws_open",
    events.MG_EV_WS_MSG: "on_ws_message",
    events.MG_EV_WS_CTL: "on_ws_control",
    events.MG_EV_MQTT_OPEN: "on_mqtt_open",
    events.MG_EV_MQTT_MSG: "on_mqtt_message",
    events.MG_EV_MQTT_CMD: "on_mqtt_command",
    events.MG_EV_SNTP_TIME: "on_sntp_time",
    events.MG_EV_WAKEUP: "on_wakeup",
}
_WITHOUT_DATA = {
    events.MG_EV_OPEN: "on_open",
    events.MG_EV_POLL: "on_poll",
    events.MG_EV_CONNECT: "on_connect",
    events.MG_EV_ACCEPT: "on_accept",
    events.MG_EV_TLS_HS: "on_tls",
    events.MG_EV_WRITE: "on_write",
    events.MG_EV_CLOSE: "on_close",
}


def check_handler(handler: object) -> None:
    """Refuse what could only fail later, on every event.

    Raises:
        TypeError: If *handler* is not ``None``, a callable or a :class:`Handler`.
    """
    if isinstance(handler, type) and issubclass(handler, Handler):
        raise TypeError(f"handler must be an instance of {handler.__name__}, not the class")
    if handler is not None and not isinstance(handler, Handler) and not callable(handler):
        raise TypeError(f"handler must be callable or a Handler, not {type(handler).__name__}")


def event_masks(handler: AnyHandler | None, wanted: Iterable[int] | None) -> tuple[int, int]:
    """Return the events for a handler's own and for accepted connections, as bits.

    A callable gets everything, but ``MG_EV_POLL`` of accepted connections: of those
    there may be many. A :class:`Handler` gets what its methods are for. *wanted*
    narrows either down, and asks for ``MG_EV_POLL`` of accepted connections too.

    Raises:
        TypeError: If *wanted* is not an iterable of integers.
        ValueError: If there is no event of such a number.
    """
    mask = ALL_EVENTS if wanted is None else _bits(wanted)
    if handler is None:
        return 0, 0
    if isinstance(handler, Handler):
        mask &= _overridden(handler)
        if mask & _READ:
            mask |= _READ_WITH_DATA  # on_read() takes bytes, never None
        if mask & _MQTT_BOTH == _MQTT_BOTH:
            mask |= _MQTT_NO_PUBLISH_CMD
        return mask, mask
    return mask, mask & ~_POLL if wanted is None else mask


def _bits(wanted: Iterable[int]) -> int:
    mask = 0
    for ev in wanted:
        if not 0 <= index(ev) < events.MG_EV_USER:
            raise ValueError(f"events must be 0..{events.MG_EV_USER - 1}, not {ev}")
        mask |= 1 << ev
    return mask


def _overridden(handler: Handler) -> int:
    mask = 0
    for ev, name in (*_WITH_DATA.items(), *_WITHOUT_DATA.items()):
        method = getattr(handler, name)
        if getattr(method, "__func__", method) is not getattr(Handler, name):
            mask |= 1 << ev
    return mask


def _ignore(*_: object) -> None:
    """Take an event that was on its way when another thread changed the handler."""


class Target:
    """What a handler number of the C core means: resolved once, looked up per event."""

    __slots__ = (
        "accepted_mask",
        "fn",
        "handler",
        "host",
        "mask",
        "mqtt",
        "number",
        "pins",
        "with_data",
        "without_data",
    )

    def __init__(
        self,
        handler: AnyHandler | None,
        fallback: AnyHandler | None,
        masks: tuple[int, int],
        host: str = "",
        mqtt: MqttClientSession | None = None,
    ) -> None:
        self.handler = handler  # the connection's own; None: it uses the fallback
        self.mask, self.accepted_mask = masks
        self.host = host  # for the Host line of a client's requests
        self.mqtt = mqtt  # whose connections these are
        self.number = 0  # in the C core
        self.pins = 0  # calls that are about to use the number: not to be purged
        used = fallback if handler is None else handler
        # A callable gets (conn, event, data); else the event picks a method that gets
        # (conn, data) or (conn).
        self.fn: EventHandler | None = None
        self.with_data: list[Callable[..., object]] = []
        self.without_data: list[Callable[..., object]] = []
        if isinstance(used, Handler):
            self.with_data, self.without_data = _methods(used)
        else:
            self.fn = used or _ignore


def _methods(
    handler: Handler,
) -> tuple[list[Callable[..., object]], list[Callable[..., object]]]:
    with_data: list[Callable[..., object]] = [_ignore] * events.MG_EV_USER
    without_data: list[Callable[..., object]] = [_ignore] * events.MG_EV_USER
    for ev, name in _WITH_DATA.items():
        with_data[ev] = getattr(handler, name)
    for ev, name in _WITHOUT_DATA.items():
        without_data[ev] = getattr(handler, name)
    return with_data, without_data
