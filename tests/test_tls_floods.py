"""Many TLS handshakes at a time, of those who finish and of those who never do."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any, Callable

import pytest
from certificates import localhost, trusting
from conftest import Recorder, dial, pump, turns, url_of
from tlskit import client_context

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_TLS_HS,
    Limits,
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]
Sockets = Callable[[socket.socket], socket.socket]
PER_TURN = 32  # steps of handshakes


def first_bytes() -> bytes:
    """Return what a client sends first."""
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(arrived, leaving, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return leaving.read()


def test_of_handshakes_that_never_end_the_first_makes_room(
    make_manager: Make, sockets: Sockets
) -> None:
    manager, server, client = make_manager(limits=Limits(tls_handshakes=3)), Recorder(), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    for i in range(8):
        sockets(dial(listener))
        pump(manager, server.saw(MG_EV_ACCEPT, i + 1))
    assert server.conns(MG_EV_ERROR) == server.conns(MG_EV_ACCEPT)[:5]
    assert all("tls_handshakes limit: 3" in text for text in server.data(MG_EV_ERROR))
    pump(manager, server.saw(MG_EV_CLOSE, 5))
    manager.connect(url_of(listener, "tls"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_TLS_HS))
    assert not client.data(MG_EV_ERROR)
    assert server.conns(MG_EV_ERROR) == server.conns(MG_EV_ACCEPT)[:6]


def test_handshakes_that_are_done_or_have_failed_take_no_room(make_manager: Make) -> None:
    manager, server, client = make_manager(limits=Limits(tls_handshakes=1)), Recorder(), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    for i in range(4):
        manager.connect(url_of(listener, "tls"), client, tls=trusting())
        pump(manager, client.saw(MG_EV_TLS_HS, i + 1))
        pump(manager, server.saw(MG_EV_TLS_HS, i + 1))
    for i in range(3):
        manager.connect(url_of(listener, "tls"), tls=TlsOpts())  # does not trust it
        pump(manager, server.saw(MG_EV_ERROR, i + 1))
    manager.connect(url_of(listener, "tls"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_TLS_HS, 5))
    assert not client.data(MG_EV_ERROR)
    assert not any("tls_handshakes" in text for text in server.data(MG_EV_ERROR))


def test_a_handler_may_close_others_when_one_makes_room(
    make_manager: Make, sockets: Sockets
) -> None:
    def close_all(conn: Any, ev: int, data: Any) -> None:
        if ev == MG_EV_ERROR:
            for other in server.conns(MG_EV_ACCEPT):
                other.close()

    manager, server = make_manager(limits=Limits(tls_handshakes=2)), Recorder(close_all)
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    for _ in range(9):
        sockets(dial(listener))
    pump(manager, server.saw(MG_EV_CLOSE, 9))
    assert len(server.data(MG_EV_ERROR)) == 3  # each third one finds two in its way


def test_a_crowd_of_handshakes_leaves_others_their_turn(
    make_manager: Make, sockets: Sockets
) -> None:
    manager, server = make_manager(), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    crowd = [sockets(dial(listener)) for _ in range(100)]
    pump(manager, server.saw(MG_EV_ACCEPT, len(crowd)))
    hello, answered = first_bytes(), 0
    for sock in crowd:
        sock.sendall(hello)
    while answered < len(crowd):
        turns(manager, 1)
        now = len(select.select(crowd, [], [], 0)[0])
        assert now - answered <= PER_TURN
        answered = now
