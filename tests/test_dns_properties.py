"""Laws of host names: whatever servers send, and in whatever order things happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import dns.message
import pytest
from conftest import pump
from dnsserver import (
    AAAA,
    CNAME,
    IN,
    NS,
    NXDOMAIN,
    RECURSION,
    RESPONSE,
    SERVFAIL,
    TRUNCATED,
    TXT,
    A,
    Query,
    Record,
    Server,
    name_wire,
    query_wire,
    read_name,
    read_query,
    reply,
    resolver,
    verdict,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from strategies import spoiled

from mongoose_py import (
    MG_EV_ERROR,
    MG_EV_RESOLVE,
    AddressError,
    Connection,
    Limits,
    Manager,
)

NAME = "a.test"
OTHERS = ["b.test", "c.test", "d.test", "test", "a.a.test", "A.TEST", ""]
GOOD = "10.9.9.9"
TEXTS = {
    "failed": f"DNS error: no server could tell about {NAME}",
    # The other family's answer was that there is such a name.
    "no name": f"{NAME} DNS lookup failed: it has no address",
    "no data": f"{NAME} DNS lookup failed: it has no address",
}


class Recipe(NamedTuple):
    """A message, but for the number of its question."""

    records: list[Record]
    code: int
    flags: int
    question: tuple[str, int, int]
    number: int  # what is added to it
    compressed: bool
    spoil: bytes | None  # what it is then, instead; its first two bytes are the number's

    def message(self, query: Query) -> bytes:
        wire = reply(
            query,
            self.records,
            self.code,
            flags=self.flags,
            number=(query.id + self.number) & 0xFFFF,
            questions=[self.question],
        )
        if self.compressed:
            wire = wire[:18] + wire[18:].replace(name_wire(NAME), b"\xc0\x0c")
        return wire if self.spoil is None else wire[:2] + self.spoil


names = st.sampled_from([NAME] * 6 + OTHERS)
addresses = st.integers(0, 3).map(lambda n: f"10.0.0.{n}")
ttls = st.sampled_from([0, 1, 60, 2**31, 2**32 - 1])
classes = st.sampled_from([1, 1, 1, 3])
blobs = st.binary(max_size=20)
records = st.one_of(
    st.builds(Record, names, st.just(A), addresses, ttls, classes),
    st.builds(Record, names, st.just(CNAME), names, ttls, classes),
    st.builds(Record, names, st.just(AAAA), st.just("::1"), ttls, classes),
    st.builds(Record, names, st.sampled_from([A, AAAA, NS, TXT]), blobs, ttls, classes),
)
chains = st.integers(0, 10).map(
    lambda n: [
        *(Record(f"{i or 'a'}{'.test' * (not i)}", CNAME, f"{i + 1}") for i in range(n)),
        Record(str(n) if n else NAME, A, "10.0.0.9"),
    ]
)
flags = st.sampled_from([RESPONSE | RECURSION] * 8 + [RESPONSE, 0, RESPONSE | TRUNCATED, 0x9000])
questions = st.one_of(
    st.just((NAME, A, 1)),
    st.just(("A.tEST", A, 1)),
    st.tuples(names, st.sampled_from([A, AAAA, TXT]), st.sampled_from([1, 3])),
)
numbers = st.sampled_from([0] * 6 + [1, 256, -1])
codes = st.sampled_from([0] * 8 + [NXDOMAIN, SERVFAIL, 1, 9])


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    some = draw(st.one_of(st.lists(records, max_size=6), chains.flatmap(st.permutations)))
    made = Recipe(
        some,
        draw(codes),
        draw(flags),
        draw(questions),
        draw(numbers),
        draw(st.booleans()),
        None,
    )
    if draw(st.integers(0, 3)):
        return made
    wire = made.message(Query(0, NAME, A))
    return made._replace(number=0, compressed=False, spoil=draw(spoiled(wire[2:])))


class Bench:
    """A manager that asks one server, which answers as each example says."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.sent: list[tuple[Query, bytes]] = []
        self.recipes: list[Recipe] = []
        self.server = Server(self.answer)
        self.manager = Manager(
            self.handle,
            limits=Limits(dns_cache=0, dns_timeout=600),
            resolver=resolver(self.server, timeout=600, family_delay=600),
        )
        self.listener = self.manager.listen("udp://127.0.0.1:0")

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev in (MG_EV_RESOLVE, MG_EV_ERROR):
            self.told.append(data)

    def answer(self, query: Query) -> list[bytes]:
        if query.type == AAAA:
            return [reply(query)]
        good = reply(query, [Record(NAME, A, GOOD)])
        if query.is_tcp:
            return [good]
        messages = [recipe.message(query) for recipe in self.recipes]
        self.sent = [(query, message) for message in messages]
        return [*messages, good]

    def ask(self, recipes: list[Recipe]) -> Any:
        self.told, self.recipes = [], recipes
        self.listener.resolve(NAME)
        pump(self.manager, lambda: self.told, 100)
        (found,) = self.told
        return found if isinstance(found, str) else [ip for ip, _, _ in found]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    one = Bench()
    with one.manager, one.server:
        yield one


