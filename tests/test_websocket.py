"""WebSocket through the API: handshakes, messages, closing, on both sides."""

from __future__ import annotations

import gc
import random
import socket
import threading
import zlib
from typing import Any, Callable

import pytest
from conftest import Recorder, dial, pump, running, turns, url_of
from wsframes import (
    BINARY,
    CLOSE,
    CONTINUE,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    accept,
    binary,
    closing,
    decode,
    encode,
    handshake,
    text,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_WS_CTL,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    WEBSOCKET_OP_BINARY,
    WEBSOCKET_OP_CLOSE,
    WEBSOCKET_OP_CONTINUE,
    WEBSOCKET_OP_PING,
    WEBSOCKET_OP_TEXT,
    AddressError,
    Connection,
    ConnectionClosed,
    Error,
    Handler,
    HttpMessage,
    Limits,
    Manager,
    WsMessage,
)

Make = Callable[..., Manager]


class Echo(Recorder):
    """Upgrades, echoes messages, and remembers what they held."""

    def __init__(self, **options: Any) -> None:
        super().__init__(self.respond)
        self.options = options
        self.messages: list[tuple[int, bytes]] = []
        self.controls: list[tuple[int, bytes, int | None, str | None]] = []
        self.conn: Connection | None = None
        self.upgraded: list[bool] = []

    def respond(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            self.upgraded.append(conn.ws_upgrade(data, **self.options))
        elif ev == MG_EV_WS_OPEN:
            self.conn = conn
        elif ev == MG_EV_WS_MSG:
            self.messages.append((data.flags, data.data))
            conn.ws_send(data.data, data.flags)
        elif ev == MG_EV_WS_CTL:
            self.controls.append((data.flags, data.data, data.close_code, data.close_reason))


def serving(make_manager: Make, **kwargs: Any) -> tuple[Manager, Connection, Echo]:
    echo = Echo(**kwargs.pop("upgrade", {}))
    manager = make_manager(echo, **kwargs)
    return manager, manager.listen("http://127.0.0.1:0"), echo


# -- handshake, server ------------------------------------------------------


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


# -- messages ---------------------------------------------------------------


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


# -- sending ----------------------------------------------------------------


def opened(make_manager: Make, **kwargs: Any) -> tuple[Manager, Peer, Connection]:
    manager, listener, echo = serving(make_manager, **kwargs)
    peer = Peer.of(manager, listener)
    assert echo.conn is not None
    return manager, peer, echo.conn


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_every_size_of_message_goes_out_and_comes_back(make_manager: Make, size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(size))
    _, peer, conn = opened(make_manager)
    with peer:
        conn.ws_send(data, WEBSOCKET_OP_BINARY)
        assert peer.frame() == Frame(BINARY, data)
        peer.send(binary(data))
        assert peer.frame() == Frame(BINARY, data)


def test_every_kind_of_data_is_taken_and_text_is_the_default(make_manager: Make) -> None:
    _, peer, conn = opened(make_manager)
    with peer:
        conn.ws_send("é")
        conn.ws_send("é", WEBSOCKET_OP_BINARY)
        conn.ws_send("\udcff", op=WEBSOCKET_OP_BINARY)
        conn.ws_send(bytearray(b"a"))
        conn.ws_send(memoryview(b"b"), WEBSOCKET_OP_BINARY)
        conn.ws_send("p", WEBSOCKET_OP_PING)
        conn.ws_send(b"\x03\xe9go", WEBSOCKET_OP_CLOSE)
        expected = [
            (TEXT, b"\xc3\xa9"),
            (BINARY, b"\xc3\xa9"),
            (BINARY, b"\xff"),
            (TEXT, b"a"),
            (BINARY, b"b"),
            (PING, b"p"),
            (CLOSE, b"\x03\xe9go"),
        ]
        assert [peer.frame() for _ in expected] == [Frame(*one) for one in expected]


def test_a_message_may_be_sent_in_pieces_with_pings_between(make_manager: Make) -> None:
    _, peer, conn = opened(make_manager)
    with peer:
        conn.ws_send("caf\u00e9"[:3], fin=False)
        conn.ws_send(b"", WEBSOCKET_OP_PING)
        conn.ws_send("é", WEBSOCKET_OP_CONTINUE, fin=False)
        with pytest.raises(Error, match="CONTINUE"):
            conn.ws_send("other")
        conn.ws_send(b"", WEBSOCKET_OP_CONTINUE)
        with pytest.raises(Error, match="CONTINUE"):
            conn.ws_send("more", WEBSOCKET_OP_CONTINUE)
        frames = [peer.frame() for _ in range(4)]
    assert frames == [
        Frame(TEXT, b"caf", fin=False),
        Frame(PING),
        Frame(CONTINUE, "é".encode(), fin=False),
        Frame(CONTINUE),
    ]


def test_what_would_break_the_protocol_is_not_sent(make_manager: Make) -> None:
    _, peer, conn = opened(make_manager)
    with peer:
        for op in (-1, 3, 7, 11, 99, 0x81):
            with pytest.raises(ValueError, match=str(op)):
                conn.ws_send("x", op)
        with pytest.raises(ValueError, match="125 bytes"):
            conn.ws_send(bytes(126), WEBSOCKET_OP_PING)
        with pytest.raises(ValueError, match="fin"):
            conn.ws_send(b"", WEBSOCKET_OP_PING, fin=False)
        with pytest.raises(ValueError, match="UTF-8"):
            conn.ws_send(b"\xff")
        with pytest.raises(UnicodeEncodeError):
            conn.ws_send("\ud800")
        with pytest.raises(ValueError, match="status code"):
            conn.ws_send(b"\x03\xed", WEBSOCKET_OP_CLOSE)
        for bad in (5, None, ["x"]):
            with pytest.raises(TypeError):
                conn.ws_send(bad)  # type: ignore[arg-type]
        with pytest.raises(Error, match="kind"):
            conn.send("raw")
        with pytest.raises(Error, match="kind"):
            conn.reply(200)
        conn.ws_send("fine")
        assert peer.frame() == Frame(TEXT, b"fine")


def test_sending_before_the_upgrade_or_after_the_end_raises(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with pytest.raises(Error, match="not a WebSocket"):
        listener.ws_send("x")
    with pytest.raises(Error, match="not a WebSocket"):
        listener.ws_close()
    with Peer.of(manager, listener):
        pass
    pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.conn is not None
    with pytest.raises(ConnectionClosed, match="closed"):
        echo.conn.ws_send("x")
    with pytest.raises(ConnectionClosed):
        echo.conn.ws_close()


def test_a_full_backlog_raises_and_sends_nothing_of_it(make_manager: Make) -> None:
    _, peer, conn = opened(make_manager, limits=Limits(send_backlog=10_000))
    with peer:
        with pytest.raises(Error, match="limit"):
            conn.ws_send(bytes(20_000), WEBSOCKET_OP_BINARY)
        conn.ws_send("still fine")
        assert peer.frame() == Frame(TEXT, b"still fine")


def test_other_threads_may_send_while_the_loop_runs(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    peer = Peer.of(manager, listener)
    conn = echo.conn
    assert conn is not None
    with peer, running(manager):

        def send() -> None:
            for _ in range(200):
                conn.ws_send("x" * 100)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        peer.sock.settimeout(10)
        wire = b""
        while len(wire) < 800 * 102:
            wire += peer.sock.recv(65536)
        for thread in threads:
            thread.join()
    for _ in range(800):
        found = decode(wire)
        assert found is not None
        assert found[0] == Frame(TEXT, b"x" * 100)
        wire = found[1]


def test_a_broadcast_reaches_everyone_who_can_take_it(make_manager: Make) -> None:
    conns: list[Connection] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_OPEN:
            conns.append(conn)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    peers = [Peer.of(manager, listener) for _ in range(5)]
    conns[1].ws_close()
    conns[2].ws_send("part", fin=False)
    peers[3].close()
    pump(manager, lambda: conns[3].id == 0)
    assert manager.ws_broadcast([listener, *conns], "news") == 2
    assert manager.ws_broadcast((c for c in conns), b"\xff", WEBSOCKET_OP_BINARY) == 2
    assert manager.ws_broadcast([], "nobody") == 0
    for i in (0, 4):
        assert peers[i].frame() == Frame(TEXT, b"news")
        assert peers[i].frame() == Frame(BINARY, b"\xff")
    assert peers[2].frame() == Frame(TEXT, b"part", fin=False)
    for bad in (b"\xff", "x"):
        with pytest.raises(ValueError):
            manager.ws_broadcast(conns, bad, WEBSOCKET_OP_TEXT if bad == b"\xff" else 7)
    other = make_manager()
    with pytest.raises(ValueError, match="not of this manager"):
        other.ws_broadcast(conns[:1], "x")
    for peer in peers:
        peer.close()


# -- closing ----------------------------------------------------------------


def test_closing_waits_for_the_answer_and_then_ends(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager)
    with Peer.of(manager, listener) as peer:
        conn = echo.conn
        assert conn is not None
        conn.ws_close(1001, "leaving, gé")
        conn.ws_close()  # harmless
        with pytest.raises(ConnectionClosed):
            conn.ws_send("too late")
        assert peer.frame() == Frame(CLOSE, b"\x03\xe9" + "leaving, gé".encode())
        turns(manager, 5)
        assert not peer.ended
        peer.send(text("on its way"), closing(1001))
        with pytest.raises(ConnectionClosed):
            while True:
                manager.poll(5)
                conn.ws_close()
        assert peer.until_the_end() == []
    assert echo.messages == [(TEXT, b"on its way")]
    assert echo.controls == [(CLOSE, b"\x03\xe9", 1001, "")]


def test_a_peer_that_does_not_answer_is_closed_after_a_while(make_manager: Make) -> None:
    limits = Limits(ws_close_timeout=0.05)
    _, peer, conn = opened(make_manager, limits=limits)
    with peer:
        conn.ws_close()
        assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000, -1])
def test_codes_that_may_not_be_sent_are_refused(make_manager: Make, code: int) -> None:
    _, peer, conn = opened(make_manager)
    with peer:
        with pytest.raises(ValueError, match=str(code)):
            conn.ws_close(code)
        with pytest.raises(ValueError, match="123"):
            conn.ws_close(1000, "x" * 124)
        conn.ws_close(1000, "x" * 123)
        assert len(peer.frame().payload) == 125


def test_a_silent_peer_is_pinged_and_given_up(make_manager: Make) -> None:
    limits = Limits(ws_idle_timeout=0.05, ws_pong_timeout=0.05)
    manager, listener, echo = serving(make_manager, limits=limits)
    with Peer.of(manager, listener) as peer:
        assert peer.frame() == Frame(PING)
        peer.send(binary(b"", PONG))
        assert peer.frame() == Frame(PING)
        pump(manager, echo.saw(MG_EV_CLOSE))
    (error,) = echo.data(MG_EV_ERROR)
    assert "no answer to a ping" in error


def test_no_ping_is_sent_by_default(make_manager: Make) -> None:
    manager, listener, _ = serving(make_manager)
    with Peer.of(manager, listener):
        turns(manager)
        left = manager.next_timeout()
        assert left is None or left > 20  # no deadline but an old one of HTTP's


# -- client -----------------------------------------------------------------


def answering(
    make_manager: Make, *lines: str, status: str = "101 Switching Protocols", **options: Any
) -> tuple[Manager, Recorder, str]:
    """Connect to a raw server that answers the handshake with *lines*; return its request."""
    recorder = Recorder()
    manager = make_manager()
    heads: list[str] = []

    class Answering(Handler):
        def on_read(self, conn: Connection, data: bytes | None) -> None:
            head = (data or b"").decode()
            heads.append(head)
            key = next(line for line in head.split("\r\n") if "Key" in line).partition(": ")[2]
            fields = {
                "upgrade": "Upgrade: websocket",
                "connection": "Connection: Upgrade",
                "sec-websocket-accept": f"Sec-WebSocket-Accept: {accept(key)}",
            }
            for line in lines:
                fields[line.partition(":")[0].lower()] = line
            conn.send("\r\n".join([f"HTTP/1.1 {status}", *fields.values(), "", ""]))

    listener = manager.listen("tcp://127.0.0.1:0", Answering())
    url = url_of(listener, "ws") + "/room?id=7#part"
    conn = manager.ws_connect(url.replace("://", options.pop("user", "://")), recorder, **options)
    assert conn.is_client
    assert not conn.is_websocket
    with pytest.raises(Error, match="not a WebSocket"):
        conn.ws_send("too early")
    pump(manager, lambda: "WS_OPEN" in recorder.names() or conn.id == 0)
    return manager, recorder, heads[0]


def test_a_client_asks_as_the_rfc_says(make_manager: Make) -> None:
    _, recorder, head = answering(
        make_manager,
        "Sec-WebSocket-Protocol: b",
        user="://me:p%40ss@",
        headers={"X-Token": "t", "Origin": "http://a"},
        subprotocols=["a", "b"],
        compression=True,
    )
    lines = head.split("\r\n")
    assert lines[0] == "GET /room?id=7 HTTP/1.1"
    assert lines[1].startswith("Host: 127.0.0.1:")
    for line in (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Authorization: Basic bWU6cEBzcw==",
        "X-Token: t",
        "Origin: http://a",
    ):
        assert line in lines
    names = recorder.names()
    assert names[:5] == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "WS_OPEN"]
    assert recorder.data(MG_EV_WS_OPEN) == [("HTTP/1.1", "101", b"")]


