"""Short messages of a turn are delivered together, and nobody can tell but by the clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

import pytest
from conftest import dial, pump
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsframes import CONTINUE, PING, Peer, binary, handshake, text

from mongoose_py import (
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_WS_CTL,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    Handler,
    HttpMessage,
    Manager,
    WsMessage,
)

PEERS = 3


class Room:
    """Connections that write all they have at once, and a server that notes what comes."""

    def __init__(self, poller: str, as_object: bool, **options: Any) -> None:
        self.got: dict[int, list[bytes]] = defaultdict(list)
        self.conns: list[Connection] = []
        self.react: Callable[[Connection, bytes], object] = lambda conn, data: None
        handler: Any = Methods(self) if as_object else self.handle
        self.manager = Manager(handler, poller=poller, **options)
        self.listener = self.manager.listen("http://127.0.0.1:0")
        self.peers: list[Peer] = []

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_OPEN:
            self.conns.append(conn)
        elif ev == MG_EV_WS_MSG:
            self.take(conn, data.data)

    def take(self, conn: Connection, data: bytes) -> None:
        self.got[conn.id].append(data)
        self.react(conn, data)

    def enter(self, stack: ExitStack) -> None:
        for _ in range(PEERS):
            peer = stack.enter_context(Peer.of(self.manager, self.listener))
            self.peers.append(peer)

    def write(self, wires: list[bytes]) -> None:
        """Have everything arrive before the loop looks."""
        for peer, wire in zip(self.peers, wires):
            peer.sock.sendall(wire)

    def settle(self) -> None:
        for _ in range(4):
            self.manager.poll(1)


class Methods(Handler):
    def __init__(self, room: Room) -> None:
        self.room = room

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.ws_upgrade(message)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        self.room.conns.append(conn)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        self.room.take(conn, message.data)


@pytest.fixture(params=[False, True], ids=["function", "Handler"])
def room(request: pytest.FixtureRequest, poller: str) -> Iterator[Room]:
    one = Room(poller, request.param)
    with one.manager, ExitStack() as stack:
        one.enter(stack)
        yield one


def numbered(count: int, name: str = "") -> list[bytes]:
    return [f"{name}{i}".encode() for i in range(count)]


def frames(messages: list[bytes]) -> bytes:
    return b"".join(map(binary, messages))


def test_each_connection_gets_its_messages_in_order(room: Room) -> None:
    sent = [numbered(40, name) for name in "abc"]
    room.write([frames(messages) for messages in sent])
    room.settle()
    assert [room.got[conn.id] for conn in room.conns] == sent


def test_a_handler_that_closes_gets_no_more(room: Room) -> None:
    room.react = lambda conn, data: conn.close() if data == b"3" else None
    ids = [conn.id for conn in room.conns]
    room.write([frames(numbered(10)), frames(numbered(3)), frames(numbered(10))])
    room.settle()
    assert [room.got[number] for number in ids] == [numbered(4), numbered(3), numbered(4)]


def test_a_handler_may_close_another_connection(room: Room) -> None:
    first, second, third = room.conns
    ids = [conn.id for conn in room.conns]
    room.react = lambda conn, data: second.close() if data == b"a1" else None
    room.write([frames(numbered(4, name)) for name in "abc"])
    room.settle()
    assert [room.got[n] for n in ids] == [numbered(4, "a"), [], numbered(4, "c")]
    assert (first.is_closing, third.is_closing) == (False, False)


@pytest.mark.parametrize("who", ["itself", "the next"])
def test_what_comes_behind_a_pause_waits_for_the_resume(room: Room, who: str) -> None:
    first, second, _ = room.conns
    paused = first if who == "itself" else second
    room.react = lambda conn, data: paused.pause() if data == b"a1" else None
    sent = [numbered(5, name) for name in "abc"]
    room.write([frames(messages) for messages in sent])
    room.settle()
    before = 2 if who == "itself" else 0
    expected = dict(zip((conn.id for conn in room.conns), sent))
    assert room.got[paused.id] == expected[paused.id][:before]
    assert [room.got[c.id] for c in room.conns if c is not paused] == [
        expected[c.id] for c in room.conns if c is not paused
    ]
    paused.resume()
    room.settle()
    assert room.got[paused.id] == expected[paused.id]


def test_a_pause_that_is_taken_back_changes_nothing(room: Room) -> None:
    def react(conn: Connection, data: bytes) -> None:
        conn.pause()
        conn.resume()

    room.react = react
    room.write([frames(numbered(5))] * PEERS)
    room.settle()
    assert [room.got[conn.id] for conn in room.conns] == [numbered(5)] * PEERS


def test_an_interrupt_leaves_the_rest_to_the_next_turn(room: Room) -> None:
    def react(conn: Connection, data: bytes) -> None:
        if data in (b"a1", b"b0", b"c4"):
            raise KeyboardInterrupt

    room.react = react
    sent = [numbered(5, name) for name in "abc"]
    room.write([frames(messages) for messages in sent])
    interrupts = 0
    for _ in range(8):
        try:
            room.manager.poll(1)
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts == 3
    assert [room.got[conn.id] for conn in room.conns] == sent


def test_an_exception_concerns_one_message(poller: str) -> None:
    raised: list[Any] = []

    def note(exc: Exception, conn: object, ev: object) -> None:
        raised.append((exc.args[0], ev))

    def react(conn: Connection, data: bytes) -> None:
        if data.endswith(b"1"):
            raise ValueError(data)

    room = Room(poller, as_object=False, on_exception=note)
    room.react = react
    with room.manager, ExitStack() as stack:
        room.enter(stack)
        sent = [numbered(3, name) for name in "abc"]
        room.write([frames(messages) for messages in sent])
        room.settle()
        assert [room.got[conn.id] for conn in room.conns] == sent
    assert sorted(raised) == [(name, MG_EV_WS_MSG) for name in (b"a1", b"b1", b"c1")]


def test_a_handler_set_on_the_way_takes_the_rest(room: Room) -> None:
    later: list[bytes] = []

    def other(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_MSG:
            later.append(data.data)

    def react(conn: Connection, data: bytes) -> None:
        if data == b"a1":
            conn.set_handler(other)
        elif data == b"b1":
            conn.set_handler(other, events=[MG_EV_READ])  # and none of the messages

    room.react = react
    sent = [numbered(4, name) for name in "abc"]
    room.write([frames(messages) for messages in sent])
    room.settle()
    a, b, c = sent
    assert [room.got[conn.id] for conn in room.conns] == [a[:2], b[:2], c]
    assert later == a[2:]


def test_a_message_is_valid_in_its_own_event_only(room: Room) -> None:
    kept: list[WsMessage] = []

    def keep(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_MSG:
            assert (data.data, data.flags) == (b"abc"[len(kept) % 3 :][:1], 2)
            assert all((old.data, old.flags) == (b"", 0) for old in kept)
            kept.append(data)

    for conn in room.conns:
        conn.set_handler(keep)
    room.write([frames([b"a", b"b", b"c"])] * PEERS)
    room.settle()
    assert len(kept) == 3 * PEERS


PIECES: dict[str, tuple[bytes, bytes]] = {  # what a handler is to see, and the frames
    "empty": (b"", binary(b"")),
    "text": ("h\u00e9".encode(), text("h\u00e9")),
    "binary": (b"\xff\0", binary(b"\xff\0")),
    "short": (b"s" * 1024, binary(b"s" * 1024)),
    "long": (b"l" * 1025, binary(b"l" * 1025)),
    "longer": (b"m" * 40_000, binary(b"m" * 40_000)),
    "fragments": (b"ab", binary(b"a", fin=False) + binary(b"b", CONTINUE)),
    "ping": (b"p", binary(b"p", PING)),
}
NAMES = st.lists(st.sampled_from(list(PIECES)), max_size=8)


@pytest.mark.parametrize("poller", ["epoll", "poll"])
@given(
    names=st.lists(NAMES, min_size=PEERS, max_size=PEERS),
    first=st.floats(0, 1),
)
@example(names=[["short"] * 60, ["ping", "text", "ping"], ["empty", "long", "empty"]], first=0.5)
@settings(max_examples=40, deadline=None)
def test_whatever_comes_in_a_turn_arrives_once_and_in_order(
    poller: str, names: list[list[str]], first: float
) -> None:
    seen: dict[int, list[bytes]] = defaultdict(list)

    def handle(conn: Connection, ev: int, message: Any) -> None:
        if ev in (MG_EV_WS_MSG, MG_EV_WS_CTL):
            seen[conn.id].append(message.data)

    room = Room(poller, as_object=False)
    with room.manager, ExitStack() as stack:
        room.enter(stack)
        for conn in room.conns:
            conn.set_handler(handle)
        wires = [b"".join(PIECES[name][1] for name in mine) for mine in names]
        at = [int(len(wire) * first) for wire in wires]
        room.write([wire[:n] for wire, n in zip(wires, at)])
        room.manager.poll(1)
        room.write([wire[n:] for wire, n in zip(wires, at)])
        expected = [[PIECES[name][0] for name in mine] for mine in names]
        total = sum(map(len, expected))
        pump(room.manager, lambda: sum(map(len, seen.values())) >= total)
        assert [seen[conn.id] for conn in room.conns] == expected


def test_a_frame_that_breaks_a_rule_comes_behind_those_before_it(room: Room) -> None:
    room.write([frames(numbered(3)) + b"\x83\x80abcd", frames(numbered(3)), b""])
    room.settle()
    first, second, _ = room.conns
    assert list(room.got.values()) == [numbered(3), numbered(3)]
    assert (first.id == 0 or first.is_draining or first.is_closing, second.is_draining) == (
        True,
        False,
    )


def test_handshake_and_messages_may_come_together(poller: str) -> None:
    room = Room(poller, as_object=True)
    with room.manager, dial(room.listener) as sock:
        sock.sendall(handshake() + frames(numbered(5)))
        room.settle()
        assert [room.got[conn.id] for conn in room.conns] == [numbered(5)]
