"""Host names: what is told about them, on any connection; the settings of a resolver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Recorder, pump, turns, url_of
from dnsserver import (
    AAAA,
    NXDOMAIN,
    PATIENT,
    A,
    Ask,
    MakeManager,
    Record,
    StartServer,
    evil,
    pairs,
    reply,
    resolver,
    silent,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_RESOLVE,
    AddressError,
    Connection,
    ConnectionClosed,
    Limits,
    Manager,
    Resolver,
)

# -- what is told ------------------------------------------------------------------------


def test_a_name_has_the_addresses_of_both_families_that_take_turns(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server({"host.test": ["10.0.0.1", "10.0.0.2", "::1", "10.0.0.3", "::2"]})
    found = ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"]
    assert ask_for("tcp://host.test:80", server) == list(pairs(found, 80))
    assert server.asked() == [("host.test", A), ("host.test", AAAA)]


def test_aliases_are_followed(name_server: StartServer, ask_for: Ask) -> None:
    server = name_server({"a.test": ["b.test"], "b.test": ["c.test"], "c.test": ["10.0.0.1"]})
    assert ask_for("a.test:1", server) == [("10.0.0.1", 1, False)]


def test_a_name_without_port_has_that_of_its_scheme_or_none(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server({"a.test": ["10.0.0.1"]})
    assert ask_for("https://a.test/x", server) == [("10.0.0.1", 443, False)]
    assert ask_for("a.test", server) == [("10.0.0.1", 0, False)]


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
    make_manager: MakeManager, name_server: StartServer, url: str, found: object
) -> None:
    server, seen = name_server(silent), Recorder()
    listener = make_manager(seen, resolver=resolver(server), limits=PATIENT).listen(
        "tcp://127.0.0.1:0"
    )
    listener.resolve(url)
    assert seen.names() == ["OPEN", "RESOLVE"]
    assert seen.data(MG_EV_RESOLVE) == [[found]]
    assert server.queries == []


def test_names_that_are_nobodys_are_asked_of_nobody(name_server: StartServer, ask_for: Ask) -> None:
    server = name_server(silent)
    for name in ("invalid", "a.INVALID.", "a.onion"):
        assert ask_for(name, server) == f"{name} DNS lookup failed: there is no such name"
    assert server.queries == []


def test_a_name_that_does_not_exist_or_has_no_address_is_named(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server({"empty.test": []})
    assert ask_for("no.test:1", server) == "no.test DNS lookup failed: there is no such name"
    assert ask_for("empty.test:1", server) == "empty.test DNS lookup failed: it has no address"


# -- on any connection ---------------------------------------------------------------------


def test_a_look_up_changes_nothing_but_a_listeners_peer(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server({"a.test": ["10.0.0.1"]}), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server({}), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    names = {f"h{i}.test": [f"10.0.1.{i}"] for i in range(100)}
    server, seen = name_server(names), Recorder()
    manager = make_manager(
        seen, resolver=resolver(server), limits=Limits(dns_queries=8, dns_timeout=60)
    )
    listener = manager.listen("tcp://127.0.0.1:0")
    for name in names:
        listener.resolve(name)
    pump(manager, seen.saw(MG_EV_RESOLVE, 100))
    found = {addresses[0][0] for addresses in seen.data(MG_EV_RESOLVE)}
    assert found == {f"10.0.1.{i}" for i in range(100)}


def test_no_more_names_are_asked_for_at_a_time_than_the_limit_says(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(
        seen, resolver=resolver(server), limits=Limits(dns_queries=2, dns_timeout=60)
    )
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    manager = make_manager(seen, resolver=resolver("127.0.0.1:9", hosts=hosts), limits=PATIENT)
    listener = manager.listen("tcp://127.0.0.1:0")
    listener.resolve("a")
    listener.resolve_cancel()
    turns(manager)
    assert seen.names() == ["OPEN"]


def test_closing_ends_the_look_ups_of_a_connection(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server = name_server({"a.test": ["10.0.0.1"], "b.test": ["10.0.0.2"]})

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
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
    manager = make_manager(seen, resolver=resolver(server), limits=PATIENT)
    conn = manager.connect("tcp://a.test:80")
    server.wait_for(2)
    assert manager.connections == (conn,)
    assert seen.names() == ["OPEN"]
    conn.close()
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert (seen.names(), manager.connections) == (["OPEN", "CLOSE"], ())


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
        Resolver(["127.0.0.1"])  # type: ignore[call-arg]


def test_a_manager_takes_no_other_kind_of_resolver() -> None:
    with pytest.raises(TypeError, match="resolver must be a Resolver, not list"):
        Manager(resolver=["127.0.0.1"])  # type: ignore[arg-type]
