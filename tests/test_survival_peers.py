"""However a peer leaves, or does not: the loop goes on."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from typing import Any, Callable

import pytest
from conftest import dial, exchange, pump, receive_all, running, turns
from scene import GET, LAST

from mongoose_py import (
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_POLL,
    MG_EV_READ,
    Connection,
    Error,
    Limits,
    Manager,
    event_name,
)

MakeManager = Callable[..., Manager]


# -- peers that cut ------------------------------------------------------------


def cut(sock: socket.socket) -> None:
    """End a connection by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
RESETS = {
    "nothing sent": b"",
    "in the start line": GET[:9],
    "in a header": GET[:20],
    "in a body": UPLOAD.replace(b"upload", b"plain"),
    "in a streamed body": UPLOAD,
    "in an answer": GET.replace(b"/", b"/large", 1),
    "in an endless answer": GET.replace(b"/", b"/endless", 1),
    "behind a request": GET,
    "behind many requests": GET * 2000,
}


@pytest.mark.parametrize("sent", RESETS.values(), ids=RESETS)
def test_a_reset_ends_that_connection_only(make_manager: MakeManager, sent: bytes) -> None:
    names: dict[Connection, list[str]] = {}

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev != MG_EV_POLL:
            names.setdefault(conn, []).append(event_name(ev)[6:])
        if ev == MG_EV_HTTP_HDRS and data.uri == "/upload":
            conn.stream_body()
        elif ev == MG_EV_HTTP_MSG and data.uri == "/endless":
            conn.reply(200, "", {"Transfer-Encoding": "chunked"})
            conn.http_chunk(b"x" * 100_000)
        elif ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 10_000_000 if data.uri == "/large" else b"hello")

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    sock = dial(listener)
    sock.sendall(sent)
    turns(manager, 5)
    cut(sock)
    pump(manager, lambda: manager.connections == (listener,))
    del names[listener]
    (events,) = names.values()
    assert events[-1] == "CLOSE"
    assert events.count("CLOSE") == 1
    with closing(dial(listener)) as sock:
        assert exchange(manager, sock, GET, b"hello")


# -- peers that are slow -------------------------------------------------------


def status_lines(stream: bytes) -> list[bytes]:
    return [line for line in stream.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


SLOW = {
    "a head that does not come on": (Limits(header_timeout=0.05), GET[:20], b"408"),
    "a body that does not come on": (Limits(body_timeout=0.05), UPLOAD, b"408"),
    "chunks that do not come on": (
        Limits(body_timeout=0.05),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"408",
    ),
    "nothing behind an answer": (Limits(keepalive_timeout=0.05), GET, b"200"),
    "nothing at all": (Limits(keepalive_timeout=0.05), b"", b""),
}


@pytest.mark.parametrize(("limits", "sent", "status"), SLOW.values(), ids=SLOW)
def test_a_peer_that_does_not_come_on_is_given_up(
    make_manager: MakeManager, limits: Limits, sent: bytes, status: bytes
) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200)
        elif ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=limits)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(sent)
        with running(manager):
            got = receive_all(sock)
    assert [line.split(b" ")[1] for line in status_lines(got)] == ([status] if status else [])
    assert errors == []


def test_bytes_that_trickle_do_not_prolong_the_time_for_a_head(make_manager: MakeManager) -> None:
    manager = make_manager(limits=Limits(header_timeout=0.1))
    listener = manager.listen("http://127.0.0.1:0")
    got = bytearray()
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(GET[:-2])
        sock.settimeout(0.01)  # the pace of the trickle
        for number in range(500):
            with suppress(OSError):  # no answer yet, or no reader any more
                sock.sendall(b"a%d: b\r\n" % number if number < 90 else b"")
            with suppress(socket.timeout):
                got += sock.recv(65536)
                break
    assert got.startswith(b"HTTP/1.1 408 ")


def test_a_server_that_does_not_come_on_is_given_up_by_the_client(
    make_manager: MakeManager,
) -> None:
    events: list[tuple[int, Any]] = []
    manager = make_manager(
        lambda conn, ev, data: events.append((ev, data)), limits=Limits(body_timeout=0.05)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        conn = manager.connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        conn.request("GET")
        turns(manager, 5)
        peer, _ = server.accept()
        with closing(peer):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
            pump(manager, lambda: conn.id == 0)
    assert [data for ev, data in events if ev == MG_EV_ERROR and "body_timeout" in data]
    assert MG_EV_HTTP_MSG not in [ev for ev, _ in events]


def test_a_connection_that_is_not_made_in_time_is_an_error(make_manager: MakeManager) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=Limits(connect_timeout=0.05))
    with closing(socket.socket()) as full:  # its queue is full: the kernel leaves SYNs unanswered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
            waiting.append(sock)
        conn = manager.connect("tcp://{}:{}".format(*full.getsockname()))
        pump(manager, lambda: conn.id == 0)
        for sock in waiting:
            sock.close()
    assert len(errors) == 1
    assert "connect_timeout" in errors[0]


def test_a_peer_that_does_not_read_its_answer_is_given_up(make_manager: MakeManager) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 20_000_000)
        elif ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=Limits(body_timeout=0.1))
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(GET)
        pump(manager, lambda: len(manager.connections) == 2)
        pump(manager, lambda: len(manager.connections) == 1)
    assert len(errors) == 1
    assert "took no bytes" in errors[0]


def test_a_queue_that_nobody_empties_has_an_end(make_manager: MakeManager) -> None:
    manager = make_manager(limits=Limits(send_backlog=1_000_000))
    listener = manager.listen("tcp://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        pump(manager, lambda: len(manager.connections) == 2)
        conn = manager.connections[0]
        with pytest.raises(Error, match="100000 bytes"):
            for _ in range(1000):
                conn.send(b"x" * 100_000)
                manager.poll(0)
        unsent = conn.send_len
        assert 900_000 <= unsent <= 1_000_000
        sock.setblocking(False)
        got = 0

        def drained() -> bool:
            nonlocal got
            with suppress(BlockingIOError):
                got += len(sock.recv(1 << 20))
            return conn.send_len == 0

        pump(manager, drained, ms=1)
        conn.send(b"there is room again")


# -- half-closed connections ---------------------------------------------------


def test_an_answer_that_comes_late_reaches_a_peer_that_sends_no_more(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            manager.timer_add(30, lambda: conn.reply(200, data.uri or "later"))

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(GET * 3)
        sock.shutdown(socket.SHUT_WR)
        got = receive_all(sock)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 3


def test_a_raw_peer_that_sends_no_more_gets_what_is_queued(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            conn.send(data * 1000)

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(b"0123456789" * 1000)
        sock.shutdown(socket.SHUT_WR)
        assert len(receive_all(sock)) == 10_000_000


def test_an_answer_arrives_whole_though_its_reader_goes_on_sending(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 3_000_000)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(LAST + b"x" * 800_000)  # closing on unread bytes would be a reset
        assert receive_all(sock).endswith(b"\r\n\r\n" + b"x" * 3_000_000)
