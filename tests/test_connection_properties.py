"""Laws of connections: streams in any split, datagrams of any size, lives in any order."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

import pytest
from conftest import dial, pump, udp_socket, url_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from strategies import cuts

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_READ,
    MG_EV_WAKEUP,
    Connection,
    Error,
    Manager,
    Timer,
    event_name,
)

POLLERS = ["epoll", "poll"]


# -- streams -----------------------------------------------------------------------------------


class LineServer:
    """Takes lines apart with recv_keep(), and writes down what comes."""

    def __init__(self, poller: str) -> None:
        self.manager = Manager(self.handle, poller=poller)
        self.listener = self.manager.listen("tcp://127.0.0.1:0")
        self.lines: list[bytes] = []
        self.rest = b""

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            *lines, self.rest = data.split(b"\n")
            self.lines += lines
            conn.recv_keep(len(self.rest))


@pytest.fixture(scope="module", params=POLLERS)
def line_server(request: pytest.FixtureRequest) -> Iterator[LineServer]:
    one = LineServer(request.param)
    with one.manager:
        yield one


LINES = st.lists(st.binary(max_size=20) | st.just(b"a" * 20_000), max_size=6).map(b"\n".join)


@given(LINES.flatmap(cuts))
@example([b"a", b"\n", b"\n", b"b"])
def test_any_split_of_a_stream_gives_the_same_lines(
    line_server: LineServer, pieces: list[bytes]
) -> None:
    line_server.lines, line_server.rest = [], b""
    with closing(dial(line_server.listener)) as sock:
        for piece in pieces:
            sock.sendall(piece)
            line_server.manager.poll(0)
    pump(line_server.manager, lambda: len(line_server.manager.connections) == 1)
    assert b"\n".join([*line_server.lines, line_server.rest]) == b"".join(pieces)


def _has(conn: Connection, size: int) -> bool:
    return conn.recv_len == size


@given(st.binary(max_size=200).flatmap(cuts), st.lists(st.integers(0, 50)))
def test_what_nobody_reads_stays_until_it_is_consumed(
    line_server: LineServer, pieces: list[bytes], sizes: list[int]
) -> None:
    manager = line_server.manager
    with closing(dial(line_server.listener)) as sock:
        pump(manager, lambda: len(manager.connections) == 2)
        conn = manager.connections[0]
        conn.set_handler(None, events=[])
        there, sizes = b"", list(sizes)
        for piece in pieces:
            sock.sendall(piece)
            there += piece
            pump(manager, partial(_has, conn, len(there)))
            assert conn.recv_data() == there
            used = sizes.pop() if sizes else 0
            if used > len(there):
                with pytest.raises(ValueError):
                    conn.recv_consume(used)
            else:
                conn.recv_consume(used)
                there = there[used:]
    pump(manager, lambda: len(manager.connections) == 1)


# -- sending -------------------------------------------------------------------------------------

LARGE = 16 * 1024  # from here on bytes are written in the call
SIZES = st.sampled_from([0, 1, 100, LARGE - 1, LARGE, LARGE + 1, 100_000, 1_500_000])


@pytest.mark.parametrize("poller", POLLERS)
@given(batches=st.lists(st.lists(SIZES, max_size=5), min_size=1, max_size=4), rests=st.booleans())
@example(batches=[[100, LARGE, 100], [1_500_000, 1_500_000, 1]], rests=True)
@settings(max_examples=25, deadline=None)
def test_sends_of_any_sizes_arrive_whole_and_in_order(
    poller: str, batches: list[list[int]], rests: bool
) -> None:
    sent, got = bytearray(), bytearray()
    conns: list[Connection] = []
    with (
        Manager(
            lambda conn, ev, data: conns.append(conn), events=[MG_EV_ACCEPT], poller=poller
        ) as manager,
        dial(manager.listen("tcp://127.0.0.1:0")) as client,
    ):
        client.setblocking(False)
        pump(manager, lambda: bool(conns))
        for batch in batches:
            for size in batch:
                payload = bytes([len(sent) % 251]) * size
                conns[0].send(payload)
                sent += payload
            if not rests:  # the peer reads in between, or only in the end
                manager.poll(0)
                with suppress(BlockingIOError):
                    got += client.recv(50_000)

        def all_there() -> bool:
            with suppress(BlockingIOError):
                got.extend(client.recv(1_000_000))
            return len(got) >= len(sent)

        pump(manager, all_there)
        assert got == sent
        assert conns[0].send_len == 0


# -- datagrams ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=POLLERS)
def udp_echo(request: pytest.FixtureRequest) -> Iterator[tuple[Manager, Connection]]:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            conn.send(data)

    with Manager(handle, poller=request.param) as manager:
        yield manager, manager.listen("udp://127.0.0.1:0")


def _holds(got: list[bytes], count: int) -> bool:
    return len(got) == count


def _is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


SIZES = st.sampled_from([0, 1, 16383, 16384, 16385, 65506, 65507]) | st.integers(0, 65507)


@given(st.lists(SIZES, min_size=1, max_size=3))
def test_datagrams_of_any_size_come_back_whole_and_one_by_one(
    udp_echo: tuple[Manager, Connection], sizes: list[int]
) -> None:
    manager, listener = udp_echo
    got: list[bytes] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            got.append(data)

    sent = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    ours = manager.connect(url_of(listener, "udp"), handle)
    with closing(udp_socket()) as theirs:
        for number, datagram in enumerate(sent, 1):
            ours.send(datagram)
            pump(manager, partial(_holds, got, number))
            host, port, _ = listener.local_addr
            theirs.sendto(datagram, (host, port))
            pump(manager, partial(_is_readable, theirs))
            assert theirs.recvfrom(65536)[0] == datagram
    ours.close()
    assert got == sent


# -- lives -------------------------------------------------------------------------------------


class Life:
    """What is known of one connection, and what it must obey."""

    def __init__(self, conn: Connection, is_client: bool) -> None:
        self.conn = conn
        self.is_client = is_client
        self.events: list[str] = []
        self.read = b""
        self.wakeups: list[bytes] = []
        # the model
        self.handler = "default"
        self.incoming = b""  # sent to it, by either kind of peer
        self.outgoing = b""  # sent by it
        self.woken: list[bytes] = []  # taken by wakeup()
        self.ending = False  # close() was called or the peer went away: what comes is open
        self.drained = False
        self.paused = False

    @property
    def is_over(self) -> bool:
        return "CLOSE" in self.events


class Lives(RuleBasedStateMachine):
    """Connections live as their peers and owners have them live: OPEN first, CLOSE last."""

    lives = Bundle("lives")
    sockets = Bundle("sockets")  # the plain other ends of accepted connections
    timers = Bundle("timers")

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[Connection, Life] = {}
        self.due: list[int] = []  # timers, in the order of their creation
        self.timers_made = 0
        self.peers: list[tuple[socket.socket, Life]] = []
        self.raised: list[BaseException] = []

    @initialize(poller=st.sampled_from(POLLERS))
    def begin(self, poller: str) -> None:
        self.manager = Manager(
            self.default, enable_wakeup=True, error_handler=self.raised.append, poller=poller
        )
        self.listener = self.manager.listen("tcp://127.0.0.1:0")

    # -- what handlers do

    def default(self, conn: Connection, ev: int, data: Any) -> None:
        self.note("default", conn, ev, data)

    def other(self, conn: Connection, ev: int, data: Any) -> None:
        self.note("other", conn, ev, data)

    def note(self, who: str, conn: Connection, ev: int, data: Any) -> None:
        name = event_name(ev)[6:]
        if name == "POLL":
            return
        life = self.all.get(conn)
        if life is None:
            life = self.all[conn] = Life(conn, conn.is_client)
        assert not life.is_over, f"{name} after CLOSE"
        assert who == life.handler
        assert conn.id > 0
        assert conn in self.manager.connections or name == "CLOSE"
        life.events.append(name)
        if ev == MG_EV_READ:
            assert not life.paused
            life.read += data
        elif ev == MG_EV_WAKEUP:
            life.wakeups.append(data)

    def poll_until(self, condition: Any) -> None:
        pump(self.manager, condition, ms=5)

    # -- rules

    @rule(target=lives)
    def dial_in(self) -> Any:
        """A plain socket connects; returns the accepted connection's life."""
        before = set(self.all)
        sock = dial(self.listener)
        self.poll_until(lambda: len(set(self.all) - before) == 1)
        (conn,) = set(self.all) - before
        self.peers.append((sock, self.all[conn]))
        return self.all[conn]

    @rule(target=lives)
    def dial_out(self) -> Any:
        """Our own client connects to our own listener: two lives."""
        before = set(self.all)
        conn = self.manager.connect(url_of(self.listener))
        self.poll_until(lambda: len(set(self.all) - before) == 2)
        (accepted,) = set(self.all) - before - {conn}
        self.poll_until(lambda: "CONNECT" in self.all[conn].events)
        return multiple(self.all[conn], self.all[accepted])

    @rule(life=lives, data=st.binary(min_size=1, max_size=50))
    def send(self, life: Life, data: bytes) -> None:
        if life.conn.is_closing:
            with pytest.raises(Error):
                life.conn.send(data)
        else:
            life.conn.send(data)
            life.outgoing += data

    @precondition(lambda self: self.peers)
    @rule(data=st.binary(min_size=1, max_size=50), pick=st.randoms(use_true_random=False))
    def peer_sends(self, data: bytes, pick: Any) -> None:
        sock, life = pick.choice(self.peers)
        try:
            sock.sendall(data)
        except OSError:
            assert life.ending or life.drained
        else:
            life.incoming += data

    @rule(life=lives)
    def close(self, life: Life) -> None:
        life.conn.close()
        life.ending = True
        assert life.conn.is_closing

    @rule(life=lives)
    def drain(self, life: Life) -> None:
        life.conn.drain()
        life.drained = True

    @rule(life=lives, on=st.booleans())
    def pause_or_resume(self, life: Life, on: bool) -> None:
        act = life.conn.pause if on else life.conn.resume
        if life.conn.is_closing:
            with pytest.raises(Error):
                act()
        else:
            act()
            life.paused = on
            assert life.conn.is_full == on

    @rule(life=lives, who=st.sampled_from(["default", "other"]))
    def set_handler(self, life: Life, who: str) -> None:
        life.conn.set_handler(self.other if who == "other" else None)
        if not life.is_over:
            life.handler = who

    @rule(life=lives, data=st.binary(max_size=20))
    def wakeup(self, life: Life, data: bytes) -> None:
        taken = self.manager.wakeup(life.conn.id, data)
        assert taken == (not life.is_over)
        if taken:
            life.woken.append(data)

    @rule(target=timers)
    def add_timer(self) -> tuple[int, Timer]:
        self.timers_made += 1
        number = self.timers_made
        timer = self.manager.timer_add(0, lambda: self.fires(number))
        self.due.append(number)
        return number, timer

    def fires(self, number: int) -> None:
        assert self.due.pop(0) == number

    @rule(timer=consumes(timers))
    def cancel_timer(self, timer: tuple[int, Timer]) -> None:
        number, handle = timer
        assert handle.active == (number in self.due)
        handle.cancel()
        assert not handle.active
        if number in self.due:
            self.due.remove(number)

    @rule()
    def poll(self) -> None:
        self.manager.poll(0)
        assert self.due == []

    @precondition(lambda self: self.peers)
    @rule(pick=st.randoms(use_true_random=False), how=st.sampled_from(["end", "half", "reset"]))
    def peer_leaves(self, pick: Any, how: str) -> None:
        sock, life = pick.choice(self.peers)
        if how == "half":
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            life.drained = True  # what it has queued still comes, and then the end
            return
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        self.peers.remove((sock, life))
        life.ending = True

    # -- what always holds

    @invariant()
    def each_life_is_in_order(self) -> None:
        assert self.raised == []
        for life in self.all.values():
            events = life.events
            if life.conn is self.listener:
                assert set(events) <= {"OPEN", "CLOSE"}
                continue
            start = ["OPEN", "RESOLVE", "CONNECT"] if life.is_client else ["OPEN", "ACCEPT"]
            assert events[: len(start)] == start
            assert set(events[len(start) :]) <= {"READ", "WRITE", "WAKEUP", "CLOSE"}
            assert events.count("CLOSE") == (events[-1] == "CLOSE")
            assert life.wakeups == life.woken[: len(life.wakeups)]

    @invariant()
    def the_closed_state_is_complete(self) -> None:
        there = self.manager.connections
        for conn, life in self.all.items():
            assert (conn in there) == (not life.is_over)
            if life.is_over:
                assert (conn.id, conn.is_closing, conn.recv_data()) == (0, True, b"")
                assert conn.local_addr is None

    def teardown(self) -> None:
        for sock, life in self.peers:
            if not life.ending and not life.paused:
                self.stream_arrives(sock, life)
            sock.close()
        self.manager.close()
        for conn, life in self.all.items():
            assert life.events.count("CLOSE") == 1
            assert life.events[-1] == "CLOSE"
            assert conn.id == 0
        assert self.raised == []
        assert self.manager.connections == ()

    def stream_arrives(self, sock: socket.socket, life: Life) -> None:
        """Both directions of a connection that nobody cut are complete."""
        got = bytearray()
        sock.setblocking(False)

        def complete() -> bool:
            with suppress(BlockingIOError, ConnectionResetError):
                got.extend(sock.recv(65536))
            return len(got) >= len(life.outgoing)

        self.poll_until(complete)
        assert bytes(got) == life.outgoing
        assert life.incoming.startswith(life.read)
        if not life.drained:
            self.poll_until(lambda: life.read == life.incoming)


TestLives = Lives.TestCase
TestLives.settings = settings(stateful_step_count=40)
