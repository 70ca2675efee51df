"""Event numbers and their names.

Plain integers, taken from the C core so that they cannot differ from it. Which
data a handler is given with each event stands in the documentation of
:class:`~mongoose_py.Handler`.
"""

from __future__ import annotations

from mongoose_py._mongoose_cffi import lib

MG_EV_ERROR: int = lib.MG_EV_ERROR
"""``str``: what went wrong. Once at most; ``MG_EV_CLOSE`` follows."""
MG_EV_OPEN: int = lib.MG_EV_OPEN
"""``None``: the connection exists. The first event of each."""
MG_EV_POLL: int = lib.MG_EV_POLL
"""``None``: a turn of the loop."""
MG_EV_RESOLVE: int = lib.MG_EV_RESOLVE
"""List of ``(ip, port, is_ipv6)``: the addresses of a host, best first."""
MG_EV_CONNECT: int = lib.MG_EV_CONNECT
"""``None``: an outbound connection is up."""
MG_EV_ACCEPT: int = lib.MG_EV_ACCEPT
"""``None``: a listener has accepted this connection."""
MG_EV_TLS_HS: int = lib.MG_EV_TLS_HS
"""``None``: a TLS handshake is done."""
MG_EV_READ: int = lib.MG_EV_READ
"""``bytes`` that came, a datagram, a piece of a streamed body; ``None`` where HTTP took them."""
MG_EV_WRITE: int = lib.MG_EV_WRITE
"""``None``: bytes have left the send queue."""
MG_EV_CLOSE: int = lib.MG_EV_CLOSE
"""``None``: the end. The last event of each connection, exactly once."""
MG_EV_HTTP_HDRS: int = lib.MG_EV_HTTP_HDRS
"""``HttpMessage``: its head is complete, its body is not. Once per message."""
MG_EV_HTTP_MSG: int = lib.MG_EV_HTTP_MSG
"""``HttpMessage``: complete."""
MG_EV_WS_OPEN: int = lib.MG_EV_WS_OPEN
"""``HttpMessage`` of the handshake: it is a WebSocket now."""
MG_EV_WS_MSG: int = lib.MG_EV_WS_MSG
"""``WsMessage``: text or binary, complete."""
MG_EV_WS_CTL: int = lib.MG_EV_WS_CTL
"""``WsMessage``: a ping, a pong or a close frame."""
MG_EV_MQTT_CMD: int = lib.MG_EV_MQTT_CMD
"""``MqttMessage``: any packet."""
MG_EV_MQTT_MSG: int = lib.MG_EV_MQTT_MSG
"""``MqttMessage``: a PUBLISH."""
MG_EV_MQTT_OPEN: int = lib.MG_EV_MQTT_OPEN
"""``int``: an MQTT server's answer to CONNECT; 0: it is open."""
MG_EV_SNTP_TIME: int = lib.MG_EV_SNTP_TIME
"""``int``: milliseconds since 1970."""
MG_EV_WAKEUP: int = lib.MG_EV_WAKEUP
"""``bytes`` that were given to ``Manager.wakeup()``."""
MG_EV_USER: int = lib.MG_EV_USER
"""The first number that no version will use for itself."""

EVENTS = (
    "MG_EV_ERROR",
    "MG_EV_OPEN",
    "MG_EV_POLL",
    "MG_EV_RESOLVE",
    "MG_EV_CONNECT",
    "MG_EV_ACCEPT",
    "MG_EV_TLS_HS",
    "MG_EV_READ",
    "MG_EV_WRITE",
    "MG_EV_CLOSE",
    "MG_EV_HTTP_HDRS",
    "MG_EV_HTTP_MSG",
    "MG_EV_WS_OPEN",
    "MG_EV_WS_MSG",
    "MG_EV_WS_CTL",
    "MG_EV_MQTT_CMD",
    "MG_EV_MQTT_MSG",
    "MG_EV_MQTT_OPEN",
    "MG_EV_SNTP_TIME",
    "MG_EV_WAKEUP",
    "MG_EV_USER",
)

_NAMES: dict[int, str] = {getattr(lib, name): name for name in EVENTS}


def event_name(ev: int) -> str:
    """Return the name of an event number, for logs and error messages.

    Numbers above :data:`MG_EV_USER` are shown relative to it
    (``"MG_EV_USER+5"``), others that have no name as ``"MG_EV_UNKNOWN(20)"``.

    Raises:
        TypeError: If *ev* is not an integer.
    """
    if not isinstance(ev, int):
        raise TypeError(f"ev must be an int, not {type(ev).__name__}")
    if ev > MG_EV_USER:
        return f"MG_EV_USER+{ev - MG_EV_USER}"
    return _NAMES.get(ev) or f"MG_EV_UNKNOWN({ev})"
