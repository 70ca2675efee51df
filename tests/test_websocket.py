"""WebSocket messages as handlers see them, and mistakes of the other side."""

from __future__ import annotations

import socket
from typing import Any, Callable

import pytest
from conftest import dial, pump, turns
from wsecho import Echo, serving
from wsframes import (
    BINARY,
    CLOSE,
    CONTINUE,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    binary,
    closing,
    encode,
    handshake,
    text,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_WS_MSG,
    WEBSOCKET_OP_BINARY,
    WEBSOCKET_OP_TEXT,
    Connection,
    Handler,
    HttpMessage,
    Limits,
    Manager,
    WsMessage,
)

Make = Callable[..., Manager]


# -- messages ------------------------------------------------------------------


def test_a_message_has_its_opcode_its_bytes_and_its_text(make_manager: Make) -> None:
    seen: list[tuple[int, int, bytes, str, Any, Any, str]] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            raw, close = data.raw_flags, (data.close_code, data.close_reason)
            seen.append((data.flags, raw, data.data, data.text, *close, repr(data)))
            assert data

    manager = make_manager(handle)
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")) as peer:
        peer.send(text("héllo €"), binary(bytes(range(256))), text("fra", fin=False))
        peer.send(binary("gé".encode(), CONTINUE))
        pump(manager, lambda: len(seen) == 3)
    whole = bytes(range(256))
    assert seen[0][:6] == (WEBSOCKET_OP_TEXT, 0x81, "héllo €".encode(), "héllo €", None, None)
    assert seen[1][:3] == (WEBSOCKET_OP_BINARY, 0x82, whole)
    assert seen[1][3] == whole.decode("utf-8", "surrogateescape")
    assert seen[2][:4] == (WEBSOCKET_OP_TEXT, 0x01, "fragé".encode(), "fragé")
    assert seen[0][6] == f"<WsMessage flags=1 data={'héllo €'.encode()!r}>"


def test_a_message_is_empty_after_its_handler(make_manager: Make) -> None:
    kept: list[WsMessage] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            kept.append(data)

    manager = make_manager(handle)
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")) as peer:
        peer.send(text("x"))
        pump(manager, lambda: kept)
        turns(manager)
    for message in (kept[0], WsMessage()):
        assert (message.data, message.text, message.flags, message.raw_flags) == (b"", "", 0, 0)
        assert not message
        assert message.close_code is None
        assert repr(message) == "<WsMessage stale>"
        with pytest.raises(AttributeError):
            message.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_control_frames_are_told_with_what_they_carry(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        peer.send(binary(b"are you there", PING), binary(b"yes", PONG), closing(4001, "gé"))
        assert peer.until_the_end() == [
            Frame(PONG, b"are you there"),
            Frame(CLOSE, b"\x0f\xa1"),
        ]
        pump(manager, echo.saw(MG_EV_CLOSE))
    payload = b"\x0f\xa1" + "gé".encode()
    assert echo.controls == [
        (PING, b"are you there", None, None),
        (PONG, b"yes", None, None),
        (CLOSE, payload, 4001, "gé"),
    ]
    assert echo.names(echo.conn)[-1] == "CLOSE"
    assert MG_EV_ERROR not in [ev for _, ev, _ in echo.calls]


def test_a_close_frame_without_a_code_counts_as_1005(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        peer.send(binary(b"", CLOSE))
        assert peer.until_the_end() == [Frame(CLOSE)]
        pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.controls == [(CLOSE, b"", 1005, "")]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (encode(Frame(TEXT, b"x")), 1002),
        (encode(Frame(TEXT, b"x", rsv=4, mask=b"abcd")), 1002),
        (encode(Frame(3, b"x", mask=b"abcd")), 1002),
        (binary(b"x", CONTINUE), 1002),
        (text("a", fin=False) + text("b"), 1002),
        (binary(b"x", PING, fin=False), 1002),
        (binary(b"x" * 126, PING), 1002),
        (closing(1005), 1002),
        (binary(b"\xff", TEXT), 1007),
        (binary(b"\x03\xe8\xff", CLOSE), 1007),
        (binary(bytes(1001)), 1009),
    ],
)
def test_mistakes_are_answered_with_their_code_and_end_with_an_error(
    make_manager: Make, wire: bytes, code: int
) -> None:
    manager, listener, echo = serving(make_manager, limits=Limits(ws_message=1000))
    with Peer.of(manager, listener) as peer:
        peer.send(wire, text("behind"))
        assert peer.until_the_end()[-1] == Frame(CLOSE, code.to_bytes(2, "big"))
        pump(manager, echo.saw(MG_EV_CLOSE))
    (error,) = echo.data(MG_EV_ERROR)
    assert f"({code})" in error
    assert echo.messages == []
    names = [name for name in echo.names(echo.conn) if name not in ("READ", "WRITE")]
    assert names[-2:] == ["ERROR", "CLOSE"]