@given(st.lists(recipes(), max_size=4))
@example([Recipe([], 0, RESPONSE | TRUNCATED, (NAME, A, 1), 0, False, None)])
@example([Recipe([], 0, RESPONSE, (NAME, A, 1), 0, False, b"")])
def test_the_first_message_that_is_an_answer_decides_and_the_model_says_the_same(
    bench: Bench, recipes: list[Recipe]
) -> None:
    found = bench.ask(recipes)
    expected: list[str] | str = [GOOD]
    for query, message in bench.sent:
        one = verdict(query, message)
        if one != "foreign":
            expected = [GOOD] if one == "truncated" else one
            break
    assert found == (TEXTS[expected] if isinstance(expected, str) else expected)


@given(recipes())
def test_the_model_has_the_addresses_that_dnspython_has(recipe: Recipe) -> None:
    query = Query(4711, NAME, A)
    wire = recipe.message(query)
    ours = verdict(query, wire)
    if not isinstance(ours, list) or wire[8:12] != bytes(4):  # it would read those, too
        return
    try:
        theirs = dns.message.from_wire(wire, ignore_trailing=True).resolve_chaining()
    except Exception as exc:  # it looks into what has nothing to do with the question
        other = [r for r in recipe.records if r.type not in (A, CNAME) or r.rclass != IN]
        assert other or recipe.spoil is not None, exc
        return
    if theirs.answer is not None:
        assert sorted(ours) == sorted({item.address for item in theirs.answer})


@given(st.lists(st.binary(max_size=70), max_size=3))
def test_any_datagrams_before_the_answer_change_nothing(bench: Bench, garbage: list[bytes]) -> None:
    raw = [Recipe([], 0, 0, (NAME, A, 1), 1, False, data) for data in garbage]
    assert bench.ask(raw) == [GOOD]  # whose number is another one, if they have one


@given(st.lists(addresses, min_size=1, max_size=20), st.binary(max_size=5), st.data())
def test_over_tcp_the_pieces_do_not_matter_nor_what_comes_behind(
    bench: Bench, ips: list[str], rest: bytes, data: st.DataObject
) -> None:
    def answer(query: Query) -> list[bytes]:
        if not query.is_tcp:
            return [reply(query, flags=RESPONSE | TRUNCATED)]
        kind = [Record(NAME, A, ip) for ip in ips] if query.type == A else []
        message = reply(query, kind)
        wire = len(message).to_bytes(2, "big") + message + rest
        ends = sorted(min(cut, len(wire)) for cut in places)
        pieces = [wire[a:b] for a, b in zip([0, *ends], [*ends, len(wire)]) if a < b]
        bench.server.send_pieces(query, pieces)
        return []

    places = data.draw(st.sets(st.integers(0, 400), max_size=5))
    bench.server.answer, usual = answer, bench.server.answer
    try:
        assert bench.ask([]) == list(dict.fromkeys(ips))
    finally:
        bench.server.answer = usual


labels = st.text("abcXYZ019-_", min_size=1, max_size=63)
hosts = st.lists(labels, min_size=1, max_size=5).map(".".join)


