"""``Manager.sse_broadcast``: one event for everybody who watches."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import Any, Callable

import pytest
from conftest import Recorder, dial, pump, receive_until
from hypothesis import given
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_HTTP_MSG,
    Connection,
    Error,
    Limits,
    Manager,
)
from mongoose_py.http import event_text

Make = Callable[..., Manager]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
STREAM = {"Content-Type": "text/event-stream"}


def streaming(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_HTTP_MSG:
        conn.reply(200, "", STREAM)


class Watched:
    """A server of event streams, and sockets that watch it."""

    def __init__(self, stack: ExitStack, make_manager: Make, count: int, **options: Any) -> None:
        heard = Recorder(streaming)
        self.manager = make_manager(heard, **options)
        listener = self.manager.listen("http://127.0.0.1:0")
        self.socks = [stack.enter_context(closing(dial(listener))) for _ in range(count)]
        for sock in self.socks:
            sock.sendall(GET)
        pump(self.manager, heard.saw(MG_EV_HTTP_MSG, count))
        self.conns = heard.conns(MG_EV_HTTP_MSG)
        self.heard = heard

    def read(self, sock: socket.socket, end: bytes) -> bytes:
        for _ in range(3):
            self.manager.poll(0)
        return receive_until(sock, end)


def test_everybody_gets_the_event(make_manager: Make) -> None:
    with ExitStack() as stack:
        watched = Watched(stack, make_manager, 3)
        assert watched.manager.sse_broadcast(watched.conns, "name", "one\ntwo") == 3
        event = b"event: name\ndata: one\ndata: two\n\n"
        for sock in watched.socks:
            got = watched.read(sock, b"\n\n\r\n")
            assert got.endswith(b"%x\r\n%s\r\n" % (len(event), event))


def test_http_10_gets_it_without_chunks(make_manager: Make) -> None:
    manager = make_manager(heard := Recorder(streaming))
    with closing(dial(manager.listen("http://127.0.0.1:0"))) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        pump(manager, heard.saw(MG_EV_HTTP_MSG))
        assert manager.sse_broadcast(heard.conns(MG_EV_HTTP_MSG), "", "x") == 1
        manager.poll(0)
        assert receive_until(sock, b"data: x\n\n").endswith(b"\r\n\r\ndata: x\n\n")


def test_those_for_whom_http_sse_would_fail_are_left_out(make_manager: Make) -> None:
    with ExitStack() as stack:
        watched = Watched(stack, make_manager, 3)
        gone, ended, open_ = watched.conns
        idle = stack.enter_context(closing(dial(watched.manager.listen("http://127.0.0.1:0"))))
        idle.sendall(b"")
        client = watched.manager.connect(watched.manager.listen("http://127.0.0.1:0").url)
        pump(watched.manager, watched.heard.saw(MG_EV_CONNECT))
        pump(watched.manager, watched.heard.saw(MG_EV_ACCEPT, 5))
        gone.close()
        pump(watched.manager, watched.heard.saw(MG_EV_CLOSE))
        ended.http_chunk("")
        everybody = [*watched.manager.connections, gone]
        assert client in everybody
        assert watched.manager.sse_broadcast(everybody, "", "x") == 1
        for conn in everybody:
            if conn is not open_:
                with pytest.raises(Error):
                    conn.http_sse("", "x")


def test_who_does_not_read_is_passed_over_and_loses_nothing_else(make_manager: Make) -> None:
    with ExitStack() as stack:
        watched = Watched(stack, make_manager, 2, limits=Limits(send_backlog=100_000))
        slow, quick = watched.conns
        with pytest.raises(Error, match="limit"):
            while True:  # until neither the system nor we take any more of it
                slow.http_sse("", "x" * 50_000)
        left = slow.send_len
        assert watched.manager.sse_broadcast([slow, quick], "", "y" * 50_000) == 1
        assert slow.send_len == left
        assert not slow.is_closing


def test_arguments_that_fit_nothing_are_refused(make_manager: Make) -> None:
    manager, other = make_manager(), make_manager()
    listener = other.listen("http://127.0.0.1:0")
    with pytest.raises(ValueError, match="event_type must be one line"):
        manager.sse_broadcast([], "a\nb", "x")
    with pytest.raises(ValueError, match="is not of this manager"):
        manager.sse_broadcast([listener], "", "x")
    with pytest.raises(TypeError):
        manager.sse_broadcast([], "", 5)
    assert manager.sse_broadcast([], "", "x") == 0
    manager.close()
    with pytest.raises(Error, match="Manager has been closed"):
        manager.sse_broadcast([], "", "x")


@given(
    st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8")),
    st.text(st.characters(codec="utf-8")),
)
def test_an_event_is_never_empty_and_so_never_ends_a_stream(name: str, data: str) -> None:
    assert event_text(name, data)
