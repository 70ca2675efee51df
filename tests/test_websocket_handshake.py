"""How a connection of our HTTP server becomes a WebSocket."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from conftest import dial, pump
from wsecho import serving
from wsframes import PING, PONG, TEXT, Frame, Peer, binary, handshake, text

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    HttpMessage,
    Manager,
)

Make = Callable[..., Manager]


def test_the_handshake_of_the_rfc_is_answered_as_there(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake(path="/chat?x=1"))
        head = peer.head()
        assert head.split("\r\n") == [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ]
        assert echo.upgraded == [True]
        assert echo.data(MG_EV_WS_OPEN) == [("GET", "/chat", b"")]
        assert echo.conn is not None
        assert echo.conn.is_websocket
        assert echo.names(echo.conn)[:5] == ["OPEN", "ACCEPT", "HTTP_HDRS", "HTTP_MSG", "WS_OPEN"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426"),
        (handshake("Upgrade: h2c"), "426"),
        (handshake("Sec-WebSocket-Version: 8"), "426"),
        (handshake("Connection: keep-alive"), "400"),
        (handshake("Sec-WebSocket-Key: abc"), "400"),
        (handshake().replace(b"GET", b"PUT"), "400"),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), "400"),
    ],
)
def test_what_is_no_handshake_is_refused_and_the_connection_ends(
    make_manager: Make, request_: bytes, status: str
) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer(manager, dial(listener)) as peer:
        peer.send(request_)
        head = peer.head()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert ("Sec-WebSocket-Version: 13" in head) == (status == "426")
        assert echo.upgraded == [False]
        pump(manager, echo.saw(MG_EV_CLOSE))
        assert "WS_OPEN" not in echo.names()


def test_extra_headers_are_sent_as_they_are(make_manager: Make) -> None:
    upgrade = {"extra_headers": {"X-Rate": "100%d%s", "Set-Cookie": "a=b"}}
    manager, listener, _ = serving(make_manager, upgrade=upgrade)
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake())
        head = peer.head()
        assert "\r\nX-Rate: 100%d%s\r\nSet-Cookie: a=b" in head


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"A\r\nB": "c"}, "Header name"),
        ({"A": "b\r\nC: d"}, "Header value"),
        ({"A": "b\0"}, "Header value"),
        ({"Upgrade": "x"}, "handshake"),
        ({"sec-websocket-accept": "x"}, "handshake"),
    ],
)
def test_a_bad_header_raises_and_leaves_the_request_to_be_answered(
    make_manager: Make, headers: dict[str, str], error: str
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            with pytest.raises(ValueError, match=error):
                conn.ws_upgrade(data, headers)
            conn.reply(400)

    raised: list[Exception] = []
    manager = make_manager(handle, error_handler=raised.append)
    with Peer(manager, dial(manager.listen("http://127.0.0.1:0"))) as peer:
        peer.send(handshake())
        assert peer.head().startswith("HTTP/1.1 400 ")
    assert raised == []


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ("b", "a, b", "b"),
        (["c", "b", "a"], "a, b", "b"),
        (["c"], "a, b", None),
        (None, "a", None),
        ("a", None, None),
    ],
)
def test_one_subprotocol_is_chosen_or_none(
    make_manager: Make, ours: Any, theirs: str | None, chosen: str | None
) -> None:
    manager, listener, _ = serving(make_manager, upgrade={"subprotocol": ours})
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake(*([f"Sec-WebSocket-Protocol: {theirs}"] if theirs else [])))
        found = [line for line in peer.head().split("\r\n") if "Protocol:" in line]
        assert found == ([f"Sec-WebSocket-Protocol: {chosen}"] if chosen else [])


def test_frames_right_behind_the_request_are_delivered(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake() + text("early") + binary(b"x", PING))
        assert "101" in peer.head()
        assert peer.frame() == Frame(TEXT, b"early")
        assert peer.frame() == Frame(PONG, b"x")
        assert echo.messages == [(TEXT, b"early")]


def test_an_upgrade_is_possible_when_the_head_is_there(make_manager: Make) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_HDRS:
            assert conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(data.text)

    manager = make_manager(handle)
    with Peer(manager, dial(manager.listen("http://127.0.0.1:0"))) as peer:
        peer.send(handshake() + text("a"))
        peer.head()
        assert peer.frame() == Frame(TEXT, b"a")


def test_a_body_that_is_still_to_come_is_not_taken_for_frames(make_manager: Make) -> None:
    answers = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_HDRS:
            answers.append(conn.ws_upgrade(data))

    manager = make_manager(handle)
    with Peer(manager, dial(manager.listen("http://127.0.0.1:0"))) as peer:
        peer.send(handshake("Content-Length: 7"), text("a"))
        assert peer.head().startswith("HTTP/1.1 400 ")
    assert answers == [False]


def test_upgrading_twice_late_or_with_anything_else_is_refused(make_manager: Make) -> None:
    kept: list[tuple[Connection, HttpMessage]] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            kept.append((conn, data))
            with pytest.raises(TypeError):
                conn.ws_upgrade("GET /")  # type: ignore[arg-type]
            conn.ws_upgrade(data)
            with pytest.raises(ValueError):
                conn.ws_upgrade(data)

    raised: list[Exception] = []
    manager = make_manager(handle, error_handler=raised.append)
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")):
        conn, message = kept[0]
        with pytest.raises(ValueError, match="not valid"):
            conn.ws_upgrade(message)
    assert raised == []


def test_http_goes_on_beside_websockets_on_the_same_port(make_manager: Make) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG and data.uri == "/ws":
            conn.ws_upgrade(data)
        elif ev == MG_EV_HTTP_MSG:
            conn.reply(200, "plain")
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(data.data, data.flags)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with Peer(manager, dial(listener)) as peer, Peer(manager, dial(listener)) as other:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + handshake(path="/ws") + text("x"))
        assert "200 OK" in peer.head()
        assert peer.wire.startswith(b"plain")
        peer.wire = peer.wire[5:]
        assert "101" in peer.head()
        assert peer.frame() == Frame(TEXT, b"x")
        other.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert "200 OK" in other.head()
