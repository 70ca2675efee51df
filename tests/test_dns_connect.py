"""Clients that connect to a host by its name, whichever of its addresses answers."""

from __future__ import annotations

import gc
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from conftest import DEADLINE, Recorder, pump, running
from dnsserver import PATIENT, A, MakeManager, Record, StartServer, reply, resolver, silent

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_OPEN,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    Handler,
    Limits,
    Manager,
)

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs 127.0.0.2, and listeners that drop"
)


# -- connecting ----------------------------------------------------------------------------


def test_a_client_connects_by_name_and_what_was_sent_before_arrives(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server({"host.test": ["127.0.0.1"]}), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    listener = manager.listen(
        "tcp://127.0.0.1:0", lambda conn, ev, data: ev == MG_EV_READ and conn.send(data)
    )
    port = listener.local_addr[1]
    conn = manager.connect(f"tcp://host.test:{port}")
    assert (seen.names(), conn.remote_addr) == (["OPEN"], None)
    conn.send("early ")
    conn.send("words")
    assert (conn.send_len, conn.send_data()) == (11, b"early words")
    pump(manager, lambda: b"".join(seen.data(MG_EV_READ)) == b"early words")
    assert seen.names()[:4] == ["OPEN", "RESOLVE", "CONNECT", "WRITE"]
    assert seen.data(MG_EV_RESOLVE) == [[("127.0.0.1", port, False)]]
    assert conn.remote_addr == ("127.0.0.1", port, False)


def test_datagrams_sent_before_the_name_is_known_arrive_one_by_one(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen, heard = name_server({"host.test": ["127.0.0.1"]}), Recorder(), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    port = manager.listen("udp://127.0.0.1:0", heard).local_addr[1]
    conn = manager.connect(f"udp://host.test:{port}")
    for text in ("one", "", "three"):
        conn.send(text)
    pump(manager, heard.saw(MG_EV_READ, 3))
    conn.send("four")
    pump(manager, heard.saw(MG_EV_READ, 4))
    assert heard.data(MG_EV_READ) == [b"one", b"", b"three", b"four"]
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT", *["WRITE"] * 4]


def test_datagrams_sent_by_handlers_come_behind_those_that_wait(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    def more(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CONNECT:
            conn.send("two")
            conn.drain()

    server, seen, heard = name_server({"host.test": ["127.0.0.1"]}), Recorder(more), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    port = manager.listen("udp://127.0.0.1:0", heard).local_addr[1]
    manager.connect(f"udp://host.test:{port}").send("one")
    pump(manager, lambda: heard.saw(MG_EV_READ, 2)() and seen.saw(MG_EV_CLOSE)())
    assert heard.data(MG_EV_READ) == [b"one", b"two"]


def test_datagrams_that_wait_are_bounded(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    manager = make_manager(resolver=resolver(name_server(silent)), limits=Limits(send_backlog=1000))
    conn = manager.connect("udp://host.test:9")
    conn.send(bytes(900))
    with pytest.raises(RuntimeError, match="send of 900 bytes"):
        conn.send(bytes(900))
    with pytest.raises(RuntimeError, match="send of 70000 bytes"):
        conn.send(bytes(70000))


def test_http_and_websocket_clients_take_names_too(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    def serve(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG and data.uri == "/ws":
            conn.ws_upgrade(data)
        elif ev == MG_EV_HTTP_MSG:
            conn.reply(200, data.header("Host"))
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(data.data)

    def hello(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            conn.ws_send("hello")
        elif ev == MG_EV_WS_MSG:
            texts.append(data.text)

    texts: list[str] = []
    server, seen = name_server({"host.test": ["127.0.0.1"]}), Recorder()
    manager = make_manager(serve, resolver=resolver(server), limits=PATIENT)
    port = manager.listen("http://127.0.0.1:0").local_addr[1]
    manager.connect(f"http://host.test:{port}", seen).request("GET", "/")
    manager.ws_connect(f"ws://host.test:{port}/ws", hello)
    pump(manager, lambda: seen.saw(MG_EV_HTTP_MSG)() and texts)
    assert seen.data(MG_EV_HTTP_MSG)[0][2] == f"host.test:{port}".encode()
    assert texts == ["hello"]


def test_mqtt_clients_take_names_and_keep_the_keepalive_of_their_own(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    def serve(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_CMD and data.cmd == 1:  # CONNECT
            conn.mqtt_connack()

    seen = Recorder()
    server = name_server({"host.test": ["::1", "127.0.0.1"]})
    manager = make_manager(serve, resolver=resolver(server), limits=PATIENT)
    port = manager.mqtt_listen("mqtt://127.0.0.1:0").local_addr[1]
    manager.mqtt_connect(f"mqtt://host.test:{port}", seen, "me")
    pump(manager, seen.saw(MG_EV_MQTT_OPEN))
    assert seen.names()[:3] == ["OPEN", "RESOLVE", "CONNECT"]
    assert seen.data(MG_EV_MQTT_OPEN) == [0]


def test_a_name_that_fails_is_an_error_then_the_end(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server({}), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    conn = manager.connect("tcp://no.test:80")
    conn.send("x")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "ERROR", "CLOSE"]
    assert seen.data(MG_EV_ERROR) == ["no.test DNS lookup failed: there is no such name"]
    assert conn.id == 0


def test_closing_in_the_handler_of_resolve_connects_to_nothing(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server = name_server({"host.test": ["127.0.0.1"]})
    seen = Recorder(lambda conn, ev, data: ev == MG_EV_RESOLVE and conn.close())
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        manager.connect(f"tcp://host.test:{peer.getsockname()[1]}")
        pump(manager, seen.saw(MG_EV_CLOSE))
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.accept()
    assert seen.names() == ["OPEN", "RESOLVE", "CLOSE"]


def test_cancelling_leaves_the_connect_alone(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        conn = manager.connect(f"tcp://host.test:{peer.getsockname()[1]}")
        conn.resolve("other.test")
        conn.resolve_cancel()
        for query in server.wait_for(4):
            records = [Record("host.test", A, "127.0.0.1")] if query.type == A else []
            server.send(query, reply(query, records if query.name == "host.test" else []))
        pump(manager, seen.saw(MG_EV_CONNECT))
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]


def test_closing_the_manager_ends_all_look_ups(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=Limits(dns_queries=1))
    for i in range(4):
        manager.connect(f"tcp://h{i}.test:80")
    manager.listen("tcp://127.0.0.1:0").resolve("h9.test")
    server.wait_for(2)
    manager.close()
    assert sorted(seen.names()) == sorted(["OPEN", "CLOSE"] * 5)


# -- several addresses, RFC 8305 -------------------------------------------------------------


class Silence:
    """A listener on the loopback that answers no connect: its backlog is full."""

    def __init__(self, stack: ExitStack, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(closing(socket.socket(family)))
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(closing(socket.socket(family)))
            filler.setblocking(False)
            filler.connect_ex((host, port))


@on_linux
@pytest.mark.parametrize("silent_host", ["127.0.0.2", "::1"])
def test_an_address_that_does_not_answer_costs_little_time(
    make_manager: MakeManager, name_server: StartServer, silent_host: str
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
        Silence(stack, silent_host, port)
        server = name_server({"host.test": [silent_host, "127.0.0.1"]})
        manager = make_manager(
            seen, resolver=resolver(server, attempt_delay=0.05), limits=Limits(connect_timeout=60)
        )
        conn = manager.connect(f"tcp://host.test:{port}")
        pump(manager, seen.saw(MG_EV_CONNECT))
        assert conn.remote_addr == ("127.0.0.1", port, False)
        assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]
        assert [a[0] for a in seen.data(MG_EV_RESOLVE)[0]] == [silent_host, "127.0.0.1"]
        assert manager.connections == (conn,)


@on_linux
def test_an_address_that_refuses_costs_none(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    seen = Recorder()
    with closing(socket.create_server(("127.0.0.3", 0))) as peer:
        port = peer.getsockname()[1]
        server = name_server({"host.test": ["::1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]})
        manager = make_manager(
            seen, resolver=resolver(server, attempt_delay=600), limits=Limits(connect_timeout=60)
        )
        conn = manager.connect(f"tcp://host.test:{port}")
        pump(manager, seen.saw(MG_EV_CONNECT))
        assert conn.remote_addr == ("127.0.0.3", port, False)
        assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]


def test_when_every_address_refuses_it_is_one_error(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    seen = Recorder()
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
    server = name_server({"host.test": ["127.0.0.1", "::1"]})
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    manager.connect(f"tcp://host.test:{port}")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    assert re.match(r"socket error: Connection refused \(.*:\d+\)", seen.data(MG_EV_ERROR)[0])


@on_linux
@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_connect_timeout_holds_for_all_addresses_together(
    make_manager: MakeManager, name_server: StartServer, scheme: str
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
        for host in ("127.0.0.2", "127.0.0.3"):
            Silence(stack, host, port)
        server = name_server({"host.test": ["127.0.0.2", "127.0.0.3"]})
        manager = make_manager(
            seen, resolver=resolver(server, attempt_delay=0.01), limits=Limits(connect_timeout=0.1)
        )
        manager.connect(f"{scheme}://host.test:{port}").send("GET / HTTP/1.1\r\n\r\n")
        pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    assert "Connection timed out" in seen.data(MG_EV_ERROR)[0]
    assert "connect_timeout 100 ms" in seen.data(MG_EV_ERROR)[0]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@on_linux
@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_connect_timeout_holds_when_the_connection_has_something_to_do_meanwhile(
    make_manager: MakeManager, scheme: str
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
        Silence(stack, "127.0.0.2", port)
        manager = make_manager(seen, limits=Limits(connect_timeout=0.1))
        conn = manager.connect(f"{scheme}://127.0.0.2:{port}")
        conn.pause()
        conn.resume()
        pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    assert "connect_timeout 100 ms" in seen.data(MG_EV_ERROR)[0]


@on_linux
def test_attempts_that_lose_leave_no_socket_behind(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
        Silence(stack, "127.0.0.2", port)
        server = name_server({"host.test": ["127.0.0.2", "127.0.0.1"]})
        manager = make_manager(seen, resolver=resolver(server, attempt_delay=0.01), limits=PATIENT)
        before = open_descriptors()
        conns = [manager.connect(f"tcp://host.test:{port}") for _ in range(5)]
        pump(manager, seen.saw(MG_EV_CONNECT, 5))
        assert open_descriptors() == before + 5
        for conn in conns:
            conn.close()
        pump(manager, seen.saw(MG_EV_CLOSE, 5))
        assert open_descriptors() == before


# -- threads, and handlers that raise ----------------------------------------------------------


def test_any_thread_may_connect_look_up_cancel_and_close(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    names = {f"h{i}.test": ["127.0.0.1"] for i in range(20)}
    server, seen = name_server(names), Recorder()
    manager = make_manager(
        seen, resolver=resolver(server), limits=Limits(dns_cache=8, dns_timeout=60)
    )
    listener = manager.listen("tcp://127.0.0.1:0", lambda *_: None)
    asker = manager.listen("udp://127.0.0.1:0")
    url = f"tcp://%s:{listener.local_addr[1]}"
    with running(manager):

        def work(start: int) -> None:
            for i in range(start, start + 40):
                name = f"h{i % 20}.test"
                conn = manager.connect(url % name)
                conn.send(b"x")
                asker.resolve(name)
                conn.resolve(name)
                if i % 3 == 0:
                    conn.resolve_cancel()
                if i % 4 == 0:
                    conn.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    kept = [c for c in manager.connections if c.is_client and not c.is_closing]
    pump(manager, lambda: all("CONNECT" in seen.names(conn) for conn in kept))
    pump(manager, lambda: seen.conns(MG_EV_RESOLVE).count(asker) == 160)
    assert len(kept) == 120
    assert seen.data(MG_EV_ERROR) == []
    for conn in kept:
        order = [name for name in seen.names(conn) if name in ("OPEN", "CONNECT")]
        assert order == ["OPEN", "CONNECT"]


@pytest.mark.parametrize("ev", [MG_EV_OPEN, MG_EV_RESOLVE, MG_EV_CONNECT])
def test_what_a_handler_raises_leaves_the_loop_and_the_client_goes_on(
    make_manager: MakeManager, name_server: StartServer, ev: int
) -> None:
    def interrupt(conn: Connection, got: int, data: Any) -> None:
        if got == ev:
            raise KeyboardInterrupt

    server, seen = name_server({"host.test": ["127.0.0.1"]}), Recorder(interrupt)
    manager = make_manager(resolver=resolver(server), limits=PATIENT)
    heard = Recorder()
    port = manager.listen("tcp://127.0.0.1:0", heard).local_addr[1]
    raised = 0

    def going_on(call: Callable[[], object]) -> object:
        nonlocal raised
        try:
            return call()
        except KeyboardInterrupt:
            raised += 1
            return None

    going_on(lambda: manager.connect(f"tcp://host.test:{port}", seen))
    (conn,) = [c for c in manager.connections if c.is_client]
    conn.send("hello")
    deadline = monotonic() + DEADLINE
    while not heard.data(MG_EV_READ):
        assert monotonic() < deadline
        going_on(lambda: manager.poll(20))
    assert raised == 1
    assert [name for name in seen.names() if name != "WRITE"] == ["OPEN", "RESOLVE", "CONNECT"]


def test_a_handler_object_gets_addresses_and_failures(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    class Names(Handler):
        def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
            told.append(addresses)

        def on_error(self, conn: Connection, message: str) -> None:
            told.append(message)

    told: list[Any] = []
    manager = make_manager(resolver=resolver(name_server({"a.test": ["10.0.0.1"]})), limits=PATIENT)
    listener = manager.listen("tcp://127.0.0.1:0", Names())
    listener.resolve("a.test")
    pump(manager, lambda: told)
    listener.resolve("b.test")
    pump(manager, lambda: len(told) == 2)
    assert told == [
        [("10.0.0.1", 0, False)],
        "b.test DNS lookup failed: there is no such name",
    ]


def test_without_a_taker_of_the_addresses_a_client_connects_all_the_same(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    seen = Recorder()
    manager = make_manager(
        resolver=resolver(name_server({"host.test": ["127.0.0.1"]})), limits=PATIENT
    )
    port = manager.listen("tcp://127.0.0.1:0").local_addr[1]
    manager.connect(f"tcp://host.test:{port}", seen, events=[MG_EV_CONNECT])
    pump(manager, seen.saw(MG_EV_CONNECT))


def test_another_loop_learns_how_long_it_may_wait(name_server: StartServer) -> None:
    with Manager(resolver=resolver(name_server(silent), timeout=0.5)) as manager:
        manager.connect("tcp://a.test:1")
        manager.poll(0)
        timeout = manager.next_timeout()
        assert timeout is not None
        assert 0 < timeout <= 0.5


def test_a_manager_that_is_dropped_takes_its_look_ups_with_it(name_server: StartServer) -> None:
    server = name_server(silent)
    server.wait_for(0)
    before = open_descriptors() if sys.platform == "linux" else 0
    manager = Manager(resolver=resolver(server))
    manager.connect("tcp://a.test:1")
    server.wait_for(2)
    del manager
    gc.collect()
    assert sys.platform != "linux" or open_descriptors() == before
