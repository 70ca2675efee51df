"""WebSocket messages and close frames as they are sent, and silence."""

from __future__ import annotations

import threading
from typing import Any, Callable

import pytest
from conftest import pump, running, turns
from wsecho import opened, serving
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
    decode,
    text,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_WS_OPEN,
    WEBSOCKET_OP_BINARY,
    WEBSOCKET_OP_CLOSE,
    WEBSOCKET_OP_CONTINUE,
    WEBSOCKET_OP_PING,
    WEBSOCKET_OP_TEXT,
    Connection,
    ConnectionClosed,
    Error,
    Limits,
    Manager,
)

Make = Callable[..., Manager]


# -- sending -------------------------------------------------------------------


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


# -- closing -------------------------------------------------------------------


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