def test_keys_are_new_each_time(make_manager: Make) -> None:
    heads = [answering(make_manager)[2] for _ in range(2)]
    keys = [next(x for x in head.split("\r\n") if "Key" in x) for head in heads]
    assert keys[0] != keys[1]
    assert KEY not in "".join(keys)


@pytest.mark.parametrize(
    ("lines", "status", "why"),
    [
        ([], "403 Forbidden", "403 Forbidden"),
        ([], "200 OK", "200 OK"),
        ([], "302 Found", "302 Found"),
        (["Upgrade: x"], "101 Hm", "no Upgrade: websocket"),
        (["Connection: close"], "101 Hm", "no Connection: Upgrade"),
        (["Sec-WebSocket-Accept: " + accept(KEY)], "101 Hm", "Sec-WebSocket-Accept"),
        (["Sec-WebSocket-Protocol: c"], "101 Hm", "subprotocol"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], "101 Hm", "extension"),
    ],
)
def test_an_answer_that_is_no_handshake_is_an_error_that_says_why(
    make_manager: Make, lines: list[str], status: str, why: str
) -> None:
    _, recorder, _ = answering(make_manager, *lines, status=status, subprotocols=["a"])
    (error,) = recorder.data(MG_EV_ERROR)
    assert error.startswith("WebSocket handshake failed: ")
    assert why in error
    assert recorder.names()[-2:] == ["ERROR", "CLOSE"]


