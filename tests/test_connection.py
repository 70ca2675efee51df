"""Connections as objects: properties, life, the closed state."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Callable

import pytest
from conftest import Recorder, dial, pump, turns
from hypothesis import given, settings
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_WRITE,
    Connection,
    ConnectionClosed,
    HttpMessage,
    Manager,
)

MakeManager = Callable[..., Manager]

FLAGS = [
    "is_listening",
    "is_client",
    "is_tls",
    "is_udp",
    "is_websocket",
    "is_readable",
    "is_writable",
    "is_full",
    "is_draining",
]
COUNTS = ["recv_len", "recv_size", "send_len", "send_size"]


@pytest.fixture
def closed(make_manager: MakeManager) -> Connection:
    """A connection whose end is over."""
    manager = make_manager(Recorder())
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.userdata = "kept"
    conn.close()
    pump(manager, lambda: conn.id == 0)
    return conn


# -- open ----------------------------------------------------------------------------


def test_numbers_are_positive_and_never_used_twice(make_manager: MakeManager) -> None:
    manager = make_manager()
    numbers = []
    for _ in range(5):
        conn = manager.listen("tcp://127.0.0.1:0")
        numbers.append(conn.id)
        conn.close()
        turns(manager)
    assert numbers == sorted({*numbers})
    assert numbers[0] > 0


@pytest.mark.parametrize("scheme", ["tcp", "udp", "http"])
def test_a_fresh_listener_is_just_that(scheme: str, make_manager: MakeManager) -> None:
    conn = make_manager().listen(f"{scheme}://127.0.0.1:0")
    true = {"is_listening"} | ({"is_udp"} if scheme == "udp" else set())
    for name in [*FLAGS, "is_closing"]:
        assert getattr(conn, name) is (name in true), name
    assert conn.remote_addr is None
    assert conn.local_addr is not None
    host, port, is_ipv6 = conn.local_addr
    assert (host, is_ipv6) == ("127.0.0.1", False)
    assert is_ipv6 is False
    assert port > 0
    assert [getattr(conn, name) for name in COUNTS] == [0, 0, 0, 0]


def test_an_accepted_connection_knows_both_its_ends(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://0.0.0.0:0")
    assert listener.local_addr is not None
    client = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}")
    pump(manager, seen.saw(MG_EV_ACCEPT))
    (conn,) = seen.conns(MG_EV_ACCEPT)
    assert conn.local_addr == ("127.0.0.1", listener.local_addr[1], False) == client.remote_addr
    assert conn.remote_addr == client.local_addr
    assert (conn.is_client, client.is_client) == (False, True)
    assert (conn.is_listening, client.is_listening) == (False, False)


def test_userdata_is_kept_from_event_to_event(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ACCEPT:
            assert conn.userdata is None
            conn.userdata = {"reads": 0}
        elif ev == MG_EV_READ:
            conn.userdata["reads"] += 1
        elif ev == MG_EV_CLOSE and conn.userdata:
            done.append(conn.userdata)

    done: list[dict[str, int]] = []
    manager = make_manager(handle)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"x")
        pump(manager, lambda: len(manager.connections) == 2)
        turns(manager)
    pump(manager, lambda: done)
    assert done == [{"reads": 1}]


def test_connections_have_identity_and_no_other_attributes(make_manager: MakeManager) -> None:
    manager = make_manager()
    one, two = (manager.listen("tcp://127.0.0.1:0") for _ in range(2))
    assert one != two
    assert {one: 1, two: 2}[two] == 2
    with pytest.raises(AttributeError):
        one.nonsense = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        one.id = 5  # type: ignore[misc]


def test_connections_can_be_referred_to_weakly(make_manager: MakeManager) -> None:
    manager = make_manager()
    conn = manager.listen("tcp://127.0.0.1:0")
    ref = weakref.ref(conn)
    assert ref() is conn
    conn.close()
    del conn
    turns(manager)
    gc.collect()
    assert ref() is None


def test_repr_names_the_number_and_what_the_socket_is_ready_for(
    make_manager: MakeManager, closed: Connection
) -> None:
    conn = make_manager().listen("tcp://127.0.0.1:0")
    assert repr(conn) == f"<Connection id={conn.id} readable=False writable=False>"
    assert repr(closed) == "<Connection closed>"


@pytest.mark.parametrize("flag", ["is_readable", "is_writable"])
def test_readiness_is_a_bool(flag: str, make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"x")
        pump(manager, seen.saw(MG_EV_READ))
    (conn,) = seen.conns(MG_EV_ACCEPT)
    assert isinstance(getattr(conn, flag), bool)


# -- closing ---------------------------------------------------------------------------


def test_close_only_marks_and_the_end_comes_from_the_loop(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.close()
    assert conn.is_closing
    assert seen.names() == ["OPEN"]
    conn.close()
    manager.poll()
    assert seen.names() == ["OPEN", "CLOSE"]
    assert conn.id == 0


def test_during_close_the_connection_can_still_be_asked(make_manager: MakeManager) -> None:
    asked: list[Any] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CLOSE:
            conn.close()  # no-op
            conn.drain()
            asked.append((conn.id, conn.local_addr, conn.userdata, conn.is_closing))

    manager = make_manager(handle)
    conn = manager.listen("tcp://127.0.0.1:0")
    conn.userdata = 7
    expected = (conn.id, conn.local_addr, 7, True)
    conn.close()
    pump(manager, lambda: asked)
    assert asked == [expected]


@pytest.mark.parametrize("ev", [MG_EV_ACCEPT, MG_EV_READ, MG_EV_WRITE, MG_EV_ERROR, MG_EV_CLOSE])
@pytest.mark.parametrize("whose", ["own", "other"])
def test_a_handler_may_close_anything_at_any_event(
    ev: int, whose: str, make_manager: MakeManager
) -> None:
    depth = [0]

    def handle(conn: Connection, number: int, data: Any) -> None:
        depth[0] += 1
        assert depth[0] == 1 or number != MG_EV_CLOSE, "CLOSE must not be nested"
        if number == MG_EV_READ:
            conn.send(data)
        if number == MG_EV_WRITE:
            conn.error("on purpose")
        if number == ev:
            for victim in [conn] if whose == "own" else others:
                victim.close()
        depth[0] -= 1

    manager = make_manager(Recorder(handle))
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener) as first, dial(listener) as second:
        pump(manager, lambda: len(manager.connections) in (1, 3))
        others = [conn for conn in manager.connections if conn is not listener]
        for client in (first, second):
            client.sendall(b"x")
        turns(manager, 5)
    pump(manager, lambda: manager.connections == (listener,))


def test_close_comes_once_per_connection_and_last(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    for _ in range(10):
        with dial(listener) as client:
            client.sendall(b"x")
    pump(manager, seen.saw(MG_EV_CLOSE, 10))
    for conn in {*seen.conns(MG_EV_ACCEPT)}:
        assert seen.names(conn) == ["OPEN", "ACCEPT", "READ", "CLOSE"]


def test_draining_sends_what_is_queued_and_then_closes(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            conn.send(b"a" * 200_000)
            assert conn.is_draining is False
            conn.drain()
            assert conn.is_draining is True
            conn.send(b"the end")

    manager = make_manager(handle)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"x")
        client.setblocking(False)
        got = bytearray()

        def ended() -> bool:
            try:
                piece = client.recv(65536)
            except BlockingIOError:
                return False
            got.extend(piece)
            return not piece

        pump(manager, ended, ms=1)
    assert bytes(got) == b"a" * 200_000 + b"the end"


# -- the closed state --------------------------------------------------------------------


def test_a_closed_connection_answers_every_question(closed: Connection) -> None:
    assert closed.id == 0
    assert closed.is_closing is True
    assert [getattr(closed, name) for name in FLAGS] == [False] * len(FLAGS)
    assert [getattr(closed, name) for name in COUNTS] == [0, 0, 0, 0]
    assert (closed.local_addr, closed.remote_addr) == (None, None)
    assert (closed.recv_data(), closed.send_data()) == (b"", b"")
    assert closed.userdata == "kept"
    closed.userdata = "changed"
    assert closed.userdata == "changed"


def test_closing_draining_and_set_handler_do_nothing_any_more(closed: Connection) -> None:
    assert closed.close() is None
    assert closed.drain() is None
    assert closed.set_handler(print) is None
    assert closed.handler is None


def test_a_closed_connection_keeps_its_last_handler(make_manager: MakeManager) -> None:
    manager = make_manager()
    conn = manager.listen("tcp://127.0.0.1:0", print)
    manager.close()
    conn.set_handler(len)
    assert conn.handler is print


SENDERS: dict[str, Callable[[Connection], object]] = {
    "send": lambda c: c.send(b"x"),
    "reply": lambda c: c.reply(200, b"x"),
    "reply_json": lambda c: c.reply_json({}),
    "http_chunk": lambda c: c.http_chunk(b"x"),
    "http_sse": lambda c: c.http_sse("e", "d"),
    "http_basic_auth": lambda c: c.http_basic_auth("u", "p"),
    "request": lambda c: c.request("GET"),
    "error": lambda c: c.error("e"),
    "pause": lambda c: c.pause(),
    "resume": lambda c: c.resume(),
    "recv_keep": lambda c: c.recv_keep(0),
    "recv_consume": lambda c: c.recv_consume(0),
    "stream_body": lambda c: c.stream_body(),
}


@pytest.mark.parametrize("name", SENDERS)
def test_whatever_sends_says_that_it_is_closed(name: str, closed: Connection) -> None:
    with pytest.raises(ConnectionClosed, match="Connection has been closed"):
        SENDERS[name](closed)
    with pytest.raises(ConnectionClosed, match="Connection has been closed"):
        SENDERS[name](Connection())


@pytest.mark.parametrize("name", SENDERS)
def test_closing_the_manager_closes_its_connections(name: str, make_manager: MakeManager) -> None:
    manager = make_manager()
    conn = manager.listen("tcp://127.0.0.1:0")
    manager.close()
    assert conn.id == 0
    with pytest.raises(ConnectionClosed):
        SENDERS[name](conn)


def test_a_stale_message_comes_before_a_closed_connection(closed: Connection) -> None:
    message = HttpMessage()
    for call in (closed.serve_dir, closed.serve_file):
        with pytest.raises(ValueError, match="HttpMessage is not valid for this event"):
            call(message, "/tmp")


def test_a_connection_made_by_hand_is_closed() -> None:
    conn = Connection()
    assert (conn.id, conn.handler, conn.userdata) == (0, None, None)
    assert conn.is_closing
    assert repr(conn) == "<Connection closed>"
    conn.close()
    conn.drain()
    conn.set_handler(print)


# -- sending ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [5, 0, None, 1.5, [1, 2], object()])
@pytest.mark.parametrize("method", ["send", "http_chunk", "error"])
def test_what_is_neither_text_nor_bytes_is_a_type_error(
    wrong: Any, method: str, make_manager: MakeManager
) -> None:
    conn = make_manager().connect("tcp://127.0.0.1:1")
    with pytest.raises(TypeError, match="must be str or a bytes-like object"):
        getattr(conn, method)(wrong)
    assert conn.send_len == 0


def test_text_that_is_no_unicode_cannot_be_sent(make_manager: MakeManager) -> None:
    conn = make_manager().connect("tcp://127.0.0.1:1")
    with pytest.raises(UnicodeEncodeError):
        conn.send("\ud800")
    assert conn.send_len == 0


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.binary()), st.data())
def test_the_send_queue_holds_what_was_sent_in_order(
    pieces: list[Any], data: st.DataObject
) -> None:
    with Manager(Recorder()) as manager:
        listener = manager.listen("tcp://127.0.0.1:0")
        assert listener.local_addr is not None
        conn = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}")
        wire = b""
        for piece in pieces:
            conn.send(piece)
            wire += piece.encode() if isinstance(piece, str) else piece
        assert conn.send_len == len(wire)
        assert conn.send_size >= len(wire)
        assert conn.send_data() == conn.send_data(-1) == wire
        n = data.draw(st.integers(-3, len(wire) + 3))
        assert conn.send_data(n) == (wire if n < 0 else wire[:n])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_objects_are_copied(kind: Any, make_manager: MakeManager) -> None:
    conn = make_manager().connect("tcp://127.0.0.1:1")
    data = bytearray(b"abc")
    conn.send(kind(data))
    data[:] = b"xyz"
    assert conn.send_data() == b"abc"


def test_a_listener_cannot_send(make_manager: MakeManager) -> None:
    listener = make_manager().listen("tcp://127.0.0.1:0")
    with pytest.raises(RuntimeError, match="not possible on this kind of connection"):
        listener.send(b"x")


def test_an_error_message_must_be_text_and_may_be_long(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    conn = manager.listen("http://127.0.0.1:0")
    conn.error("e" * 100_000)
    pump(manager, seen.saw(MG_EV_ERROR))
    assert seen.data(MG_EV_ERROR) == ["e" * 100_000]
    assert MG_EV_HTTP_MSG not in [ev for _, ev, _ in seen.calls]
