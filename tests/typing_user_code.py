"""What users write, for type checkers: nothing here runs, ``make lint`` reads it.

``assert_type`` fails where an editor would not know a type, and pyright's strict mode where
anything has none; a ``type: ignore`` that is not needed fails as well, so what stands before
one has to be refused.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_WS_MSG,
    Connection,
    EventData,
    EventHandler,
    Handler,
    HttpMessage,
    Limits,
    Lookup,
    Manager,
    MqttClientSession,
    MqttMessage,
    MqttSession,
    Rpc,
    RpcReq,
    SntpResult,
    TlsInfo,
    TlsOpts,
    WsMessage,
    http_var,
    json_get,
    json_get_num,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type


# -- callables ----------------------------------------------------------------


def narrows(conn: Connection, event: int, data: EventData) -> None:
    """With ``EventData`` a checker follows ``isinstance()``."""
    if isinstance(data, HttpMessage):
        assert_type(data.method, str)
        assert_type(data.body_bytes, bytes)
        assert_type(data.header("Host"), Optional[str])
        assert_type(data.header("Host", ""), str)
        assert_type(data.header("Age", 0), Union[str, int])
        assert_type(data.headers(), list[tuple[str, str]])
        conn.reply(200, data.body_bytes, {"X-Size": len(data.body_bytes)})
    elif isinstance(data, WsMessage):
        assert_type(data.text, str)
        conn.ws_send(data.data, data.flags)
    elif isinstance(data, MqttMessage):
        assert_type(data.topic, str)
        assert_type(data.data, bytes)
        assert_type(data.properties()[0]["iv"], int)
    elif isinstance(data, bytes):
        conn.send(data)
    elif event == MG_EV_CLOSE:
        assert_type(data, Union[str, int, list[tuple[str, int, bool]], None])


def knows_better(conn: Connection, event: int, data: HttpMessage) -> None:
    """With ``events=`` there is but one kind of data."""
    conn.reply_json({"path": data.uri, "event": event}, 200)


def takes_anything(conn: Connection, event: int, data: Any) -> bool:
    """What a handler returns is ignored."""
    conn.send(data)
    return event == MG_EV_READ


def too_short(conn: Connection, event: int) -> None:
    """Not a handler: there is no place for the data."""


def callables() -> None:
    """Wherever a handler is taken, a callable of any of these kinds is."""
    with Manager(narrows) as manager:
        assert_type(manager, Manager)
        listener = manager.listen("http://127.0.0.1:0", knows_better, events=[MG_EV_HTTP_MSG])
        assert_type(listener, Connection)
        assert_type(listener.local_addr, Optional[tuple[str, int, bool]])
        manager.ws_connect("ws://127.0.0.1/", takes_anything, events={MG_EV_WS_MSG})
        manager.connect("tcp://127.0.0.1:9", lambda conn, event, data: conn.close())
        listener.set_handler(None)
        handler: EventHandler = narrows
        listener.set_handler(handler)
        manager.listen("tcp://127.0.0.1:0", too_short)  # type: ignore[arg-type]
        manager.listen("tcp://127.0.0.1:0", "no handler")  # type: ignore[arg-type]
        manager.listen(8000)  # type: ignore[arg-type]
        listener.set_handler(Handler)  # type: ignore[arg-type]


# -- handler objects ------------------------------------------------------------


class Everything(Handler):
    """Each method's data has its type, and overriding with another one is an error."""

    def on_error(self, conn: Connection, message: str) -> None:
        """A text."""

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        """A list of addresses."""

    def on_read(self, conn: Connection, data: bytes) -> None:
        """Bytes, never ``None``."""
        assert_type(conn.recv_data(), bytes)
        assert_type(conn.id, int)
        assert_type(conn.url, str)
        assert_type(conn.manager, Manager)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """A request, or a response."""
        assert_type(message.query_var("q"), Optional[str])
        assert_type(message.status(), Optional[int])
        assert_type(conn.remote_addr, Optional[tuple[str, int, bool]])

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """A message, or a piece of one."""

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        """A PUBLISH."""
        assert_type(message.properties_by_name(), dict[str, Any])

    def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
        """A number, and more of it at the connection."""
        assert_type(conn.sntp_result, Optional[SntpResult])

    def on_tls(self, conn: Connection) -> None:
        """Nothing but the connection."""
        assert_type(conn.tls_info(), Optional[TlsInfo])


class Wrong(Handler):
    """What a checker has to find before the program runs."""

    def on_ws_message(self, conn: Connection, message: str) -> None:  # type: ignore[override]
        """It is no text."""

    def on_http(self, conn: Connection) -> None:  # type: ignore[override]
        """It comes with a message."""


def objects() -> None:
    """A handler is an object, never the class."""
    with Manager(Everything(), limits=Limits(ws_message=1 << 20)) as manager:
        conn = manager.mqtt_connect("mqtt://127.0.0.1", Everything(), will_topic="gone")
        conn.mqtt_pub("a/b", b"", qos=1, properties={"content_type": "text/plain"})
        assert_type(conn.mqtt_session, MqttClientSession)
        assert_type(conn.manager, Manager)
        assert_type(conn.url, str)
        assert_type(manager.mqtt_session(), MqttSession)
        lookup = manager.resolve("localhost", lambda found, error: found[0][0] + error)
        assert_type(lookup, Lookup)
        assert_type(manager.sse_broadcast([conn], "tick", "1"), int)
        manager.resolve("localhost", lambda found: found)  # type: ignore[arg-type, misc]
        manager.run(drain=0.5)
        assert_type(manager.fileno(), int)
        assert_type(manager.next_timeout(), Optional[float])
        assert_type(manager.connections, tuple[Connection, ...])
        manager.listen("http://127.0.0.1:0", Everything)  # type: ignore[arg-type]


# -- the rest --------------------------------------------------------------------


def add(request: RpcReq) -> float:
    """Parameters are JSON's."""
    assert_type(request.params, Union[list[Any], dict[str, Any], None])
    return 0.0


def tls() -> None:
    """Options are read as what they were converted to."""
    opts = TlsOpts(
        cert=Path("cert.pem"), key="...", name="example.org", sni={"a.example": TlsOpts()}
    )
    assert_type(opts.name, bytes)
    opts.name = "example.net"
    opts.key = None
    opts.key = 5  # type: ignore[assignment]
    with Manager() as manager:
        manager.listen("https://127.0.0.1:0", tls=opts)
        manager.connect("tls://127.0.0.1:443", tls=ssl.create_default_context())


def functions() -> None:
    """Plain values."""
    rpc = Rpc()
    rpc.add("add", add)
    rpc.add("sub", takes_anything)  # type: ignore[arg-type]
    assert_type(rpc.process(b"{}"), str)
    assert_type(http_var("a=1", "a"), Optional[str])
    assert_type(json_get("{}", "$.a"), Optional[str])
    assert_type(json_get_num("{}", "$.a"), Optional[float])
    with Manager() as manager:
        timer = manager.timer_add(5, manager.stop, repeat=True)
        assert_type(timer.active, bool)
        assert_type(manager.wakeup(1, b""), bool)