@pytest.mark.parametrize(
    "extension",
    [
        "x-other",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ],
)
def test_an_extension_that_was_not_offered_so_is_refused(
    make_manager: Make, extension: str
) -> None:
    line = f"Sec-WebSocket-Extensions: {extension}"
    manager, recorder, _ = answering(make_manager, line, compression=True)
    pump(manager, recorder.saw(MG_EV_ERROR))
    assert "WS_OPEN" not in recorder.names()


def test_a_server_that_never_answers_is_given_up(make_manager: Make) -> None:
    recorder = Recorder()
    manager = make_manager(limits=Limits(header_timeout=0.05))
    listener = manager.listen("tcp://127.0.0.1:0")
    manager.ws_connect(url_of(listener, "ws"), recorder)
    pump(manager, recorder.saw(MG_EV_CLOSE))
    assert "header_timeout" in recorder.data(MG_EV_ERROR)[0]


def test_a_server_that_hangs_up_or_speaks_something_else_is_an_error(make_manager: Make) -> None:
    for answer, why in ((None, "ended before"), (b"SSH-2.0-x\r\n\r\n", "not HTTP")):
        recorder = Recorder()
        manager = make_manager()

        def server(conn: Connection, ev: int, data: Any, answer: bytes | None = answer) -> None:
            if isinstance(data, bytes):
                conn.send(answer or b"")
                conn.drain()

        url = url_of(manager.listen("tcp://127.0.0.1:0", server), "ws")
        manager.ws_connect(url, recorder)
        pump(manager, recorder.saw(MG_EV_CLOSE))
        assert why in recorder.data(MG_EV_ERROR)[0]


