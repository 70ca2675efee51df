"""Host names: looked up, told, connected to; and servers that are slow, wrong or lie."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Recorder, pump, turns, url_of
from dnsserver import (
    AAAA,
    NXDOMAIN,
    RECURSION,
    REFUSED,
    RESPONSE,
    SERVFAIL,
    TRUNCATED,
    A,
    Answer,
    Query,
    Record,
    Server,
    pairs,
    reply,
    zone,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    AddressError,
    Connection,
    ConnectionClosed,
    Limits,
    Manager,
    Resolver,
)

MakeManager = Callable[..., Manager]
StartServer = Callable[..., Server]

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs 127.0.0.2 and a listener that drops"
)


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Return a function that runs a name server; it ends with the test."""
    with ExitStack() as stack:

        def run(answer: Answer | dict[str, Any], host: str = "127.0.0.1") -> Server:
            function = zone(answer) if isinstance(answer, dict) else answer
            return stack.enter_context(Server(function, host))

        yield run


def resolver(*servers: Server | str, **options: Any) -> Resolver:
    """Return one that asks these servers only, with time enough for a busy machine."""
    urls = [server.url if isinstance(server, Server) else server for server in servers]
    settings: dict[str, Any] = {
        "servers": urls or None,
        "search": [],
        "config": None,
        "hosts": None,
        "timeout": 5.0,
        "family_delay": 5.0,
    }
    return Resolver(**{**settings, **options})


def silent(query: Query) -> list[bytes]:
    return []


def look_up(manager: Manager, url: str, seen: Recorder) -> Any:
    """Return the addresses of *url*, or the text of the error."""
    listener = manager.listen("tcp://127.0.0.1:0", seen)
    del seen.calls[:]
    listener.resolve(url)
    pump(manager, lambda: seen.calls_but_polls())
    listener.close()
    (found,) = seen.data(MG_EV_RESOLVE) or seen.data(MG_EV_ERROR)
    return found


class Seen(Recorder):
    def calls_but_polls(self) -> list[str]:
        return self.names()


@pytest.fixture
def ask(make_manager: MakeManager) -> Callable[..., Any]:
    """Return a function that looks a name up with a manager of its own."""

    def look(
        name: str, *servers: Server | str, limits: Limits | None = None, **options: Any
    ) -> Any:
        manager = make_manager(resolver=resolver(*servers, **options), limits=limits)
        return look_up(manager, name, Seen())

    return look


Ask = Callable[..., Any]


# -- what is told ------------------------------------------------------------------------


def test_a_name_has_the_addresses_of_both_families_that_take_turns(
    start: StartServer, ask: Ask
) -> None:
    server = start({"host.test": ["10.0.0.1", "10.0.0.2", "::1", "10.0.0.3", "::2"]})
    found = ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"]
    assert ask("tcp://host.test:80", server) == list(pairs(found, 80))
    assert server.asked() == [("host.test", A), ("host.test", AAAA)]


def test_aliases_are_followed(start: StartServer, ask: Ask) -> None:
    server = start({"a.test": ["b.test"], "b.test": ["c.test"], "c.test": ["10.0.0.1"]})
    assert ask("a.test:1", server) == [("10.0.0.1", 1, False)]


def test_a_name_without_port_has_that_of_its_scheme_or_none(start: StartServer, ask: Ask) -> None:
    server = start({"a.test": ["10.0.0.1"]})
    assert ask("https://a.test/x", server) == [("10.0.0.1", 443, False)]
    assert ask("a.test", server) == [("10.0.0.1", 0, False)]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("tcp://127.0.0.1:80", ("127.0.0.1", 80, False)),
        ("tcp://[::1]:80", ("::1", 80, True)),
        ("localhost:80", ("127.0.0.1", 80, False)),
        ("http://LOCALHOST", ("127.0.0.1", 80, False)),
        ("localhost.:80", ("127.0.0.1", 80, False)),
        ("tcp://a.b.LocalHost:80", ("127.0.0.1", 80, False)),
    ],
)
def test_an_address_and_names_of_this_machine_are_told_at_once_and_asked_of_nobody(
    make_manager: MakeManager, start: StartServer, url: str, found: object
) -> None:
    server, seen = start(silent), Recorder()
    listener = make_manager(seen, resolver=resolver(server)).listen("tcp://127.0.0.1:0")
    listener.resolve(url)
    assert seen.names() == ["OPEN", "RESOLVE"]
    assert seen.data(MG_EV_RESOLVE) == [[found]]
    assert server.queries == []


def test_names_that_are_nobodys_are_asked_of_nobody(start: StartServer, ask: Ask) -> None:
    server = start(silent)
    for name in ("invalid", "a.INVALID.", "a.onion"):
        assert ask(name, server) == f"{name} DNS lookup failed: there is no such name"
    assert server.queries == []


def test_a_name_that_does_not_exist_or_has_no_address_is_named(
    start: StartServer, ask: Ask
) -> None:
    server = start({"empty.test": []})
    assert ask("no.test:1", server) == "no.test DNS lookup failed: there is no such name"
    assert ask("empty.test:1", server) == "empty.test DNS lookup failed: it has no address"