@given(hosts, st.booleans())
@example("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 61, True)
@example("1.2.3", False)
@example("a.0xff", False)
def test_a_host_name_is_asked_for_as_it_is_or_refused(bench: Bench, host: str, dot: bool) -> None:
    assume(not re.fullmatch(r"\d+\.\d+\.\d+\.\d+", host))
    last = host.rpartition(".")[2].lower()
    is_number = last.isdigit() or (last[:2] == "0x" and not last[2:].strip("0123456789abcdef"))
    if len(host) > 253 or is_number:
        with pytest.raises(AddressError):
            bench.listener.resolve(host + "." * dot)
        return
    before = len(bench.server.queries)
    bench.listener.resolve(host + "." * dot)
    asked = bench.server.wait_for(before + 2)[before:]
    bench.listener.resolve_cancel()
    assert [query.name for query in asked] == [host.lower()] * 2


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=3), st.integers(0, 2**16 - 1))
def test_the_models_own_reading_undoes_its_writing(parts: list[bytes], number: int) -> None:
    wire = b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    assert read_name(wire, 0)[1] == len(wire)
    query = read_query(query_wire(number, NAME, AAAA))
    assert (query.id, query.name, query.type) == (number, NAME, AAAA)


class LookUps(RuleBasedStateMachine):
    """Every name that was asked for is told once, unless it was cancelled or closed."""

    @initialize()
    def begin(self) -> None:
        self.server = Server(lambda query: [])
        self.server.__enter__()
        self.told: list[tuple[int, str]] = []
        self.manager = Manager(
            self.handle,
            limits=Limits(dns_cache=0, dns_timeout=600),
            resolver=resolver(self.server, timeout=600, family_delay=600),
        )
        self.conns = [self.manager.listen("udp://127.0.0.1:0") for _ in range(3)]
        self.asked: dict[str, int] = {}  # resolutions of a name that were begun
        self.waiting: dict[str, list[int]] = {}  # who waits for the one that runs
        self.expected: list[tuple[int, str]] = []

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_RESOLVE:
            self.told.append((self.conns.index(conn), data[0][0]))
        elif ev == MG_EV_ERROR:
            self.told.append((self.conns.index(conn), data.partition(" ")[0]))

    @rule(who=st.integers(0, 2), name=st.sampled_from(["a.test", "B.test", "c.test"]))
    def ask(self, who: int, name: str) -> None:
        if self.conns[who].is_closing:
            return
        self.conns[who].resolve(name)
        name = name.lower()
        if not self.waiting.get(name):
            self.asked[name] = self.asked.get(name, 0) + 1
        self.waiting.setdefault(name, []).append(who)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data(), exists=st.booleans())
    def answer(self, data: st.DataObject, exists: bool) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, w in self.waiting.items() if w)))
        self.server.wait_for(2 * sum(self.asked.values()))
        for query in [q for q in self.server.queries if q.name == name][-2:]:
            records = [Record(name, A, "10.0.0.1")] if query.type == A and exists else []
            self.server.send(query, reply(query, records, 0 if exists else NXDOMAIN))
        told = [(who, "10.0.0.1" if exists else name) for who in self.waiting.pop(name)]
        self.expected += told
        pump(self.manager, lambda: len(self.told) >= len(self.expected), 100)

    @rule(who=st.integers(0, 2))
    def cancel(self, who: int) -> None:
        if not self.conns[who].is_closing:
            self.conns[who].resolve_cancel()
        self.forget(who)

    @rule(who=st.integers(0, 2))
    def close(self, who: int) -> None:
        self.conns[who].close()
        self.manager.poll(0)
        self.forget(who)

    def forget(self, who: int) -> None:
        for name, waiting in self.waiting.items():
            self.waiting[name] = [one for one in waiting if one != who]

    def teardown(self) -> None:
        if not hasattr(self, "manager"):
            return
        self.manager.poll(0)
        told = [(who, what.lower()) for who, what in self.told]
        assert sorted(told) == sorted(self.expected)
        self.manager.close()
        self.server.__exit__()


TestLookUps = LookUps.TestCase
TestLookUps.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