def test_arguments_of_a_client_are_checked_before_anything_is_sent(make_manager: Make) -> None:
    manager = make_manager()
    url = "ws://127.0.0.1:1/"
    with pytest.raises(ValueError, match="Header name"):
        manager.ws_connect(url, headers={"a b": "c"})
    with pytest.raises(ValueError, match="handshake"):
        manager.ws_connect(url, headers={"Upgrade": "c"})
    with pytest.raises(ValueError):
        manager.ws_connect(url, subprotocols=["a b"])
    with pytest.raises(ValueError, match="repeat"):
        manager.ws_connect(url, subprotocols=["a", "a"])
    with pytest.raises(TypeError):
        manager.ws_connect(url, subprotocols="chat")
    with pytest.raises(TypeError):
        manager.ws_connect(None)  # type: ignore[arg-type]
    with pytest.raises(AddressError):
        manager.ws_connect("ws://127.0.0.1:99999/")
    with pytest.raises(AddressError):
        manager.ws_connect("udp://127.0.0.1:1")
    with pytest.raises(AddressError):
        manager.ws_connect("ws://a\0b/")
    assert manager.connections == ()


def test_client_and_server_talk_over_a_unix_socket(make_manager: Make, tmp_path: Any) -> None:
    echo = Echo()
    manager = make_manager()
    manager.listen(f"unix://{tmp_path}/s", echo, http=True)
    seen: list[str] = []

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            conn.ws_send("x" * 1000)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)
            conn.ws_close(1000)

    conn = manager.ws_connect(f"unix://{tmp_path}/s", client)
    pump(manager, lambda: conn.id == 0)
    assert seen == ["x" * 1000]
    assert echo.controls == [(CLOSE, b"\x03\xe8", 1000, "")]


