"""UDP: one datagram is one event and one ``send()``."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any, Callable

import pytest
from conftest import Recorder, pump, turns, udp_socket, url_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mongoose_py import MG_EV_CONNECT, MG_EV_READ, Connection, Manager, SystemCallError

MakeManager = Callable[..., Manager]


def echo(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_READ:
        conn.send(data)


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=1400), min_size=1, max_size=40))
def test_each_datagram_is_one_read_with_that_datagram(datagrams: list[bytes]) -> None:
    seen = Recorder()
    with Manager(seen) as manager, udp_socket() as client:
        listener = manager.listen("udp://127.0.0.1:0")
        assert listener.local_addr is not None
        for datagram in datagrams:
            client.sendto(datagram, listener.local_addr[:2])
        pump(manager, seen.saw(MG_EV_READ, len(datagrams)))
        assert seen.data(MG_EV_READ) == datagrams
        assert listener.recv_len == 0


def test_a_listener_answers_the_sender_of_the_last_datagram(make_manager: MakeManager) -> None:
    seen = Recorder(echo)
    manager = make_manager(seen)
    listener = manager.listen("udp://127.0.0.1:0")
    assert listener.local_addr is not None
    with udp_socket() as one, udp_socket() as two:
        one.sendto(b"from one", listener.local_addr[:2])
        pump(manager, seen.saw(MG_EV_READ))
        assert listener.remote_addr == (*one.getsockname(), False)
        two.sendto(b"from two", listener.local_addr[:2])
        pump(manager, seen.saw(MG_EV_READ, 2))
        assert listener.remote_addr == (*two.getsockname(), False)
        assert (one.recv(100), two.recv(100)) == (b"from one", b"from two")
    assert seen.names() == ["OPEN", "READ", "WRITE", "READ", "WRITE"]


def test_a_client_may_send_at_once_and_gets_the_answer(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("udp://127.0.0.1:0", echo)
    conn = manager.connect(url_of(listener, "udp"))
    assert (conn.is_udp, conn.is_client, conn.is_listening) == (True, True, False)
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]
    assert seen.conns(MG_EV_CONNECT) == [conn]
    conn.send("ping")
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [b"ping"]
    assert seen.names()[3:] == ["WRITE", "READ"]


def test_the_largest_datagram_passes_and_a_larger_one_is_refused(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("udp://127.0.0.1:0")
    conn = manager.connect(url_of(listener, "udp"), lambda *_: None)
    conn.send(bytes(65_507))
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [bytes(65_507)]
    with pytest.raises(SystemCallError, match=r"65508 bytes to .*: Message too long") as info:
        conn.send(bytes(65_508))
    assert info.value.errno == errno.EMSGSIZE
    assert not conn.is_closing


def test_a_listener_that_has_heard_nobody_cannot_send(make_manager: MakeManager) -> None:
    listener = make_manager().listen("udp://127.0.0.1:0")
    with pytest.raises(RuntimeError, match="send of 1 bytes"):
        listener.send(b"x")


def test_nobody_at_the_other_end_is_no_reason_to_close(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with udp_socket() as nobody:
        port = nobody.getsockname()[1]
    conn = manager.connect(f"udp://127.0.0.1:{port}")
    for _ in range(3):
        with suppress(SystemCallError):  # the system may tell that nobody is there
            conn.send(b"x")
        turns(manager)
    assert conn.id > 0
    assert "CLOSE" not in seen.names()


def test_bytes_cannot_be_kept_beyond_their_datagram(make_manager: MakeManager) -> None:
    refused: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            with pytest.raises(RuntimeError, match="recv_keep"):
                conn.recv_keep(1)
            refused.append(data)

    manager = make_manager(handle)
    listener = manager.listen("udp://127.0.0.1:0")
    manager.connect(url_of(listener, "udp"), lambda *_: None).send(b"ab")
    pump(manager, lambda: refused)


def test_without_a_taker_a_datagram_waits_and_can_be_consumed(make_manager: MakeManager) -> None:
    manager = make_manager()
    listener = manager.listen("udp://127.0.0.1:0")
    client = manager.connect(url_of(listener, "udp"))
    client.send(b"one")
    client.send(b"two")
    pump(manager, lambda: listener.recv_len)
    assert listener.recv_data() == b"one"
    listener.recv_consume(3)
    pump(manager, lambda: listener.recv_len)
    assert listener.recv_data() == b"two"


def test_an_empty_datagram_is_one_too(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("udp://127.0.0.1:0")
    manager.connect(url_of(listener, "udp"), lambda *_: None).send(b"")
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [b""]


def test_udp_works_over_ipv6(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("udp://[::1]:0", echo)
    conn = manager.connect(url_of(listener, "udp"))
    conn.send(b"six")
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [b"six"]
    assert listener.remote_addr == conn.local_addr