def test_bad_text_is_refused_before_the_frame_is_whole(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        peer.send(encode(Frame(TEXT, b"\xe2\x28" + bytes(998), mask=bytes(4)))[:12])
        assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xef")]
    assert echo.messages == []


def test_a_message_above_the_limit_is_refused_by_its_header(make_manager: Make) -> None:
    manager, listener, _ = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        peer.send(b"\x82\xff" + (1 << 30).to_bytes(8, "big") + b"mask")
        assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xf1")]


def test_the_message_limit_is_that_of_the_receive_buffer_unless_it_is_given(
    make_manager: Make,
) -> None:
    manager, listener, echo = serving(make_manager, limits=Limits(recv_buffer=2000))
    with Peer.of(manager, listener) as peer:
        peer.send(binary(bytes(2000)))
        assert peer.frame() == Frame(BINARY, bytes(2000))
        peer.send(binary(bytes(2001)))
        assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xf1")]
    manager, listener, echo = serving(make_manager, limits=Limits(recv_buffer=2000, ws_message=0))
    with Peer.of(manager, listener) as peer:
        peer.send(binary(bytes(5_000_000)))
        assert len(peer.frame().payload) == 5_000_000
    assert len(echo.messages) == 1


def test_a_connection_that_just_ends_has_no_close_frame_and_no_error(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        peer.send(text("half")[:-2])
    pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.controls == []
    assert echo.data(MG_EV_ERROR) == []


def test_a_paused_connection_delivers_nothing_until_it_goes_on(make_manager: Make) -> None:
    seen: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)
            conn.pause()

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with Peer.of(manager, listener) as peer:
        peer.send(text("a") + text("b") + closing(1000))
        pump(manager, lambda: seen)
        turns(manager, 5)
        assert seen == ["a"]
        (conn,) = [c for c in manager.connections if not c.is_listening]
        conn.resume()
        pump(manager, lambda: len(seen) == 2)
        conn.resume()
        assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xe8")]


def test_frames_that_came_with_the_end_of_the_stream_are_delivered(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake() + text("a") + text("b"))
        peer.sock.shutdown(socket.SHUT_WR)
        pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.messages == [(TEXT, b"a"), (TEXT, b"b")]


def test_an_exception_of_a_handler_is_reported_and_the_websocket_lives_on(
    make_manager: Make,
) -> None:
    raised: list[tuple[str, int | None]] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG and data.text == "bad":
            raise KeyError(data.text)
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(data.text)

    manager = make_manager(handle, on_exception=lambda e, c, ev: raised.append((repr(e), ev)))
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")) as peer:
        peer.send(text("bad") + text("good"))
        assert peer.frame() == Frame(TEXT, b"good")
    assert raised == [("KeyError('bad')", MG_EV_WS_MSG)]


def test_ctrl_c_in_a_handler_leaves_the_loop_and_loses_no_message(make_manager: Make) -> None:
    seen: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)
            if data.text == "a":
                raise KeyboardInterrupt

    manager = make_manager(handle)
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")) as peer:
        peer.send(text("a") + text("b") + text("c"))
        with pytest.raises(KeyboardInterrupt):
            pump(manager, lambda: len(seen) > 1)
        assert seen == ["a"]
        pump(manager, lambda: len(seen) == 3)
    assert seen == ["a", "b", "c"]


class ByMethod(Handler):
    """Gets exactly the three events of a WebSocket."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.ws_upgrade(message)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        self.seen.append(message.uri)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        self.seen.append(message.text)

    def on_ws_control(self, conn: Connection, message: WsMessage) -> None:
        self.seen.append(message.flags)


def test_a_handler_object_has_a_method_for_each_event(make_manager: Make) -> None:
    handler = ByMethod()
    manager = make_manager(handler)
    with Peer.of(manager, manager.listen("http://127.0.0.1:0")) as peer:
        peer.send(text("x"), binary(b"", PING))
        pump(manager, lambda: len(handler.seen) == 3)
    assert handler.seen == ["/", "x", PING]


def test_events_that_nobody_wants_are_not_delivered_but_answered(make_manager: Make) -> None:
    echo = Echo()
    manager = make_manager()
    wanted = (MG_EV_HTTP_MSG,)
    listener = manager.listen("http://127.0.0.1:0", echo, events=wanted)
    with Peer.of(manager, listener) as peer:
        peer.send(text("x"), binary(b"p", PING), closing(1000))
        assert peer.until_the_end() == [Frame(PONG, b"p"), Frame(CLOSE, b"\x03\xe8")]
    assert echo.names() == ["HTTP_MSG"]