def test_client_frames_are_masked_with_ever_new_keys(make_manager: Make) -> None:
    wires: list[bytes] = []

    def server(conn: Connection, ev: int, data: Any) -> None:
        if isinstance(data, bytes) and data.startswith(b"GET"):
            key = next(x for x in data.decode().split("\r\n") if "Key" in x).partition(": ")[2]
            conn.send(
                "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: a, UPGRADE\r\n"
                f"Sec-WebSocket-Accept: {accept(key)}\r\n\r\n"
            )
        elif isinstance(data, bytes):
            wires.append(data)

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            for _ in range(200):
                conn.ws_send("same")

    manager = make_manager()
    url = url_of(manager.listen("tcp://127.0.0.1:0", server), "ws")
    manager.ws_connect(url, client)
    pump(manager, lambda: len(b"".join(wires)) == 200 * 10)
    wire, keys = b"".join(wires), set()
    while wire:
        found = decode(wire)
        assert found is not None
        frame, wire = found
        assert frame.payload == b"same"
        keys.add(frame.mask)
    assert len(keys) == 200


# -- compression ------------------------------------------------------------


def deflated(data: bytes, op: int = TEXT, **kwargs: Any) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    payload = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return encode(Frame(op, payload[:-4], rsv=4, mask=b"abcd", **kwargs))


def inflated(frames: list[Frame]) -> list[bytes]:
    inflater = zlib.decompressobj(-15)
    return [inflater.decompress(f.payload + b"\x00\x00\xff\xff") for f in frames]


OFFER = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=9", "permessage-deflate"),
        (
            'x-webkit, permessage-deflate; server_max_window_bits="10"',
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        ("permessage-deflate; what=1, permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; a; a", None),
        ("x-other", None),
    ],
)
def test_an_offer_is_answered_with_what_was_agreed(
    make_manager: Make, offer: str, answer: str | None
) -> None:
    manager, listener, _ = serving(make_manager, upgrade={"compression": True})
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake(f"Sec-WebSocket-Extensions: {offer}"))
        found = [x for x in peer.head().split("\r\n") if x.startswith("Sec-WebSocket-Ext")]
        assert found == ([f"Sec-WebSocket-Extensions: {answer}"] if answer else [])


def test_compression_is_off_unless_both_sides_want_it(make_manager: Make) -> None:
    for lines, compression in (([OFFER], False), ([], True)):
        upgrade = {"compression": compression}
        manager, listener, _ = serving(make_manager, upgrade=upgrade)
        with Peer.of(manager, listener, *lines) as peer:
            peer.send(deflated(b"x"))
            assert peer.until_the_end() == [Frame(CLOSE, b"\x03\xea")]


