"""A connection whose handler fails where it begins does not go on half made."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable

import pytest
from certificates import localhost, trusting
from conftest import Recorder, dial, pump, running
from wsframes import Peer, handshake

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_OPEN,
    MG_EV_TLS_HS,
    MG_EV_WS_OPEN,
    Connection,
    Handler,
    HttpMessage,
    Manager,
)

Make = Callable[..., Manager]


@pytest.fixture
def raised() -> list[Exception]:
    """What went to ``error_handler``, in the tests that give it this list."""
    return []


def failing(event: int) -> Recorder:
    """Return a handler that fails at *event*."""

    def act(conn: Connection, ev: int, data: Any) -> None:
        if ev == event:
            raise LookupError("inside")
        if ev == MG_EV_HTTP_MSG and not conn.is_client:
            conn.ws_upgrade(data)

    return Recorder(act)


def test_a_request_that_is_malformed_ends_its_connection(
    make_manager: Make, raised: list[Exception]
) -> None:
    class Client(Handler):
        def on_connect(self, conn: Connection) -> None:
            conn.request("GET", "/not encoded")

        def on_error(self, conn: Connection, message: str) -> None:
            heard.append(message)

        def on_close(self, conn: Connection) -> None:
            heard.append("closed")

    heard: list[str] = []
    manager = make_manager(error_handler=raised.append)
    conn = manager.connect(manager.listen("http://127.0.0.1:0").url, Client())
    pump(manager, lambda: conn.id == 0)
    assert heard == ["the handler of MG_EV_CONNECT raised ValueError", "closed"]
    assert [type(exc) for exc in raised] == [ValueError]


def test_what_nobody_takes_as_an_error_is_told_as_an_exception_only(
    make_manager: Make, raised: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    class Client(Handler):
        def on_connect(self, conn: Connection) -> None:
            raise LookupError

    manager = make_manager(error_handler=raised.append)
    conn = manager.connect(manager.listen("http://127.0.0.1:0").url, Client())
    pump(manager, lambda: conn.id == 0)
    assert len(raised) == 1
    assert caplog.records == []


def test_a_listener_whose_tls_fails_to_be_switched_on_says_nothing_in_plain_text(
    make_manager: Make, raised: list[Exception]
) -> None:
    class Server(Handler):
        def on_accept(self, conn: Connection) -> None:
            conn.tls_init(None)  # type: ignore[arg-type]

        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            conn.reply(200, "a secret")

    manager = make_manager(Server(), error_handler=raised.append)
    listener = manager.listen("http://127.0.0.1:0")
    with running(manager), dial(listener) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = bytearray()
        with suppress(ConnectionResetError):
            answer += sock.recv(65536)
    assert answer == b""
    assert [type(exc) for exc in raised] == [TypeError]


def test_a_websocket_is_told_that_its_server_failed(
    make_manager: Make, raised: list[Exception]
) -> None:
    heard = failing(MG_EV_WS_OPEN)
    manager = make_manager(heard, error_handler=raised.append)
    with Peer(manager, dial(manager.listen("http://127.0.0.1:0"))) as peer:
        peer.send(handshake())
        assert peer.head().startswith("HTTP/1.1 101 ")
        assert [frame.payload for frame in peer.until_the_end()] == [(1011).to_bytes(2, "big")]
    reason = "WebSocket: the handler of MG_EV_WS_OPEN raised LookupError (1011)"
    assert heard.data(MG_EV_ERROR) == [reason]


def test_a_tls_connection_ends(make_manager: Make, raised: list[Exception]) -> None:
    heard = failing(MG_EV_TLS_HS)
    manager = make_manager(error_handler=raised.append)
    listener = manager.listen("tls://127.0.0.1:0", tls=localhost().opts)
    conn = manager.connect(listener.url, heard, tls=trusting())
    pump(manager, lambda: conn.id == 0)
    assert heard.data(MG_EV_ERROR) == ["the handler of MG_EV_TLS_HS raised LookupError"]


def test_an_mqtt_session_knows_why_it_lost_its_connection(
    make_manager: Make, raised: list[Exception]
) -> None:
    class Server(Handler):
        def on_mqtt_command(self, conn: Connection, message: Any) -> None:
            if message.cmd == 1:
                conn.mqtt_connack()

    heard = failing(MG_EV_MQTT_OPEN)
    manager = make_manager(error_handler=raised.append)
    listener = manager.mqtt_listen("mqtt://127.0.0.1:0", Server())
    session = manager.mqtt_connect(listener.url, heard).mqtt_session
    pump(manager, heard.saw(MG_EV_CLOSE))
    assert session.last_error == "the handler of MG_EV_MQTT_OPEN raised LookupError"
    assert session.state == "closed"


def test_a_connection_that_was_to_end_anyway_ends_as_it_was_to(
    make_manager: Make, raised: list[Exception]
) -> None:
    class Client(Handler):
        def on_connect(self, conn: Connection) -> None:
            conn.send(b"all")
            conn.drain()
            raise LookupError

        def on_error(self, conn: Connection, message: str) -> None:
            heard.append(message)

    heard: list[str] = []
    server = Recorder()
    manager = make_manager(server, error_handler=raised.append)
    conn = manager.connect(manager.listen("tcp://127.0.0.1:0").url, Client())
    pump(manager, lambda: conn.id == 0 and server.saw(MG_EV_CLOSE)())
    assert heard == []
    assert b"all" in [data for _, _, data in server.calls]
