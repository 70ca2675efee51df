"""Laws of SNTP, against a plain reading of RFC 4330 and RFC 5905."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from conftest import Recorder, pump, turns
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sntppackets import ERA_1, IN_2020, IN_2024, IN_2100, Packet, Server, stamp, unix, verdict

from mongoose_py import MG_EV_CLOSE, MG_EV_ERROR, MG_EV_READ, MG_EV_SNTP_TIME, Manager

MARK = IN_2024 + 123_456_789  # what the last, right answer tells

edges = st.sampled_from([IN_2020, IN_2024, ERA_1, IN_2100, 0, -1, 2**31])
times = st.one_of(
    st.just(0),
    st.integers(0, 2**64 - 1),
    # Not at the very edge of 2100: what the way takes is added.
    st.builds(lambda at, s: stamp(at + s), edges, st.sampled_from([-10, -1, 1, 3, 10])),
)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Return the fields of a packet, its cookie aside; half of them are in order."""
    at = draw(times)
    far = draw(st.sampled_from([0, 0, 0, -1, 5 << 32, 1 << 62, 1 << 63]))
    rare = draw(st.booleans())
    return {
        "receive": at,
        "transmit": (at + far) % 2**64 if at else draw(times),
        "leap": draw(st.integers(0, 3)) if rare else 0,
        "version": draw(st.integers(0, 7)) if rare else draw(st.sampled_from([3, 4])),
        "mode": draw(st.integers(0, 7)) if rare else 4,
        "stratum": draw(st.integers(0, 255)) if rare else draw(st.integers(1, 15)),
        "reference": draw(st.binary(min_size=4, max_size=4)),
        "more": draw(st.binary(max_size=20)),
    }


@settings(max_examples=300)
@given(answers(), st.sampled_from([0, 0, 0, 1, 1 << 63]), st.integers(0, 60))
@example({"receive": stamp(MARK), "transmit": stamp(MARK)}, 0, 48)
def test_a_datagram_is_judged_as_the_rfcs_do(fields: dict[str, Any], off: int, cut: int) -> None:
    seen = Recorder()
    with Manager(seen) as manager, Server() as server:
        manager.sntp_connect(server.url)
        cookie = server.asked()
        whole = Packet(cookie ^ off, **fields).wire()
        wire = whole if cut > 48 else whole[: max(cut, 40)]
        wanted = verdict(wire, cookie)
        server.say(wire)
        if wanted == "strange":  # seen to be passed over: the answer behind it is the first
            server.tell(cookie, MARK)
        pump(manager, lambda: seen.saw(MG_EV_READ)() or seen.saw(MG_EV_CLOSE)())
        if wanted == "error":
            assert seen.names()[4:] == ["ERROR", "CLOSE"]
            (text,) = seen.data(MG_EV_ERROR)
            assert text.startswith("SNTP: ")
            assert text.isprintable()
        else:
            told = MARK if wanted == "strange" else unix(fields["transmit"])
            assert seen.names()[4:] == ["SNTP_TIME", "READ"]
            (ms,) = seen.data(MG_EV_SNTP_TIME)
            assert told <= Fraction(ms + 1, 1000)
            assert Fraction(ms, 1000) <= told + Fraction(3, 2)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_changes_nothing(datagrams: list[bytes]) -> None:
    seen = Recorder()
    with Manager(seen) as manager, Server() as server:
        manager.sntp_connect(server.url)
        cookie = server.asked()
        for datagram in datagrams:
            server.say(datagram)
        server.tell(cookie, MARK)
        pump(manager, seen.saw(MG_EV_READ))
        assert seen.names()[4:] == ["SNTP_TIME", "READ"]
        assert seen.data(MG_EV_SNTP_TIME)[0] // 10_000 == MARK // 10


class AskingAndAnswering(RuleBasedStateMachine):
    """Each request has one answer, in order, and nothing else counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Recorder()
        self.manager = Manager(self.seen)
        self.server = Server()
        self.conn = self.manager.sntp_connect(self.server.url)
        self.waiting = 0  # requests behind the one under way
        self.cookie = self.server.asked()  # of the one under way; 0: there is none
        self.old: list[int] = []
        self.told: list[int] = []

    def teardown(self) -> None:
        self.manager.close()
        self.server.sock.close()

    @rule()
    def ask(self) -> None:
        self.conn.sntp_request()
        if self.cookie:
            self.waiting += 1
        else:
            self.cookie = self.server.asked()

    @precondition(lambda self: self.cookie)
    @rule()
    def answer(self) -> None:
        self.told.append(IN_2024 + 100 * len(self.told))
        self.server.tell(self.cookie, self.told[-1])
        self.old.append(self.cookie)
        pump(self.manager, self.seen.saw(MG_EV_READ, len(self.told)))
        self.cookie = self.server.asked() if self.waiting else 0
        self.waiting = max(self.waiting - 1, 0)

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        self.server.tell(data.draw(st.sampled_from(self.old)), IN_2024 + 10**7)
        turns(self.manager, 2)

    @rule(cookie=st.integers(0, 2**64 - 1))
    def forge(self, cookie: int) -> None:
        if cookie != self.cookie:
            self.server.tell(cookie, IN_2024 + 10**7)
            turns(self.manager, 2)

    @invariant()
    def what_was_told_came_once_and_in_order(self) -> None:
        # A way takes less than 100 seconds.
        came = [ms // 100_000 * 100 for ms in self.seen.data(MG_EV_SNTP_TIME)]
        assert came == [seconds // 100 * 100 for seconds in self.told]
        assert not self.seen.data(MG_EV_ERROR)
        assert self.server.idle()


TestAskingAndAnswering = AskingAndAnswering.TestCase
TestAskingAndAnswering.settings = settings(max_examples=60, stateful_step_count=25)