def test_compressed_messages_come_in_and_go_out(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    with Peer.of(manager, listener, OFFER) as peer:
        data = b"again and again and " * 50
        peer.send(deflated(data), deflated(data, BINARY), text("plain"))
        frames = [peer.frame() for _ in range(3)]
        assert [f.rsv for f in frames] == [4, 4, 0]
        assert inflated(frames[:2]) == [data, data]
        assert len(frames[1].payload) < len(frames[0].payload) < 60  # the window is kept
        assert frames[2] == Frame(TEXT, b"plain")
    assert echo.messages == [(TEXT, data), (BINARY, data), (TEXT, b"plain")]


def test_a_compressed_message_may_come_in_fragments(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    with Peer.of(manager, listener, OFFER) as peer:
        whole = decode(deflated(b"in two parts"))
        assert whole is not None
        payload = whole[0].payload
        peer.send(encode(Frame(TEXT, payload[:5], fin=False, rsv=4, mask=b"abcd")))
        peer.send(binary(b"", PING))
        peer.send(encode(Frame(CONTINUE, payload[5:], mask=b"abcd")))
        pump(manager, lambda: echo.messages)
    assert echo.messages == [(TEXT, b"in two parts")]


def test_a_window_that_is_not_kept_starts_anew_with_each_message(make_manager: Make) -> None:
    manager, listener, _ = serving(make_manager, upgrade={"compression": True})
    offer = f"{OFFER}; server_no_context_takeover; client_no_context_takeover"
    with Peer.of(manager, listener, offer) as peer:
        data = bytes(range(200))
        peer.send(deflated(data, BINARY), deflated(data, BINARY))
        frames = [peer.frame(), peer.frame()]
    assert [inflated([f]) for f in frames] == [[data], [data]]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (deflated(bytes(1_000_000), BINARY), 1009),
        (encode(Frame(BINARY, b"\xff\xff\xff", rsv=4, mask=b"abcd")), 1007),
        (deflated(b"\xff\xfe"), 1007),
        (encode(Frame(BINARY, b"\x03\x00" * 20, rsv=4, mask=b"abcd")), 1007),
        (encode(Frame(CONTINUE, b"", rsv=4, mask=b"abcd")), 1002),
        (encode(Frame(PING, b"", rsv=4, mask=b"abcd")), 1002),
    ],
)
def test_bombs_and_garbage_are_refused(make_manager: Make, wire: bytes, code: int) -> None:
    upgrade = {"compression": True}
    limits = Limits(ws_message=100_000)
    manager, listener, echo = serving(make_manager, upgrade=upgrade, limits=limits)
    with Peer.of(manager, listener, OFFER) as peer:
        peer.send(wire)
        assert peer.until_the_end() == [Frame(CLOSE, code.to_bytes(2, "big"))]
        pump(manager, echo.saw(MG_EV_CLOSE))
    assert echo.messages == []
    assert len(echo.data(MG_EV_ERROR)) == 1


def test_a_message_that_ends_its_deflate_stream_is_taken(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    packer = zlib.compressobj(wbits=-15)
    payload = packer.compress(b"final") + packer.flush(zlib.Z_FINISH) + b"\x00"
    with Peer.of(manager, listener, OFFER) as peer:
        peer.send(encode(Frame(TEXT, payload, rsv=4, mask=b"abcd")), deflated(b"next"))
        pump(manager, lambda: len(echo.messages) == 2)
    assert echo.messages == [(TEXT, b"final"), (TEXT, b"next")]


def test_a_message_that_was_not_sent_is_not_in_the_window(make_manager: Make) -> None:
    limits = Limits(send_backlog=3000)
    upgrade = {"compression": True}
    manager, listener, echo = serving(make_manager, upgrade=upgrade, limits=limits)
    with Peer.of(manager, listener, OFFER) as peer:
        conn = echo.conn
        assert conn is not None
        data = random.Random(1).randbytes(8000)  # cannot be made smaller
        with pytest.raises(Error, match="limit"):
            conn.ws_send(data, WEBSOCKET_OP_BINARY)
        conn.ws_send(data[:1000], WEBSOCKET_OP_BINARY)
        frame = peer.frame()
        assert inflated([frame]) == [data[:1000]]


def test_a_client_of_ours_and_a_server_of_ours_compress(make_manager: Make) -> None:
    echo = Echo(compression=True)
    manager = make_manager()
    url = url_of(manager.listen("http://127.0.0.1:0", echo), "ws")
    texts = ["", "short", "long and " * 1000, "long and " * 1000]
    seen: list[str] = []

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            for one in texts:
                conn.ws_send(one)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)

    manager.ws_connect(url, client, compression=True)
    pump(manager, lambda: len(seen) == len(texts))
    assert seen == texts


# -- lifetimes --------------------------------------------------------------


def test_closed_websockets_leave_nothing_behind(make_manager: Make) -> None:
    manager, listener, echo = serving(make_manager, upgrade={"compression": True})
    echo.calls = _Forgetful()
    for _ in range(20):
        with Peer.of(manager, listener, OFFER) as peer:
            peer.send(deflated(b"x" * 200))
            peer.frame()
    pump(manager, lambda: len(manager.connections) == 1)
    echo.conn = None
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is Connection and o is not listener]
    assert [o for o in alive if o.id] == []


class _Forgetful(list):  # type: ignore[type-arg]
    """A list that keeps nothing."""

    def append(self, item: object) -> None:
        pass
