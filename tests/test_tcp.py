"""Raw TCP: what was sent comes out, once, and readers set the pace."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, dial, exchange, pump, turns
from hypothesis import given, settings
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_READ,
    Connection,
    Error,
    Limits,
    Manager,
)

MakeManager = Callable[..., Manager]


def echo(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_READ:
        conn.send(data)


def line_server(lines: list[bytes]) -> Callable[[Connection, int, Any], None]:
    """Collects whole lines; leaves an unfinished one in the buffer."""

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            *whole, rest = data.split(b"\n")
            lines.extend(whole)
            conn.recv_keep(len(rest))

    return handle


# -- reading ---------------------------------------------------------------------------


def test_an_echo_server_returns_each_message_once(make_manager: MakeManager) -> None:
    manager = make_manager(echo)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        assert exchange(manager, client, b"a", b"a") == b"a"
        assert exchange(manager, client, b"b", b"b") == b"b"
        assert exchange(manager, client, b"c" * 5000 + b"d", b"d") == b"c" * 5000 + b"d"


def test_more_than_the_receive_buffer_passes_through(make_manager: MakeManager) -> None:
    received = [0]

    def count(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            received[0] += len(data)

    manager = make_manager(count, limits=Limits(recv_buffer=100_000))
    total = 5_000_000
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.setblocking(False)
        left = memoryview(bytes(total))

        def all_received() -> bool:
            nonlocal left
            with suppress(BlockingIOError):
                left = left[client.send(left) :] if left else left
            return received[0] == total

        pump(manager, all_received, ms=1)


def test_during_read_the_new_bytes_can_be_peeked_at(make_manager: MakeManager) -> None:
    peeked: list[Any] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            peeked.append((data, conn.recv_data(), conn.recv_data(2), conn.recv_len))

    manager = make_manager(handle)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"hello")
        pump(manager, lambda: peeked)
        (conn, _) = manager.connections
        assert conn.recv_len == 0  # consumed
    assert peeked == [(b"hello", b"hello", b"he", 5)]


def test_bytes_that_were_kept_come_again_in_front_of_the_next(make_manager: MakeManager) -> None:
    lines: list[bytes] = []
    seen = Recorder(line_server(lines))
    manager = make_manager(seen)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        for n, piece in enumerate([b"one\ntw", b"o\nth", b"ree\n"], 1):
            client.sendall(piece)
            pump(manager, seen.saw(MG_EV_READ, n))
    assert lines == [b"one", b"two", b"three"]
    assert seen.data(MG_EV_READ) == [b"one\ntw", b"two\nth", b"three\n"]


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_do_not_depend_on_how_they_are_split(texts: list[bytes], data: st.DataObject) -> None:
    lines: list[bytes] = []
    seen = Recorder(line_server(lines))
    with Manager(seen) as manager, dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = b"".join(text + b"\n" for text in texts)
        while wire:
            n = data.draw(st.integers(1, len(wire)))
            client.sendall(wire[:n])
            wire = wire[n:]
            manager.poll(0)
        pump(manager, lambda: lines == texts or len(lines) > len(texts))
        assert lines == texts


def test_more_than_was_given_cannot_be_kept(make_manager: MakeManager) -> None:
    refused: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            for n in (len(data) + 1, -1):
                with pytest.raises(ValueError, match=f"n must be .*, not {n}"):
                    conn.recv_keep(n)
            refused.append("twice")

    manager = make_manager(handle)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"x")
        pump(manager, lambda: refused)


def test_keeping_is_for_a_running_read_only(make_manager: MakeManager) -> None:
    listener = make_manager().listen("tcp://127.0.0.1:0")
    with pytest.raises(Error, match="recv_keep"):
        listener.recv_keep(0)


def test_bytes_nobody_takes_wait_and_can_be_consumed(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, events=[MG_EV_ACCEPT])
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"abcdef")
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        pump(manager, lambda: conn.recv_len == 6)
        assert conn.recv_data() == b"abcdef"
        assert conn.recv_size >= 6
        conn.recv_consume(2)
        assert (conn.recv_data(), conn.recv_len) == (b"cdef", 4)
        with pytest.raises(ValueError, match="not 5"):
            conn.recv_consume(5)
        with pytest.raises(ValueError, match="not -1"):
            conn.recv_consume(-1)
        conn.recv_consume(4)
        assert conn.recv_data() == b""


def test_bytes_that_wait_come_when_a_handler_takes_them(make_manager: MakeManager) -> None:
    seen, later = Recorder(), Recorder()
    manager = make_manager(seen, events=[MG_EV_ACCEPT])
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"first")
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        pump(manager, lambda: conn.recv_len == 5)
        conn.set_handler(later)
        client.sendall(b" second")
        pump(manager, lambda: b"".join(later.data(MG_EV_READ)) == b"first second")


def test_a_full_buffer_stops_the_sender_and_loses_nothing(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, events=[MG_EV_ACCEPT], limits=Limits(recv_buffer=10_000))
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        client.setblocking(False)
        sent = 0
        wire = bytes(range(256)) * 4096
        blocked = 0
        while blocked < 5 and sent < len(wire):
            try:
                sent += client.send(wire[sent:])
            except BlockingIOError:
                blocked += 1
            manager.poll(1)
        assert conn.is_full is True
        assert conn.recv_len < 100_000
        got = b""
        while len(got) < sent:
            piece = conn.recv_data()
            conn.recv_consume(len(piece))
            got += piece
            manager.poll(1)
        assert got == wire[:sent]
        assert conn.is_full is False


# -- pausing ---------------------------------------------------------------------------


def test_a_paused_connection_reads_nothing_until_it_resumes(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        assert conn.is_full is False
        conn.pause()
        assert conn.is_full is True
        client.sendall(b"x")
        turns(manager, 5)
        assert seen.data(MG_EV_READ) == []
        conn.resume()
        assert conn.is_full is False
        pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [b"x"]


# -- writing ---------------------------------------------------------------------------


def test_write_tells_that_bytes_have_left(make_manager: MakeManager) -> None:
    seen = Recorder(echo)
    manager = make_manager(seen)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        exchange(manager, client, b"x", b"x")
        turns(manager)
    (conn,) = seen.conns(MG_EV_ACCEPT)
    assert seen.names(conn)[:4] == ["OPEN", "ACCEPT", "READ", "WRITE"]


def test_a_large_payload_leaves_in_the_call_and_write_tells_of_it_once(
    make_manager: MakeManager,
) -> None:
    unsent: list[int] = []

    def answer(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            conn.send(b"head")
            conn.send(bytes(20_000))
            unsent.append(conn.send_len)

    seen = Recorder(answer)
    manager = make_manager(seen)
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        exchange(manager, client, b"x", b"head" + bytes(20_000))
        turns(manager)
    assert unsent == [0]
    (conn,) = seen.conns(MG_EV_ACCEPT)
    assert seen.names(conn)[:4] == ["OPEN", "ACCEPT", "READ", "WRITE"]
    assert seen.names(conn).count("WRITE") == 1


def test_sending_more_than_the_backlog_allows_is_an_error(make_manager: MakeManager) -> None:
    manager = make_manager(limits=Limits(send_backlog=1000))
    listener = manager.listen("tcp://127.0.0.1:0")
    assert listener.local_addr is not None
    conn = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}")
    conn.send(bytes(600))
    with pytest.raises(Error, match="send of 600 bytes: a limit of the manager"):
        conn.send(bytes(600))
    assert conn.send_len == 600


def test_a_client_may_send_before_it_is_connected(make_manager: MakeManager) -> None:
    seen, client = Recorder(echo), Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    assert listener.local_addr is not None
    conn = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}", client)
    conn.send("early")
    pump(manager, client.saw(MG_EV_READ))
    assert client.data(MG_EV_READ) == [b"early"]
    assert client.names() == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "READ"]


# -- clients against others ------------------------------------------------------------


def test_a_client_talks_to_a_plain_server_and_sees_its_end(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(DEADLINE)
        conn = manager.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        pump(manager, seen.saw(MG_EV_CONNECT))
        peer, address = server.accept()
        with peer:
            peer.settimeout(DEADLINE)
            assert conn.local_addr == (*address, False)
            conn.send(b"question")
            turns(manager)
            assert peer.recv(100) == b"question"
            peer.sendall(b"answer")
        pump(manager, seen.saw(MG_EV_CLOSE))
    assert b"".join(seen.data(MG_EV_READ)) == b"answer"
    assert seen.data(MG_EV_ERROR) == []
    assert seen.names()[-1] == "CLOSE"


def test_a_connect_that_takes_too_long_fails(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, limits=Limits(connect_timeout=0.02))
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # the backlog is full: a handshake waits
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        manager.connect(f"tcp://127.0.0.1:{full.getsockname()[1]}")
        pump(manager, seen.saw(MG_EV_CLOSE))
        for filler in fillers:
            filler.close()
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]


def test_more_connections_than_allowed_are_refused(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, limits=Limits(connections=3))
    listener = manager.listen("tcp://127.0.0.1:0")
    clients = [dial(listener) for _ in range(4)]
    pump(manager, seen.saw(MG_EV_ACCEPT, 2))
    turns(manager, 5)
    assert len(manager.connections) == 3
    with pytest.raises(Error, match="Failed to connect to"):
        manager.connect("tcp://127.0.0.1:1")
    for client in clients:
        client.close()
