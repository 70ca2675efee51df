"""Name servers that are slow, wrong or lie; TCP, the search list, the cache, the files."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Recorder, pump
from dnsserver import (
    AAAA,
    NXDOMAIN,
    PATIENT,
    RECURSION,
    REFUSED,
    RESPONSE,
    SERVFAIL,
    TRUNCATED,
    A,
    Answer,
    Ask,
    MakeManager,
    Query,
    Record,
    StartServer,
    evil,
    look_up,
    pairs,
    reply,
    resolver,
    silent,
    zone,
)

from mongoose_py import MG_EV_CLOSE, MG_EV_ERROR, Limits, Resolver

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs 127.0.0.2, and listeners that drop"
)


# -- servers that are slow, wrong or lie -----------------------------------------------------


def test_one_family_is_not_waited_for_long_when_the_other_is_there(
    name_server: StartServer, ask_for: Ask
) -> None:
    def only(kind: int, data: str) -> Answer:
        return lambda q: [reply(q, [Record(q.name, kind, data)])] if q.type == kind else []

    four, six = name_server(only(A, "10.0.0.1")), name_server(only(AAAA, "::1"))
    slow = {"timeout": 60, "family_delay": 0.02, "limits": Limits(dns_timeout=60)}
    assert ask_for("a.test", four, **slow) == [("10.0.0.1", 0, False)]
    assert ask_for("a.test", six, **slow) == [("::1", 0, True)]


def test_what_one_family_has_counts_when_the_time_is_over(
    name_server: StartServer, ask_for: Ask
) -> None:
    def only_four(q: Query) -> list[bytes]:
        return [reply(q, [Record(q.name, A, "10.0.0.1")])] if q.type == A else []

    found = ask_for(
        "a.test",
        name_server(only_four),
        timeout=60,
        family_delay=60,
        limits=Limits(dns_timeout=0.5),
    )
    assert found == [("10.0.0.1", 0, False)]


def test_a_question_that_was_lost_is_asked_again_from_the_same_port_with_the_same_number(
    name_server: StartServer, ask_for: Ask
) -> None:
    def third_time(query: Query) -> list[bytes]:
        same = [q for q in server.queries if q.type == query.type]
        return zone({"a.test": ["10.0.0.1"]})(query) if len(same) >= 3 else []

    server = name_server(third_time)
    assert ask_for("a.test", server, timeout=0.02, attempts=100) == [("10.0.0.1", 0, False)]
    for kind in (A, AAAA):
        same = {(q.id, q.source) for q in server.queries if q.type == kind}
        assert len(same) == 1


def test_a_late_answer_counts_as_long_as_the_question_runs(
    name_server: StartServer, ask_for: Ask
) -> None:
    def late(query: Query) -> list[bytes]:
        first = {q.type: q for q in reversed(slow.queries)}
        for asked in first.values():
            slow.send(asked, *zone({"a.test": ["10.0.0.1"]})(asked))
        return []

    slow = name_server(silent)
    other = name_server(late)
    found = ask_for("a.test", slow, other, timeout=0.05, attempts=100)
    assert found == [("10.0.0.1", 0, False)]


def test_every_question_has_a_port_and_a_number_of_its_own(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server({})
    for i in range(40):
        ask_for(f"h{i}.test", server)
    assert len(server.queries) == 80
    assert len({q.source[1] for q in server.queries}) > 60
    assert len({q.id for q in server.queries}) > 70  # by chance fewer: 1 in 10^12


def test_the_next_server_is_asked_when_one_is_silent(
    name_server: StartServer, ask_for: Ask
) -> None:
    first, second = name_server(silent), name_server({"a.test": ["10.0.0.1"]})
    found = ask_for("a.test", first, second, timeout=0.02, attempts=100)
    assert found == [("10.0.0.1", 0, False)]
    assert {q.name for q in first.wait_for(2)} == {"a.test"}


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED])
def test_the_next_server_is_asked_at_once_when_one_can_not_tell(
    name_server: StartServer, ask_for: Ask, code: int
) -> None:
    first = name_server(lambda q: [reply(q, code=code)])
    second = name_server({"a.test": ["10.0.0.1"]})
    found = ask_for("a.test", first, second, timeout=600, limits=Limits(dns_timeout=600))
    assert found == [("10.0.0.1", 0, False)]
    assert len(first.queries) == 2


def test_the_next_server_is_asked_at_once_when_nobody_is_there(
    name_server: StartServer, ask_for: Ask
) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
    second = name_server({"a.test": ["10.0.0.1"]})
    slow = {"timeout": 600, "limits": Limits(dns_timeout=600)}
    assert ask_for("a.test", nobody, second, **slow) == [("10.0.0.1", 0, False)]
    assert ask_for("a.test", nobody, **slow) == "DNS error: no server could tell about a.test"


def test_servers_that_can_not_tell_are_an_error_and_not_asked_again(
    name_server: StartServer, ask_for: Ask
) -> None:
    servers = [name_server(lambda q: [reply(q, code=SERVFAIL)]) for _ in range(3)]
    found = ask_for("a.test", *servers, timeout=600, limits=Limits(dns_timeout=600))
    assert found == "DNS error: no server could tell about a.test"
    assert [len(server.queries) for server in servers] == [2, 2, 2]


def test_servers_take_turns_when_they_are_to(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    servers = [name_server({}) for _ in range(3)]
    manager = make_manager(resolver=resolver(*servers, rotate=True), limits=PATIENT)
    for i in range(6):
        look_up(manager, f"h{i}.test")
    assert [len(server.queries) for server in servers] == [4, 4, 4]


def test_without_an_answer_it_ends_after_dns_timeout(
    name_server: StartServer, ask_for: Ask
) -> None:
    found = ask_for("a.test", name_server(silent), timeout=600, limits=Limits(dns_timeout=0.05))
    assert found == "DNS timeout: nobody has answered for a.test"


def test_without_dns_timeout_it_ends_after_its_attempts(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server(silent)
    found = ask_for("a.test", server, timeout=0.01, attempts=4, limits=Limits(dns_timeout=0))
    assert found == "DNS timeout: nobody has answered for a.test"
    assert len(server.wait_for(8)) == 8


def test_names_that_wait_for_their_turn_time_out_too(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server, seen = name_server(silent), Recorder()
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


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_answer_is_as_if_it_had_not_come(
    name_server: StartServer, ask_for: Ask, kind: str
) -> None:
    good = zone({"a.test": ["10.0.0.1"]})
    server = name_server(lambda q: [FORGERIES[kind](q)] * 40 + [*good(q)])
    found = ask_for("a.test", server, timeout=600, limits=Limits(dns_timeout=600))
    assert found == [("10.0.0.1", 0, False)]


def test_an_answer_from_another_port_is_as_if_it_had_not_come(
    name_server: StartServer, ask_for: Ask
) -> None:
    def answer(query: Query) -> list[bytes]:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.sendto(reply(query, [evil(query)]), query.source)
        return [*zone({"a.test": ["10.0.0.1"]})(query)]

    assert ask_for("a.test", name_server(answer)) == [("10.0.0.1", 0, False)]


def test_records_of_names_nobody_asked_for_do_not_count(
    name_server: StartServer, ask_for: Ask
) -> None:
    def answer(query: Query) -> list[bytes]:
        extra = [Record("b.test", query.type, evil(query).data), Record("test", A, "6.6.6.6")]
        return [reply(query, [*extra, Record("a.test", A, "10.0.0.1")])]

    assert ask_for("a.test", name_server(answer)) == [("10.0.0.1", 0, False)]


def test_aliases_in_a_circle_are_an_error(name_server: StartServer, ask_for: Ask) -> None:
    circle = [Record("a.test", 5, "b.test"), Record("b.test", 5, "a.test")]
    server = name_server(lambda q: [reply(q, circle)])
    assert ask_for("a.test", server) == "DNS error: no server could tell about a.test"


# -- TCP -------------------------------------------------------------------------------------


def test_an_answer_that_was_cut_is_asked_for_over_tcp(
    name_server: StartServer, ask_for: Ask
) -> None:
    many = {"a.test": [f"10.0.{i}.1" for i in range(40)]}

    def answer(query: Query) -> list[bytes]:
        if query.is_tcp:
            return [*zone(many)(query)]
        return [reply(query, [evil(query)], flags=RESPONSE | RECURSION | TRUNCATED)]

    server = name_server(answer)
    assert ask_for("a.test", server) == list(pairs(many["a.test"][:16], 0))
    assert sorted(q.is_tcp for q in server.queries) == [False, False, True, True]
    assert len({q.id for q in server.queries}) > 2  # numbers of its own there too


def test_a_server_may_be_asked_over_tcp_only(name_server: StartServer, ask_for: Ask) -> None:
    server = name_server({"a.test": ["10.0.0.1"]})
    assert ask_for("a.test", f"tcp://{server.url}") == [("10.0.0.1", 0, False)]
    assert [q.is_tcp for q in server.queries] == [True, True]


def test_a_message_over_tcp_may_come_byte_by_byte(name_server: StartServer, ask_for: Ask) -> None:
    def answer(query: Query) -> list[bytes]:
        message = b"".join(zone({"a.test": ["10.0.0.1"]})(query))
        wire = len(message).to_bytes(2, "big") + message
        server.send_pieces(query, [wire[i : i + 1] for i in range(len(wire))])
        return []

    server = name_server(answer)
    assert ask_for("a.test", f"tcp://{server.url}") == [("10.0.0.1", 0, False)]


@pytest.mark.parametrize(
    "message",
    [b"", b"x", bytes(12), None],
    ids=["empty", "a byte", "a header", "the end of the stream"],
)
def test_a_server_that_talks_nonsense_over_tcp_is_left_for_the_next(
    name_server: StartServer, ask_for: Ask, message: bytes | None
) -> None:
    first = name_server(lambda q: [] if message is None else [message])
    first.refuses_tcp = message is None
    second = name_server({"a.test": ["10.0.0.1"]})
    slow = {"timeout": 600, "limits": Limits(dns_timeout=600)}
    found = ask_for("a.test", f"tcp://{first.url}", second, **slow)
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
    name_server: StartServer, ask_for: Ask, forge: Callable[[Query], bytes]
) -> None:
    server = name_server(lambda q: [forge(q)])
    found = ask_for("a.test", f"tcp://{server.url}", timeout=600)
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
    name_server: StartServer, ask_for: Ask, name: str, ndots: int, candidates: list[str]
) -> None:
    server = name_server({})
    found = ask_for(name, server, search=["one.test", "two.test"], ndots=ndots)
    assert found == f"{name} DNS lookup failed: there is no such name"
    assert list(dict.fromkeys(q.name for q in server.queries)) == candidates


def test_the_first_candidate_with_an_address_ends_the_search(
    name_server: StartServer, ask_for: Ask
) -> None:
    server = name_server({"host.one.test": [], "host.two.test": ["10.0.0.2"], "host": ["10.0.0.3"]})
    assert ask_for("host", server, search=["one.test", "two.test"]) == [("10.0.0.2", 0, False)]


def test_a_candidate_that_no_server_can_tell_about_does_not_end_the_search(
    name_server: StartServer, ask_for: Ask
) -> None:
    def answer(query: Query) -> list[bytes]:
        if query.name == "host.broken.test":
            return [reply(query, code=SERVFAIL)]
        return [*zone({"host.two.test": ["10.0.0.2"]})(query)]

    server = name_server(answer)
    search = ["broken.test", "two.test"]
    assert ask_for("host", server, search=search) == [("10.0.0.2", 0, False)]
    failed = ask_for("other.broken.test.", server, search=search)
    assert failed == "other.broken.test. DNS lookup failed: there is no such name"
    assert ask_for("host.broken", server, search=["test"]) == (
        "DNS error: no server could tell about host.broken"
    )


def test_a_candidate_too_long_to_be_a_name_is_skipped(
    name_server: StartServer, ask_for: Ask
) -> None:
    name = ".".join(["a" * 50] * 4)
    server = name_server({name: []})
    found = ask_for(name, server, search=["b" * 60], ndots=9)
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
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server = name_server(counted({"a.test": ["10.0.0.1"]}, 60))
    manager = make_manager(resolver=resolver(server), limits=PATIENT)
    for _ in range(3):
        assert look_up(manager, "A.test") == [("10.0.0.1", 0, False)]
        assert "no such name" in look_up(manager, "no.test")
    assert len(server.queries) == 4


@pytest.mark.parametrize(("ttl", "kept"), [(0, 256), (60, 0)])
def test_an_answer_without_time_or_a_cache_without_room_keeps_nothing(
    make_manager: MakeManager, name_server: StartServer, ttl: int, kept: int
) -> None:
    server = name_server(counted({"a.test": ["10.0.0.1"]}, ttl))
    manager = make_manager(resolver=resolver(server), limits=Limits(dns_cache=kept, dns_timeout=60))
    for _ in range(3):
        look_up(manager, "a.test")
    assert [q.type for q in server.queries].count(A) == 3


def test_failures_of_servers_are_not_kept(
    make_manager: MakeManager, name_server: StartServer
) -> None:
    server = name_server(lambda q: [reply(q, code=SERVFAIL)])
    manager = make_manager(resolver=resolver(server), limits=PATIENT)
    assert "DNS error" in look_up(manager, "a.test")
    server.answer = zone({"a.test": ["10.0.0.1"]})
    assert look_up(manager, "a.test") == [("10.0.0.1", 0, False)]


# -- files -----------------------------------------------------------------------------------


def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(
    make_manager: MakeManager, name_server: StartServer, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    server = name_server({"a.test": ["10.0.0.1"]})
    manager = make_manager(resolver=resolver(server, hosts=hosts), limits=PATIENT)
    assert look_up(manager, "a.test") == [("10.0.0.1", 0, False)]
    hosts.write_text("10.9.9.9 A.test other\n::9 a.test  # both families\n")
    assert look_up(manager, "a.test:5") == list(pairs(["::9", "10.9.9.9"], 5)) or (
        look_up(manager, "a.test:5") == list(pairs(["10.9.9.9", "::9"], 5))
    )
    hosts.write_text("")
    assert look_up(manager, "a.test") == [("10.0.0.1", 0, False)]
    hosts.unlink()
    assert look_up(manager, "a.test") == [("10.0.0.1", 0, False)]
    assert len(server.queries) == 2


def test_a_change_of_the_configuration_is_seen_and_empties_the_cache(
    make_manager: MakeManager, name_server: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "resolv.conf"
    config.write_text("search one.test\n")
    server = name_server(
        {"a.one.test": ["10.0.0.1"], "a.two.test": ["10.0.0.2"], "a": ["10.0.0.3"]}
    )
    manager = make_manager(resolver=resolver(server, search=None, config=config), limits=PATIENT)
    assert look_up(manager, "a") == [("10.0.0.1", 0, False)]
    assert look_up(manager, "a") == [("10.0.0.1", 0, False)]
    assert len(server.queries) == 2
    config.write_text("search two.test\noptions ndots:0\n")
    assert look_up(manager, "a") == [("10.0.0.3", 0, False)]
    assert look_up(manager, "a.") == [("10.0.0.3", 0, False)]
    config.unlink()
    server.answer = zone({"a": ["10.0.0.4"]})
    assert look_up(manager, "a") == [("10.0.0.4", 0, False)]


@pytest.mark.skipif(os.geteuid() != 0, reason="to listen at port 53 takes root")
@on_linux
def test_the_servers_of_resolv_conf_are_asked(
    make_manager: MakeManager, name_server: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "resolv.conf"
    config.write_text("nameserver 127.0.0.53\nnameserver 127.9.8.7\noptions timeout:1 attempts:1\n")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
        udp.bind(("127.9.8.7", 53))
        udp.settimeout(10)
        seen = Recorder()
        manager = make_manager(seen, resolver=Resolver(config=config, hosts=None), limits=PATIENT)
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