# -- on any connection ---------------------------------------------------------------------


def test_a_look_up_changes_nothing_but_a_listeners_peer(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start({"a.test": ["10.0.0.1"]}), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listener = manager.listen("tcp://127.0.0.1:0")
    udp = manager.listen("udp://127.0.0.1:0")
    client = manager.connect(url_of(listener))
    pump(manager, lambda: len(manager.connections) == 4)
    accepted = manager.connections[0]
    before = {c: (c.remote_addr, c.local_addr) for c in (udp, client, accepted)}
    conns = [listener, udp, client, accepted]
    pump(manager, lambda: "CONNECT" in seen.names(client))
    del seen.calls[:]
    for conn in conns:
        conn.resolve("tcp://a.test:99")
    pump(manager, seen.saw(MG_EV_RESOLVE, 4))
    turns(manager)
    assert sorted(seen.names()) == ["RESOLVE"] * 4
    assert {c: (c.remote_addr, c.local_addr) for c in before} == before
    assert listener.remote_addr == ("10.0.0.1", 99, False)
    client.send("still there")
    pump(manager, seen.saw(MG_EV_READ))
    assert set(manager.connections) == set(conns)


def test_a_failed_look_up_is_an_error_event_and_the_connection_lives(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start({}), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listener = manager.listen("tcp://127.0.0.1:0")
    for count in (1, 2):  # each time anew
        listener.resolve(f"no{count}.test")
        pump(manager, seen.saw(MG_EV_ERROR, count))
    turns(manager)
    assert seen.names() == ["OPEN", "ERROR", "ERROR"]
    assert not listener.is_closing
    manager.connect(url_of(listener))
    pump(manager, seen.saw(MG_EV_CONNECT))


def test_many_names_are_looked_up_at_a_time_and_all_are_told(
    make_manager: MakeManager, start: StartServer
) -> None:
    names = {f"h{i}.test": [f"10.0.1.{i}"] for i in range(100)}
    server, seen = start(names), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=Limits(dns_queries=8))
    listener = manager.listen("tcp://127.0.0.1:0")
    for name in names:
        listener.resolve(name)
    pump(manager, seen.saw(MG_EV_RESOLVE, 100))
    found = {addresses[0][0] for addresses in seen.data(MG_EV_RESOLVE)}
    assert found == {f"10.0.1.{i}" for i in range(100)}


def test_no_more_names_are_asked_for_at_a_time_than_the_limit_says(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=Limits(dns_queries=2))
    listener = manager.listen("tcp://127.0.0.1:0")
    for i in range(5):
        listener.resolve(f"h{i}.test")
    for i in range(5):
        manager.poll(0)
        queries = server.wait_for(min(4, 10 - 2 * i) + 2 * i)
        running = sorted({query.name for query in queries})[i:]
        assert len(running) <= 2
        for query in queries:
            if query.name == running[0]:
                server.send(query, reply(query, code=NXDOMAIN))
        pump(manager, seen.saw(MG_EV_ERROR, i + 1))


def test_who_asks_for_the_same_name_waits_for_the_same_answer(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listeners = [manager.listen("tcp://127.0.0.1:0") for _ in range(5)]
    for listener, name in zip(listeners, ["a.test", "A.test", "a.TEST", "a.test", "a.test"]):
        listener.resolve(name)
    for query in server.wait_for(2):
        records = [Record("a.test", A, "10.0.0.1")] if query.type == A else []
        server.send(query, reply(query, records))
    pump(manager, seen.saw(MG_EV_RESOLVE, 5))
    assert seen.data(MG_EV_RESOLVE) == [[("10.0.0.1", 0, False)]] * 5
    assert len(server.queries) == 2


def test_a_cancelled_look_up_is_never_told_of_and_others_go_on(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listener = manager.listen("tcp://127.0.0.1:0")
    other = manager.listen("tcp://127.0.0.1:0")
    listener.resolve_cancel()  # nothing to cancel
    listener.resolve("a.test")
    listener.resolve("b.test")
    other.resolve("a.test")
    queries = server.wait_for(4)
    listener.resolve_cancel()
    for query in queries:
        records = [Record(query.name, A, "10.0.0.1")] if query.type == A else []
        server.send(query, reply(query, records))
    pump(manager, seen.saw(MG_EV_RESOLVE))
    turns(manager)
    assert seen.conns(MG_EV_RESOLVE) == [other]


def test_what_is_known_but_not_told_yet_can_be_cancelled(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.0.0.1 a\n")
    seen = Recorder()
    manager = make_manager(seen, resolver=resolver("127.0.0.1:9", hosts=hosts))
    listener = manager.listen("tcp://127.0.0.1:0")
    listener.resolve("a")
    listener.resolve_cancel()
    turns(manager)
    assert seen.names() == ["OPEN"]


def test_closing_ends_the_look_ups_of_a_connection(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listener = manager.listen("tcp://127.0.0.1:0")
    listener.resolve("a.test")
    queries = server.wait_for(2)
    listener.close()
    pump(manager, seen.saw(MG_EV_CLOSE))
    for query in queries:
        server.send(query, reply(query, [evil(query)]))
    turns(manager)
    assert seen.names() == ["OPEN", "CLOSE"]
    with pytest.raises(ConnectionClosed, match="Connection has been closed"):
        listener.resolve("a.test")
    with pytest.raises(ConnectionClosed, match="Connection has been closed"):
        listener.resolve_cancel()


def test_a_handler_may_look_up_more_names_and_close(
    make_manager: MakeManager, start: StartServer
) -> None:
    server = start({"a.test": ["10.0.0.1"], "b.test": ["10.0.0.2"]})

    def go_on(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_OPEN:
            conn.resolve("a.test")
        elif ev == MG_EV_RESOLVE and data[0][0] == "10.0.0.1":
            conn.resolve("localhost")
        elif ev == MG_EV_RESOLVE and data[0][0] == "127.0.0.1":
            conn.resolve("b.test")
            conn.resolve("nowhere.test")
        elif ev == MG_EV_RESOLVE:
            conn.resolve("a.test")
            conn.resolve_cancel()
            conn.close()

    seen = Recorder(go_on)
    manager = make_manager(seen, resolver=resolver(server))
    manager.listen("tcp://127.0.0.1:0")
    pump(manager, seen.saw(MG_EV_CLOSE))
    told = [name for name in seen.names() if name != "ERROR"]
    assert told == ["OPEN", "RESOLVE", "RESOLVE", "RESOLVE", "CLOSE"]


BAD_HOSTS = [
    "tcp://a..b:1",
    "tcp://.a:1",
    "tcp://a b:1",
    "tcp://a!b:1",
    "tcp://1.2.3:1",
    "tcp://0177.0.0.1:1",
    "tcp://256.1.1.1:1",
    "tcp://0x7f.1:1",
    "tcp://[::1:1",
    "tcp://[::g]:1",
    "tcp://ä.test:1",
    f"tcp://{'a' * 64}.test:1",
    f"tcp://{'a.' * 127}a:1",
    "tcp://a:99999",
    "tcp://",
    "",
    "unix:///x",
]


@pytest.mark.parametrize("url", BAD_HOSTS)
def test_what_is_no_host_name_is_refused_at_once_and_shown(
    make_manager: MakeManager, url: str
) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    with pytest.raises(AddressError, match=re.escape(repr(url))):
        listener.resolve(url)
    if url != "unix:///x":
        with pytest.raises(AddressError, match=re.escape(repr(url))):
            manager.connect(url)
    assert manager.connections == (listener,)


def test_a_url_that_is_no_text_is_a_type_error(make_manager: MakeManager) -> None:
    listener = make_manager().listen("tcp://127.0.0.1:0")
    with pytest.raises(TypeError, match="url must be str, not bytes"):
        listener.resolve(b"a")  # type: ignore[arg-type]


def test_the_resolvers_sockets_are_no_connections(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    conn = manager.connect("tcp://a.test:80")
    server.wait_for(2)
    assert manager.connections == (conn,)
    assert seen.names() == ["OPEN"]
    conn.close()
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert (seen.names(), manager.connections) == (["OPEN", "CLOSE"], ())


# -- connecting ----------------------------------------------------------------------------


def test_a_client_connects_by_name_and_what_was_sent_before_arrives(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start({"host.test": ["127.0.0.1"]}), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    listener = manager.listen(
        "tcp://127.0.0.1:0", lambda conn, ev, data: ev == 7 and conn.send(data)
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
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen, heard = start({"host.test": ["127.0.0.1"]}), Recorder(), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
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
    make_manager: MakeManager, start: StartServer
) -> None:
    def more(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CONNECT:
            conn.send("two")
            conn.drain()

    server, seen, heard = start({"host.test": ["127.0.0.1"]}), Recorder(more), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    port = manager.listen("udp://127.0.0.1:0", heard).local_addr[1]
    manager.connect(f"udp://host.test:{port}").send("one")
    pump(manager, lambda: heard.saw(MG_EV_READ, 2)() and seen.saw(MG_EV_CLOSE)())
    assert heard.data(MG_EV_READ) == [b"one", b"two"]


def test_datagrams_that_wait_are_bounded(make_manager: MakeManager, start: StartServer) -> None:
    manager = make_manager(resolver=resolver(start(silent)), limits=Limits(send_backlog=1000))
    conn = manager.connect("udp://host.test:9")
    conn.send(bytes(900))
    with pytest.raises(RuntimeError, match="send of 900 bytes"):
        conn.send(bytes(900))
    with pytest.raises(RuntimeError, match="send of 70000 bytes"):
        conn.send(bytes(70000))


def test_http_and_websocket_clients_take_names_too(
    make_manager: MakeManager, start: StartServer
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
    server, seen = start({"host.test": ["127.0.0.1"]}), Recorder()
    manager = make_manager(serve, resolver=resolver(server))
    port = manager.listen("http://127.0.0.1:0").local_addr[1]
    manager.connect(f"http://host.test:{port}", seen).request("GET", "/")
    manager.ws_connect(f"ws://host.test:{port}/ws", hello)
    pump(manager, lambda: seen.saw(MG_EV_HTTP_MSG)() and texts)
    assert seen.data(MG_EV_HTTP_MSG)[0][2] == f"host.test:{port}".encode()
    assert texts == ["hello"]


def test_a_name_that_fails_is_an_error_then_the_end(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start({}), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
    conn = manager.connect("tcp://no.test:80")
    conn.send("x")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "ERROR", "CLOSE"]
    assert seen.data(MG_EV_ERROR) == ["no.test DNS lookup failed: there is no such name"]
    assert conn.id == 0


def test_closing_in_the_handler_of_resolve_connects_to_nothing(
    make_manager: MakeManager, start: StartServer
) -> None:
    server = start({"host.test": ["127.0.0.1"]})
    seen = Recorder(lambda conn, ev, data: ev == MG_EV_RESOLVE and conn.close())
    manager = make_manager(seen, resolver=resolver(server))
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        manager.connect(f"tcp://host.test:{peer.getsockname()[1]}")
        pump(manager, seen.saw(MG_EV_CLOSE))
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.accept()
    assert seen.names() == ["OPEN", "RESOLVE", "CLOSE"]


def test_cancelling_leaves_the_connect_alone(make_manager: MakeManager, start: StartServer) -> None:
    server, seen = start(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server))
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
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
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
    make_manager: MakeManager, start: StartServer, silent_host: str
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
        Silence(stack, silent_host, port)
        server = start({"host.test": [silent_host, "127.0.0.1"]})
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
def test_an_address_that_refuses_costs_none(make_manager: MakeManager, start: StartServer) -> None:
    seen = Recorder()
    with closing(socket.create_server(("127.0.0.3", 0))) as peer:
        port = peer.getsockname()[1]
        server = start({"host.test": ["::1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]})
        manager = make_manager(
            seen, resolver=resolver(server, attempt_delay=600), limits=Limits(connect_timeout=60)
        )
        conn = manager.connect(f"tcp://host.test:{port}")
        pump(manager, seen.saw(MG_EV_CONNECT))
        assert conn.remote_addr == ("127.0.0.3", port, False)
        assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]


def test_when_every_address_refuses_it_is_one_error(
    make_manager: MakeManager, start: StartServer
) -> None:
    seen = Recorder()
    with closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
    server = start({"host.test": ["127.0.0.1", "::1"]})
    manager = make_manager(seen, resolver=resolver(server))
    manager.connect(f"tcp://host.test:{port}")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    assert re.match(r"socket error: Connection refused \(.*:\d+\)", seen.data(MG_EV_ERROR)[0])


@on_linux
def test_connect_timeout_holds_for_all_addresses_together(
    make_manager: MakeManager, start: StartServer
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
        for host in ("127.0.0.2", "127.0.0.3"):
            Silence(stack, host, port)
        server = start({"host.test": ["127.0.0.2", "127.0.0.3"]})
        manager = make_manager(
            seen, resolver=resolver(server, attempt_delay=0.01), limits=Limits(connect_timeout=0.1)
        )
        manager.connect(f"tcp://host.test:{port}")
        pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    assert "Connection timed out" in seen.data(MG_EV_ERROR)[0]
    assert "connect_timeout 100 ms" in seen.data(MG_EV_ERROR)[0]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@on_linux
def test_attempts_that_lose_leave_no_socket_behind(
    make_manager: MakeManager, start: StartServer
) -> None:
    seen = Recorder()
    with ExitStack() as stack, closing(socket.create_server(("127.0.0.1", 0))) as peer:
        port = peer.getsockname()[1]
        Silence(stack, "127.0.0.2", port)
        server = start({"host.test": ["127.0.0.2", "127.0.0.1"]})
        manager = make_manager(seen, resolver=resolver(server, attempt_delay=0.01))
        before = open_descriptors()
        conns = [manager.connect(f"tcp://host.test:{port}") for _ in range(5)]
        pump(manager, seen.saw(MG_EV_CONNECT, 5))
        assert open_descriptors() == before + 5
        for conn in conns:
            conn.close()
        pump(manager, seen.saw(MG_EV_CLOSE, 5))
        assert open_descriptors() == before


# -- servers that are slow, wrong or lie -----------------------------------------------------


def test_one_family_is_not_waited_for_long_when_the_other_is_there(
    start: StartServer, ask: Ask
) -> None:
    def only(kind: int, data: str) -> Answer:
        return lambda q: [reply(q, [Record(q.name, kind, data)])] if q.type == kind else []

    four, six = start(only(A, "10.0.0.1")), start(only(AAAA, "::1"))
    slow = {"timeout": 60, "family_delay": 0.02, "limits": Limits(dns_timeout=60)}
    assert ask("a.test", four, **slow) == [("10.0.0.1", 0, False)]
    assert ask("a.test", six, **slow) == [("::1", 0, True)]


def test_what_one_family_has_counts_when_the_time_is_over(start: StartServer, ask: Ask) -> None:
    def only_four(q: Query) -> list[bytes]:
        return [reply(q, [Record(q.name, A, "10.0.0.1")])] if q.type == A else []

    found = ask(
        "a.test", start(only_four), timeout=60, family_delay=60, limits=Limits(dns_timeout=0.1)
    )
    assert found == [("10.0.0.1", 0, False)]


def test_a_question_that_was_lost_is_asked_again_from_the_same_port_with_the_same_number(
    start: StartServer, ask: Ask
) -> None:
    def third_time(query: Query) -> list[bytes]:
        same = [q for q in server.queries if q.type == query.type]
        return zone({"a.test": ["10.0.0.1"]})(query) if len(same) == 3 else []

    server = start(third_time)
    assert ask("a.test", server, timeout=0.02) == [("10.0.0.1", 0, False)]
    for kind in (A, AAAA):
        same = {(q.id, q.source) for q in server.queries if q.type == kind}
        assert len(same) == 1


def test_a_late_answer_counts_as_long_as_the_question_runs(start: StartServer, ask: Ask) -> None:
    def late(query: Query) -> list[bytes]:
        first = {q.type: q for q in reversed(slow.queries)}
        for asked in first.values():
            slow.send(asked, *zone({"a.test": ["10.0.0.1"]})(asked))
        return []

    slow = start(silent)
    other = start(late)
    found = ask("a.test", slow, other, timeout=0.05, limits=Limits(dns_timeout=60))
    assert found == [("10.0.0.1", 0, False)]


def test_every_question_has_a_port_and_a_number_of_its_own(start: StartServer, ask: Ask) -> None:
    server = start({})
    for i in range(40):
        ask(f"h{i}.test", server)
    assert len(server.queries) == 80
    assert len({q.source[1] for q in server.queries}) > 60
    assert len({q.id for q in server.queries}) > 70  # by chance fewer: 1 in 10^12


def test_the_next_server_is_asked_when_one_is_silent(start: StartServer, ask: Ask) -> None:
    first, second = start(silent), start({"a.test": ["10.0.0.1"]})
    assert ask("a.test", first, second, timeout=0.02) == [("10.0.0.1", 0, False)]
    assert {q.name for q in first.queries} == {"a.test"}


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED])
def test_the_next_server_is_asked_at_once_when_one_can_not_tell(
    start: StartServer, ask: Ask, code: int
) -> None:
    first = start(lambda q: [reply(q, code=code)])
    second = start({"a.test": ["10.0.0.1"]})
    found = ask("a.test", first, second, timeout=600, limits=Limits(dns_timeout=600))
    assert found == [("10.0.0.1", 0, False)]
    assert len(first.queries) == 2


def test_the_next_server_is_asked_at_once_when_nobody_is_there(
    start: StartServer, ask: Ask
) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
    second = start({"a.test": ["10.0.0.1"]})
    slow = {"timeout": 600, "limits": Limits(dns_timeout=600)}
    assert ask("a.test", nobody, second, **slow) == [("10.0.0.1", 0, False)]
    assert ask("a.test", nobody, **slow) == "DNS error: no server could tell about a.test"


def test_servers_that_can_not_tell_are_an_error_and_not_asked_again(
    start: StartServer, ask: Ask
) -> None:
    servers = [start(lambda q: [reply(q, code=SERVFAIL)]) for _ in range(3)]
    found = ask("a.test", *servers, timeout=600, limits=Limits(dns_timeout=600))
    assert found == "DNS error: no server could tell about a.test"
    assert [len(server.queries) for server in servers] == [2, 2, 2]


def test_servers_take_turns_when_they_are_to(make_manager: MakeManager, start: StartServer) -> None:
    servers = [start({}) for _ in range(3)]
    manager = make_manager(resolver=resolver(*servers, rotate=True))
    for i in range(6):
        look_up(manager, f"h{i}.test", Seen())
    assert [len(server.queries) for server in servers] == [4, 4, 4]


def test_without_an_answer_it_ends_after_dns_timeout(start: StartServer, ask: Ask) -> None:
    found = ask("a.test", start(silent), timeout=600, limits=Limits(dns_timeout=0.05))
    assert found == "DNS timeout: nobody has answered for a.test"


def test_without_dns_timeout_it_ends_after_its_attempts(start: StartServer, ask: Ask) -> None:
    server = start(silent)
    found = ask("a.test", server, timeout=0.01, attempts=4, limits=Limits(dns_timeout=0))
    assert found == "DNS timeout: nobody has answered for a.test"
    assert len(server.queries) == 8


def test_names_that_wait_for_their_turn_time_out_too(
    make_manager: MakeManager, start: StartServer
) -> None:
    server, seen = start(silent), Recorder()
    limits = Limits(dns_timeout=0.05, dns_queries=1)
    manager = make_manager(seen, resolver=resolver(server, timeout=600), limits=limits)
    for i in range(4):
        manager.connect(f"tcp://h{i}.test:1")
    pump(manager, seen.saw(MG_EV_CLOSE, 4))
    assert sorted(seen.data(MG_EV_ERROR)) == [
        f"DNS timeout: nobody has answered for h{i}.test" for i in range(4)
    ]


FORGERIES: dict[str, Callable[[Query], bytes]] = {
    "number": lambda q: reply(q, [evil(q)], number=q.id ^ 1),
    "name": lambda q: reply(q, [evil(q)], questions=[("b.test", q.type, 1)]),
    "type": lambda q: reply(q, [evil(q)], questions=[(q.name, 16, 1)]),
    "class": lambda q: reply(q, [evil(q)], questions=[(q.name, q.type, 3)]),
    "no question": lambda q: reply(q, [evil(q)], questions=[]),
    "two questions": lambda q: reply(q, [evil(q)], questions=[(q.name, q.type, 1)] * 2),
    "a query": lambda q: reply(q, [evil(q)], flags=0x0100),
    "another opcode": lambda q: reply(q, [evil(q)], flags=RESPONSE | RECURSION | 0x2800),
    "the question": lambda q: q.wire,
    "nothing": lambda q: b"",
    "garbage": lambda q: bytes(range(256)),
}


def evil(query: Query) -> Record:
    return Record(query.name, query.type, "6.6.6.6" if query.type == A else "6::6")


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_answer_is_as_if_it_had_not_come(start: StartServer, ask: Ask, kind: str) -> None:
    good = zone({"a.test": ["10.0.0.1"]})
    server = start(lambda q: [FORGERIES[kind](q)] * 40 + [*good(q)])
    found = ask("a.test", server, timeout=600, limits=Limits(dns_timeout=600))
    assert found == [("10.0.0.1", 0, False)]


def test_an_answer_from_another_port_is_as_if_it_had_not_come(start: StartServer, ask: Ask) -> None:
    def answer(query: Query) -> list[bytes]:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.sendto(reply(query, [evil(query)]), query.source)
        return [*zone({"a.test": ["10.0.0.1"]})(query)]

    assert ask("a.test", start(answer)) == [("10.0.0.1", 0, False)]


def test_records_of_names_nobody_asked_for_do_not_count(start: StartServer, ask: Ask) -> None:
    def answer(query: Query) -> list[bytes]:
        extra = [Record("b.test", query.type, evil(query).data), Record("test", A, "6.6.6.6")]
        return [reply(query, [*extra, Record("a.test", A, "10.0.0.1")])]

    assert ask("a.test", start(answer)) == [("10.0.0.1", 0, False)]


def test_aliases_in_a_circle_are_an_error(start: StartServer, ask: Ask) -> None:
    circle = [Record("a.test", 5, "b.test"), Record("b.test", 5, "a.test")]
    server = start(lambda q: [reply(q, circle)])
    assert ask("a.test", server) == "DNS error: no server could tell about a.test"


# -- TCP -------------------------------------------------------------------------------------


def test_an_answer_that_was_cut_is_asked_for_over_tcp(start: StartServer, ask: Ask) -> None:
    many = {"a.test": [f"10.0.{i}.1" for i in range(40)]}

    def answer(query: Query) -> list[bytes]:
        if query.is_tcp:
            return [*zone(many)(query)]
        return [reply(query, [evil(query)], flags=RESPONSE | RECURSION | TRUNCATED)]

    server = start(answer)
    assert ask("a.test", server) == list(pairs(many["a.test"][:16], 0))
    assert sorted(q.is_tcp for q in server.queries) == [False, False, True, True]
    assert len({q.id for q in server.queries}) > 2  # numbers of its own there too


def test_a_server_may_be_asked_over_tcp_only(start: StartServer, ask: Ask) -> None:
    server = start({"a.test": ["10.0.0.1"]})
    assert ask("a.test", f"tcp://{server.url}") == [("10.0.0.1", 0, False)]
    assert [q.is_tcp for q in server.queries] == [True, True]


def test_a_message_over_tcp_may_come_byte_by_byte(start: StartServer, ask: Ask) -> None:
    def answer(query: Query) -> list[bytes]:
        message = b"".join(zone({"a.test": ["10.0.0.1"]})(query))
        stream = server._streams[query.source]
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in len(message).to_bytes(2, "big") + message:
            stream.send(bytes([byte]))
        return []

    server = start(answer)
    assert ask("a.test", f"tcp://{server.url}") == [("10.0.0.1", 0, False)]


@pytest.mark.parametrize(
    "message",
    [b"", b"x", bytes(12), None],
    ids=["empty", "a byte", "a header", "the end of the stream"],
)
def test_a_server_that_talks_nonsense_over_tcp_is_left_for_the_next(
    start: StartServer, ask: Ask, message: bytes | None
) -> None:
    first = start(lambda q: [] if message is None else [message])
    first.refuses_tcp = message is None
    second = start({"a.test": ["10.0.0.1"]})
    slow = {"timeout": 600, "limits": Limits(dns_timeout=600)}
    found = ask("a.test", f"tcp://{first.url}", second, **slow)
    assert found == [("10.0.0.1", 0, False)]


@pytest.mark.parametrize(
    "forge",
    [
        lambda q: reply(q, [evil(q)], number=q.id ^ 1),
        lambda q: reply(q, [evil(q)], questions=[("b.test", q.type, 1)]),
        lambda q: reply(q, [evil(q)], flags=RESPONSE | TRUNCATED),
    ],
    ids=["number", "name", "cut"],
)
def test_a_forged_answer_over_tcp_is_an_error_of_the_server(
    start: StartServer, ask: Ask, forge: Callable[[Query], bytes]
) -> None:
    server = start(lambda q: [forge(q)])
    found = ask("a.test", f"tcp://{server.url}", timeout=600)
    assert found == "DNS error: no server could tell about a.test"


# -- search list -----------------------------------------------------------------------------

SEARCH: list[tuple[str, int, list[str]]] = [
    ("host", 1, ["host.one.test", "host.two.test", "host"]),
    ("a.host", 1, ["a.host", "a.host.one.test", "a.host.two.test"]),
    ("a.host", 2, ["a.host.one.test", "a.host.two.test", "a.host"]),
    ("host", 0, ["host", "host.one.test", "host.two.test"]),
    ("host.", 1, ["host"]),
    ("a.host.", 9, ["a.host"]),
]


@pytest.mark.parametrize(("name", "ndots", "candidates"), SEARCH)
def test_candidates_are_tried_in_the_order_of_the_search_list(
    start: StartServer, ask: Ask, name: str, ndots: int, candidates: list[str]
) -> None:
    server = start({})
    found = ask(name, server, search=["one.test", "two.test"], ndots=ndots)
    assert found == f"{name} DNS lookup failed: there is no such name"
    assert list(dict.fromkeys(q.name for q in server.queries)) == candidates


def test_the_first_candidate_with_an_address_ends_the_search(start: StartServer, ask: Ask) -> None:
    server = start({"host.one.test": [], "host.two.test": ["10.0.0.2"], "host": ["10.0.0.3"]})
    assert ask("host", server, search=["one.test", "two.test"]) == [("10.0.0.2", 0, False)]


def test_a_candidate_that_no_server_can_tell_about_does_not_end_the_search(
    start: StartServer, ask: Ask
) -> None:
    def answer(query: Query) -> list[bytes]:
        if query.name == "host.broken.test":
            return [reply(query, code=SERVFAIL)]
        return [*zone({"host.two.test": ["10.0.0.2"]})(query)]

    server = start(answer)
    search = ["broken.test", "two.test"]
    assert ask("host", server, search=search) == [("10.0.0.2", 0, False)]
    failed = ask("other.broken.test.", server, search=search)
    assert failed == "other.broken.test. DNS lookup failed: there is no such name"
    assert ask("host.broken", server, search=["test"]) == (
        "DNS error: no server could tell about host.broken"
    )


def test_a_candidate_too_long_to_be_a_name_is_skipped(start: StartServer, ask: Ask) -> None:
    name = ".".join(["a" * 50] * 4)
    server = start({name: []})
    found = ask(name, server, search=["b" * 60], ndots=9)
    assert found == f"{name} DNS lookup failed: it has no address"
    assert {q.name for q in server.queries} == {name}


# -- the cache -------------------------------------------------------------------------------


def counted(records: dict[str, Any], ttl: int) -> Answer:
    def answer(query: Query) -> list[bytes]:
        if query.name not in records:
            return [reply(query, code=NXDOMAIN)]
        return [reply(query, [Record(query.name, A, x, ttl) for x in records[query.name]])]

    return answer


def test_answers_are_kept_for_their_time_and_names_that_do_not_exist_too(
    make_manager: MakeManager, start: StartServer
) -> None:
    server = start(counted({"a.test": ["10.0.0.1"]}, 60))
    manager = make_manager(resolver=resolver(server))
    for _ in range(3):
        assert look_up(manager, "A.test", Seen()) == [("10.0.0.1", 0, False)]
        assert "no such name" in look_up(manager, "no.test", Seen())
    assert len(server.queries) == 4


@pytest.mark.parametrize(("ttl", "kept"), [(0, 256), (60, 0)])
def test_an_answer_without_time_or_a_cache_without_room_keeps_nothing(
    make_manager: MakeManager, start: StartServer, ttl: int, kept: int
) -> None:
    server = start(counted({"a.test": ["10.0.0.1"]}, ttl))
    manager = make_manager(resolver=resolver(server), limits=Limits(dns_cache=kept))
    for _ in range(3):
        look_up(manager, "a.test", Seen())
    assert [q.type for q in server.queries].count(A) == 3


def test_failures_of_servers_are_not_kept(make_manager: MakeManager, start: StartServer) -> None:
    server = start(lambda q: [reply(q, code=SERVFAIL)])
    manager = make_manager(resolver=resolver(server))
    assert "DNS error" in look_up(manager, "a.test", Seen())
    server.answer = zone({"a.test": ["10.0.0.1"]})
    assert look_up(manager, "a.test", Seen()) == [("10.0.0.1", 0, False)]


# -- files -----------------------------------------------------------------------------------


def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(
    make_manager: MakeManager, start: StartServer, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    server = start({"a.test": ["10.0.0.1"]})
    manager = make_manager(resolver=resolver(server, hosts=hosts))
    assert look_up(manager, "a.test", Seen()) == [("10.0.0.1", 0, False)]
    hosts.write_text("10.9.9.9 A.test other\n::9 a.test  # both families\n")
    assert look_up(manager, "a.test:5", Seen()) == list(pairs(["::9", "10.9.9.9"], 5)) or (
        look_up(manager, "a.test:5", Seen()) == list(pairs(["10.9.9.9", "::9"], 5))
    )
    hosts.write_text("")
    assert look_up(manager, "a.test", Seen()) == [("10.0.0.1", 0, False)]
    hosts.unlink()
    assert look_up(manager, "a.test", Seen()) == [("10.0.0.1", 0, False)]
    assert len(server.queries) == 2


def test_a_change_of_the_configuration_is_seen_and_empties_the_cache(
    make_manager: MakeManager, start: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "resolv.conf"
    config.write_text("search one.test\n")
    server = start({"a.one.test": ["10.0.0.1"], "a.two.test": ["10.0.0.2"], "a": ["10.0.0.3"]})
    manager = make_manager(resolver=resolver(server, search=None, config=config))
    assert look_up(manager, "a", Seen()) == [("10.0.0.1", 0, False)]
    assert look_up(manager, "a", Seen()) == [("10.0.0.1", 0, False)]
    assert len(server.queries) == 2
    config.write_text("search two.test\noptions ndots:0\n")
    assert look_up(manager, "a", Seen()) == [("10.0.0.3", 0, False)]
    assert look_up(manager, "a.", Seen()) == [("10.0.0.3", 0, False)]
    config.unlink()
    server.answer = zone({"a": ["10.0.0.4"]})
    assert look_up(manager, "a", Seen()) == [("10.0.0.4", 0, False)]


@pytest.mark.skipif(os.geteuid() != 0, reason="to listen at port 53 takes root")
@on_linux
def test_the_servers_of_resolv_conf_are_asked(
    make_manager: MakeManager, start: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "resolv.conf"
    config.write_text("nameserver 127.0.0.53\nnameserver 127.9.8.7\noptions timeout:1 attempts:1\n")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
        udp.bind(("127.9.8.7", 53))
        udp.settimeout(10)
        seen = Recorder()
        manager = make_manager(seen, resolver=Resolver(config=config, hosts=None))
        manager.connect("tcp://a.test:80")
        got: list[bytes] = []

        def arrived() -> bool:
            udp.setblocking(False)
            try:
                got.append(udp.recv(512))
            except BlockingIOError:
                return False
            return True

        pump(manager, arrived)
    assert b"\1a\4test\0" in got[0]


# -- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"servers": []}, "servers must name one at least"),
        ({"servers": ["127.0.0.1"] * 4}, "servers must be at most 3, not 4"),
        ({"servers": ["dns.example"]}, "'dns.example' is not a numeric address"),
        ({"servers": ["localhost"]}, "'localhost' is not a numeric address"),
        ({"servers": ["1.2.3.4:0"]}, "'1.2.3.4:0' is not a numeric address"),
        ({"servers": ["tls://1.2.3.4"]}, "'tls://1.2.3.4' is not a numeric address"),
        ({"servers": ["1.2.3.4 5.6.7.8"]}, "servers must not contain '1.2.3.4 5.6.7.8'"),
        ({"servers": [""]}, "servers must not contain ''"),
        ({"servers": ["1.2.3.4\0"]}, "servers must not contain"),
        ({"search": ["a"] * 7}, "search must be at most 6, not 7"),
        ({"search": ["a..b"]}, "'a..b' is not a domain name"),
        ({"search": ["ä"]}, "search must not contain 'ä'"),
        ({"ndots": -1}, "ndots must be 0..15, not -1"),
        ({"ndots": 16}, "ndots must be 0..15, not 16"),
        ({"attempts": 0}, "attempts must be 1..100, not 0"),
        ({"attempts": 101}, "attempts must be 1..100, not 101"),
        ({"timeout": 0}, "timeout must be 0.001 to 3600.0 seconds, not 0"),
        ({"timeout": float("nan")}, "timeout must be .* not nan"),
        ({"timeout": 3601}, "timeout must be .* not 3601"),
        ({"family_delay": -1}, "family_delay must be 0 to 3600.0 seconds, not -1"),
        ({"attempt_delay": float("inf")}, "attempt_delay must be .* not inf"),
        ({"config": ""}, "config must be a path, not ''"),
        ({"hosts": "a\0b"}, "hosts must be a path, not"),
    ],
)
def test_a_setting_out_of_range_is_refused_and_shown(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Resolver(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"servers": "127.0.0.1"},
        {"servers": [1]},
        {"search": b"a"},
        {"ndots": "1"},
        {"attempts": 1.5},
        {"timeout": "1"},
        {"config": 1},
        {"hosts": b"/etc/hosts"},
    ],
)
def test_a_setting_of_a_wrong_type_is_a_type_error(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Resolver(**options)


def test_a_resolver_shows_its_settings_and_takes_none_by_position() -> None:
    one = Resolver(servers=["127.0.0.1"], search=("a.test",), timeout=2)
    assert "servers=('127.0.0.1',)" in repr(one)
    assert "timeout=2" in repr(one)
    with pytest.raises(TypeError):
        Resolver(["127.0.0.1"])  # type: ignore[misc]


def test_a_manager_takes_no_other_kind_of_resolver() -> None:
    with pytest.raises(TypeError, match="resolver must be a Resolver, not list"):
        Manager(resolver=["127.0.0.1"])  # type: ignore[arg-type]
