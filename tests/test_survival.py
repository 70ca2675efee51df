"""Whatever a handler does, raises or closes, and however a peer leaves: the loop goes on.

The scene of many tests here: our own client asks our own server on one manager, and
at one chosen event something happens. Afterwards every connection must have had its
MG_EV_CLOSE, once and last, and the next request must be served.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any, Callable

import pytest
from child import child
from conftest import DEADLINE, dial, exchange, pump, receive_all, running, turns, udp_socket, url_of

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_POLL,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_WAKEUP,
    MG_EV_WRITE,
    Connection,
    ConnectionClosed,
    Error,
    Handler,
    HttpMessage,
    Limits,
    Manager,
    event_name,
)

MakeManager = Callable[..., Manager]
EVENTS = range(MG_EV_WAKEUP + 1)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SCENE = [
    *[("server", ev) for ev in (MG_EV_OPEN, MG_EV_ACCEPT, MG_EV_WAKEUP, MG_EV_POLL)],
    *[("server", ev) for ev in (MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG, MG_EV_READ, MG_EV_WRITE)],
    *[("server", ev) for ev in (MG_EV_CLOSE,)],
    *[("client", ev) for ev in (MG_EV_OPEN, MG_EV_RESOLVE, MG_EV_CONNECT, MG_EV_POLL)],
    *[("client", ev) for ev in (MG_EV_WRITE, MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG, MG_EV_READ)],
    *[("client", ev) for ev in (MG_EV_CLOSE,)],
]
ORDER = ["OPEN", "RESOLVE", "CONNECT", "ACCEPT", "HTTP_HDRS", "HTTP_MSG", "ERROR", "CLOSE"]
IDS = [f"{side} {event_name(ev)[6:]}" for side, ev in SCENE]


class Scene:
    """One request from our client to our server; *act* is called once, at one event."""

    def __init__(
        self, manager: MakeManager, side: str, ev: int, act: Callable[[Scene, Connection], object]
    ) -> None:
        self.at, self.act = (side, ev), act
        self.names: dict[Connection, list[str]] = {}
        self.raised: list[BaseException] = []
        self.manager = manager(
            self.handle,
            enable_wakeup=True,
            events=EVENTS,
            error_handler=self.raised.append,
            answer_500=False,  # an exception then changes nothing in the order of events
        )
        self.listener = self.manager.listen("http://127.0.0.1:0")

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        side = "listener" if conn.is_listening else "client" if conn.is_client else "server"
        if ev != MG_EV_POLL:
            self.names.setdefault(conn, []).append(event_name(ev)[6:])
        self.play(side, conn, ev)
        if self.at == (side, ev):
            self.at = ("", -1)
            self.act(self, conn)

    def play(self, side: str, conn: Connection, ev: int) -> None:
        with suppress(Error):  # it may be closed already: that is what is tried here
            if (side, ev) == ("client", MG_EV_CONNECT):
                conn.request("GET")
            elif (side, ev) == ("client", MG_EV_HTTP_MSG):
                conn.drain()
            elif (side, ev) == ("server", MG_EV_ACCEPT):
                self.manager.wakeup(conn.id, b"x")
            elif (side, ev) == ("server", MG_EV_HTTP_MSG):
                conn.reply(200, "hello")

    def run(self) -> list[BaseException]:
        """Play it to the end; return what came out of the calls into the loop."""
        out: list[BaseException] = []

        def attempt(call: Callable[[], object]) -> None:
            try:
                call()
            except BaseException as exc:
                out.append(exc)

        def over() -> bool:
            there = [conn for conn in self.manager.connections if conn is not self.listener]
            return self.at == ("", -1) and not there

        attempt(lambda: self.manager.connect(url_of(self.listener, "http")))
        for _ in range(200):
            attempt(lambda: self.manager.poll(20))
            if over():
                return out
        raise AssertionError(f"it does not end: {self.names}")

    def ended_in_order(self) -> None:
        for conn, names in self.names.items():
            if conn is not self.listener:
                assert names[0] == "OPEN", names
                assert [name for name in names if name in ORDER] == sorted(
                    {*names} & {*ORDER}, key=ORDER.index
                ), names
                assert names.count("CLOSE") == 1, names
                assert names[-1] == "CLOSE", names
                assert names.count("ERROR") <= 1, names
                assert conn.id == 0

    def still_serves(self) -> None:
        with closing(dial(self.listener)) as sock:
            answer = exchange(self.manager, sock, GET, b"hello")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


# -- closing from anywhere ---------------------------------------------------------------------


def close(scene: Scene, conn: Connection) -> None:
    conn.close()
    if not conn.is_closing:
        raise AssertionError("close() marks at once")
    with pytest.raises(Error):
        conn.send("too late")
    conn.close()
    conn.drain()


def close_all_others(scene: Scene, conn: Connection) -> None:
    for other in scene.manager.connections:
        if other not in (conn, scene.listener):
            other.close()
            other.set_handler(None)


def fail(scene: Scene, conn: Connection) -> None:
    with suppress(ConnectionClosed):  # in MG_EV_CLOSE
        conn.error("no more")


def drain_and_take_another_handler(scene: Scene, conn: Connection) -> None:
    conn.drain()
    conn.set_handler(scene.handle, events=EVENTS)


ACTIONS = [close, close_all_others, fail, drain_and_take_another_handler]


@pytest.mark.parametrize("act", ACTIONS)
@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_connections_can_be_ended_in_any_event(
    make_manager: MakeManager, side: str, ev: int, act: Callable[[Scene, Connection], None]
) -> None:
    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert scene.raised == []
    scene.ended_in_order()
    scene.still_serves()


@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_everything_can_be_closed_in_any_event(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        for one in scene.manager.connections:
            one.close()

    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    pump(scene.manager, lambda: not scene.manager.connections)
    scene.ended_in_order()
    assert scene.names[scene.listener] == ["OPEN", "CLOSE"]


@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_the_manager_refuses_to_be_closed_or_polled_in_any_event(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        for call in (scene.manager.close, scene.manager.poll, scene.manager.run):
            if (
                side == "client"
                and ev in (MG_EV_OPEN, MG_EV_RESOLVE)
                and call != scene.manager.close
            ):
                continue  # inside connect(), when nobody polls: a poll is fine
            with pytest.raises(Error):
                call()

    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert scene.raised == []
    scene.ended_in_order()
    scene.still_serves()


def test_connections_can_be_closed_by_another_thread_while_they_talk(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 10_000)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    host, port, _ = listener.local_addr
    done = threading.Event()

    def talk() -> None:
        for _ in range(100):
            sock = socket.create_connection((host, port), DEADLINE)
            with closing(sock), suppress(OSError):
                sock.sendall(GET * 5 + LAST)
                receive_all(sock)

    def cut() -> None:
        while not done.is_set():
            for conn in manager.connections[:-1]:
                conn.close()

    with running(manager):
        talkers = [threading.Thread(target=talk) for _ in range(3)]
        cutter = threading.Thread(target=cut)
        for thread in [*talkers, cutter]:
            thread.start()
        for thread in talkers:
            thread.join(DEADLINE)
        done.set()
        cutter.join(DEADLINE)
        with closing(socket.create_connection((host, port), DEADLINE)) as sock:
            sock.sendall(LAST)
            assert receive_all(sock).endswith(b"x" * 10_000)
    pump(manager, lambda: manager.connections == (listener,))


# -- exceptions --------------------------------------------------------------------------------


class Stop(BaseException):
    """Neither an Exception nor one of Python's own."""


def undisturbed(make_manager: MakeManager) -> dict[bool, list[str]]:
    scene = Scene(make_manager, "", -1, lambda *_: None)
    assert scene.run() == []
    return events_by_side(scene)


def events_by_side(scene: Scene) -> dict[bool, list[str]]:
    """Return what the server's connection (``True``) and the client's had, in any order."""
    names = {conn: events for conn, events in scene.names.items() if conn is not scene.listener}
    assert len(names) == 2
    return {events[1] == "ACCEPT": sorted(events) for events in names.values()}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_what_is_no_exception_leaves_the_loop_once_and_no_event_is_lost(
    make_manager: MakeManager, side: str, ev: int, kind: type[BaseException]
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        raise kind("out")

    scene = Scene(make_manager, side, ev, act)
    (raised,) = scene.run()
    assert type(raised) is kind
    assert scene.raised == []
    scene.ended_in_order()
    assert events_by_side(scene) == undisturbed(make_manager)
    scene.still_serves()


@pytest.mark.parametrize(("side", "ev"), SCENE, ids=IDS)
def test_an_exception_goes_to_the_error_handler_and_no_event_is_lost(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        raise LookupError("inside")

    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert [type(exc) for exc in scene.raised] == [LookupError]
    scene.ended_in_order()
    assert events_by_side(scene) == undisturbed(make_manager)
    scene.still_serves()


class Methods(Handler):
    """The same scene, played by an object with a method for each event."""

    def __init__(self, handle: Callable[[Connection, int, Any], None]) -> None:
        self.handle = handle

    def on_error(self, conn: Connection, message: str) -> None:
        self.handle(conn, MG_EV_ERROR, message)

    def on_open(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_OPEN, None)

    def on_poll(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_POLL, None)

    def on_resolve(self, conn: Connection, addresses: Any) -> None:
        self.handle(conn, MG_EV_RESOLVE, addresses)

    def on_connect(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_CONNECT, None)

    def on_accept(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_ACCEPT, None)

    def on_write(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_WRITE, None)

    def on_close(self, conn: Connection) -> None:
        self.handle(conn, MG_EV_CLOSE, None)

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        self.handle(conn, MG_EV_HTTP_HDRS, message)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        self.handle(conn, MG_EV_HTTP_MSG, message)

    def on_wakeup(self, conn: Connection, data: bytes) -> None:
        self.handle(conn, MG_EV_WAKEUP, data)


IN_METHODS = [place for place in SCENE if place[1] != MG_EV_READ]  # on_read() is for bytes


@pytest.mark.parametrize(
    ("side", "ev"), IN_METHODS, ids=[name for name in IDS if "READ" not in name]
)
def test_what_a_method_raises_leaves_the_loop_once_and_no_event_is_lost(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        raise Stop

    def make(handle: Callable[[Connection, int, Any], None], **options: Any) -> Manager:
        del options["events"]
        return make_manager(Methods(handle), **options)

    scene = Scene(make, side, ev, act)
    assert [type(exc) for exc in scene.run()] == [Stop]
    scene.ended_in_order()
    assert events_by_side(scene) == undisturbed(make)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, LookupError])
@pytest.mark.parametrize(
    "ev", [MG_EV_ACCEPT, MG_EV_HTTP_HDRS, MG_EV_READ, MG_EV_WRITE, MG_EV_CLOSE]
)
@pytest.mark.parametrize("culprit", [1, 4, 9])
def test_an_event_that_fails_takes_no_other_of_its_turn_with_it(
    make_manager: MakeManager, culprit: int, ev: int, kind: type[BaseException]
) -> None:
    seen: dict[Connection, list[str]] = {}
    count = 0

    def handle(conn: Connection, got: int, data: Any) -> None:
        nonlocal count
        if got != MG_EV_POLL and not conn.is_listening:
            seen.setdefault(conn, []).append(event_name(got)[6:])
        if got == MG_EV_HTTP_MSG:
            conn.reply(200, "hello")
        if got == ev:
            count += 1
            if count == culprit:
                raise kind

    manager = make_manager(handle, error_handler=lambda exc: None, answer_500=False)
    listener = manager.listen("http://127.0.0.1:0")
    with ExitStack() as stack:
        socks = [stack.enter_context(closing(dial(listener))) for _ in range(10)]
        for sock in socks:
            sock.sendall(LAST)
        raised = 0
        while len(seen) < 10 or len(manager.connections) > 1:
            try:
                manager.poll(1000)
            except kind:
                raised += 1
        assert all(receive_all(sock).endswith(b"hello") for sock in socks)
    assert raised == (kind is not LookupError)
    whole = ["OPEN", "ACCEPT", "HTTP_HDRS", "HTTP_MSG", "READ", "WRITE", "CLOSE"]
    assert [sorted(events) for events in seen.values()] == [sorted(whole)] * 10


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Stop, LookupError])
@pytest.mark.parametrize("culprit", [1, 4, 9])
def test_one_request_that_fails_takes_no_other_of_its_turn_with_it(
    make_manager: MakeManager, culprit: int, kind: type[BaseException]
) -> None:
    served: list[Connection] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            served.append(conn)
            if len(served) == culprit:
                raise kind
            conn.reply(200, "hello")

    manager = make_manager(handle, error_handler=lambda exc: None)
    listener = manager.listen("http://127.0.0.1:0")
    with ExitStack() as stack:
        socks = [stack.enter_context(closing(dial(listener))) for _ in range(10)]
        pump(manager, lambda: len(manager.connections) == 11)
        for sock in socks:
            sock.sendall(LAST)
        raised = 0
        while len(manager.connections) > 1:
            try:
                manager.poll(1000)
            except kind:
                raised += 1
        answers = [receive_all(sock) for sock in socks]
    assert raised == (kind is not LookupError)
    assert len(served) == len({*served}) == 10
    assert sum(answer.endswith(b"hello") for answer in answers) == 9
    assert sum(answer.startswith(b"HTTP/1.1 500 ") for answer in answers) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, LookupError])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_bytes_that_come_while_a_handler_fails_are_delivered(
    make_manager: MakeManager, scheme: str, kind: type[BaseException]
) -> None:
    got: list[bytes] = []
    raised: list[BaseException] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            got.append(data)
            if len(got) % 2:
                raise kind

    manager = make_manager(handle, error_handler=raised.append)
    listener = manager.listen(f"{scheme}://127.0.0.1:0")
    with closing(udp_socket() if scheme == "udp" else dial(listener)) as sock:
        sock.connect(listener.local_addr[:2]) if scheme == "udp" else None
        for number in range(20):
            sock.sendall(b"%03d" % number)
            if scheme == "tcp":  # datagrams wait for each other
                pump_through(manager, kind, lambda n=number: len(got) > n, raised)
        pump_through(manager, kind, lambda: len(got) == 20, raised)
    assert got == [b"%03d" % number for number in range(20)]
    assert [type(exc) for exc in raised] == [kind] * 10


def pump_through(
    manager: Manager,
    kind: type[BaseException],
    until: Callable[[], object],
    raised: list[BaseException],
) -> None:
    """Poll on, whatever comes out of it, until *until()* is true."""
    for _ in range(200):
        if until():
            return
        try:
            manager.poll(50)
        except kind as exc:
            raised.append(exc)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop])
def test_what_a_timer_raises_leaves_the_loop_and_the_others_fire_later(
    make_manager: MakeManager, kind: type[BaseException]
) -> None:
    fired: list[int] = []

    def fire(number: int) -> None:
        fired.append(number)
        if number % 2:
            raise kind(number)

    manager = make_manager()
    for number in range(6):
        manager.timer_add(0, partial(fire, number))
    for count in (2, 4, 6):
        with pytest.raises(kind):
            manager.poll()
        assert fired == [*range(count)]
    turns(manager)
    assert len(fired) == 6


def test_what_an_error_handler_raises_leaves_the_loop_as_well(make_manager: MakeManager) -> None:
    def refuse(exc: Exception) -> None:
        raise Stop from exc

    manager = make_manager(error_handler=refuse)
    manager.timer_add(0, lambda: 1 / 0)
    with pytest.raises(Stop):
        manager.poll()
    manager.poll()


def test_ctrl_c_in_a_handler_comes_out_of_poll_and_the_request_is_answered_500(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG and data.uri == "/interrupt":
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the line behind it is not reached")
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, "hello")

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(GET.replace(b"/", b"/interrupt", 1))
        with pytest.raises(KeyboardInterrupt):
            pump(manager, lambda: False)
        pump(manager, lambda: manager.connections == (listener,))
        assert receive_all(sock).startswith(b"HTTP/1.1 500 ")
    with closing(dial(listener)) as sock:
        assert exchange(manager, sock, GET, b"hello")


def test_ctrl_c_while_it_waits_comes_out_of_poll_at_once(make_manager: MakeManager) -> None:
    manager = make_manager()
    main = threading.main_thread().ident
    assert main is not None
    waiting = threading.Event()
    manager.timer_add(0, waiting.set)  # fires in the turn before the long wait

    def interrupt() -> None:
        waiting.wait(DEADLINE)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pump(manager, lambda: False, ms=5000)
    thread.join()
    turns(manager)


# -- peers that cut ----------------------------------------------------------------------------


def cut(sock: socket.socket) -> None:
    """End a connection by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
RESETS = {
    "nothing sent": b"",
    "in the start line": GET[:9],
    "in a header": GET[:20],
    "in a body": UPLOAD.replace(b"upload", b"plain"),
    "in a streamed body": UPLOAD,
    "in an answer": GET.replace(b"/", b"/large", 1),
    "in an endless answer": GET.replace(b"/", b"/endless", 1),
    "behind a request": GET,
    "behind many requests": GET * 2000,
}


@pytest.mark.parametrize("sent", RESETS.values(), ids=RESETS)
def test_a_reset_ends_that_connection_only(make_manager: MakeManager, sent: bytes) -> None:
    names: dict[Connection, list[str]] = {}

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev != MG_EV_POLL:
            names.setdefault(conn, []).append(event_name(ev)[6:])
        if ev == MG_EV_HTTP_HDRS and data.uri == "/upload":
            conn.stream_body()
        elif ev == MG_EV_HTTP_MSG and data.uri == "/endless":
            conn.reply(200, "", {"Transfer-Encoding": "chunked"})
            conn.http_chunk(b"x" * 100_000)
        elif ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 10_000_000 if data.uri == "/large" else b"hello")

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    sock = dial(listener)
    sock.sendall(sent)
    turns(manager, 5)
    cut(sock)
    pump(manager, lambda: manager.connections == (listener,))
    del names[listener]
    (events,) = names.values()
    assert events[-1] == "CLOSE"
    assert events.count("CLOSE") == 1
    with closing(dial(listener)) as sock:
        assert exchange(manager, sock, GET, b"hello")


# -- peers that are slow -----------------------------------------------------------------------


def status_lines(stream: bytes) -> list[bytes]:
    return [line for line in stream.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


SLOW = {
    "a head that does not come on": (Limits(header_timeout=0.05), GET[:20], b"408"),
    "a body that does not come on": (Limits(body_timeout=0.05), UPLOAD, b"408"),
    "chunks that do not come on": (
        Limits(body_timeout=0.05),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"408",
    ),
    "nothing behind an answer": (Limits(keepalive_timeout=0.05), GET, b"200"),
    "nothing at all": (Limits(keepalive_timeout=0.05), b"", b""),
}


@pytest.mark.parametrize(("limits", "sent", "status"), SLOW.values(), ids=SLOW)
def test_a_peer_that_does_not_come_on_is_given_up(
    make_manager: MakeManager, limits: Limits, sent: bytes, status: bytes
) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200)
        elif ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=limits)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(sent)
        with running(manager):
            got = receive_all(sock)
    assert [line.split(b" ")[1] for line in status_lines(got)] == ([status] if status else [])
    assert errors == []


def test_bytes_that_trickle_do_not_prolong_the_time_for_a_head(make_manager: MakeManager) -> None:
    manager = make_manager(limits=Limits(header_timeout=0.1))
    listener = manager.listen("http://127.0.0.1:0")
    got = bytearray()
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(GET[:-2])
        sock.settimeout(0.01)  # the pace of the trickle
        for number in range(500):
            with suppress(OSError):  # no answer yet, or no reader any more
                sock.sendall(b"a%d: b\r\n" % number if number < 90 else b"")
            with suppress(socket.timeout):
                got += sock.recv(65536)
                break
    assert got.startswith(b"HTTP/1.1 408 ")


def test_a_server_that_does_not_come_on_is_given_up_by_the_client(
    make_manager: MakeManager,
) -> None:
    events: list[tuple[int, Any]] = []
    manager = make_manager(
        lambda conn, ev, data: events.append((ev, data)), limits=Limits(body_timeout=0.05)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        conn = manager.connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        conn.request("GET")
        turns(manager, 5)
        peer, _ = server.accept()
        with closing(peer):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
            pump(manager, lambda: conn.id == 0)
    assert [data for ev, data in events if ev == MG_EV_ERROR and "body_timeout" in data]
    assert MG_EV_HTTP_MSG not in [ev for ev, _ in events]


def test_a_connection_that_is_not_made_in_time_is_an_error(make_manager: MakeManager) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=Limits(connect_timeout=0.05))
    with closing(socket.socket()) as full:  # its queue is full: the kernel leaves SYNs unanswered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
            waiting.append(sock)
        conn = manager.connect("tcp://{}:{}".format(*full.getsockname()))
        pump(manager, lambda: conn.id == 0)
        for sock in waiting:
            sock.close()
    assert len(errors) == 1
    assert "connect_timeout" in errors[0]


def test_a_peer_that_does_not_read_its_answer_is_given_up(make_manager: MakeManager) -> None:
    errors: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 20_000_000)
        elif ev == MG_EV_ERROR:
            errors.append(data)

    manager = make_manager(handle, limits=Limits(body_timeout=0.1))
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(GET)
        pump(manager, lambda: len(manager.connections) == 2)
        pump(manager, lambda: len(manager.connections) == 1)
    assert len(errors) == 1
    assert "took no bytes" in errors[0]


def test_a_queue_that_nobody_empties_has_an_end(make_manager: MakeManager) -> None:
    manager = make_manager(limits=Limits(send_backlog=1_000_000))
    listener = manager.listen("tcp://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        pump(manager, lambda: len(manager.connections) == 2)
        conn = manager.connections[0]
        with pytest.raises(Error, match="100000 bytes"):
            for _ in range(1000):
                conn.send(b"x" * 100_000)
                manager.poll(0)
        unsent = conn.send_len
        assert 900_000 <= unsent <= 1_000_000
        sock.setblocking(False)
        got = 0

        def drained() -> bool:
            nonlocal got
            with suppress(BlockingIOError):
                got += len(sock.recv(1 << 20))
            return conn.send_len == 0

        pump(manager, drained, ms=1)
        conn.send(b"there is room again")


# -- half-closed connections --------------------------------------------------------------------


def test_an_answer_that_comes_late_reaches_a_peer_that_sends_no_more(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            manager.timer_add(30, lambda: conn.reply(200, data.uri or "later"))

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(GET * 3)
        sock.shutdown(socket.SHUT_WR)
        got = receive_all(sock)
    assert got.count(b"HTTP/1.1 200 OK\r\n") == 3


def test_a_raw_peer_that_sends_no_more_gets_what_is_queued(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ:
            conn.send(data * 1000)

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(b"0123456789" * 1000)
        sock.shutdown(socket.SHUT_WR)
        assert len(receive_all(sock)) == 10_000_000


def test_an_answer_arrives_whole_though_its_reader_goes_on_sending(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, b"x" * 3_000_000)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock, running(manager):
        sock.sendall(LAST + b"x" * 800_000)  # closing on unread bytes would be a reset
        assert receive_all(sock).endswith(b"\r\n\r\n" + b"x" * 3_000_000)


# -- signals at any moment -----------------------------------------------------------------

STORM = """
import signal
armed, ticks = False, 0

class Tick(BaseException):
    pass

def tick(number, frame):
    global armed, ticks
    if armed:  # once per poll(), so that what catches it is not hit in turn
        armed, ticks = False, ticks + 1
        if ticks == 300:
            signal.setitimer(signal.ITIMER_REAL, 0)
        raise Tick

def busy(conn, ev, data):
    if ev == MG_EV_HTTP_MSG:
        if data.uri == "/quit":
            quitting.append(1)
        conn.reply(200, "over" if ticks == 300 else "storm")

quitting = []
manager = Manager(busy)
manager.timer_add(1, lambda: None, repeat=True)
print(manager.listen("http://127.0.0.1:0").local_addr[1], flush=True)
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while not quitting:
    try:
        armed = True
        manager.poll(1000)
        armed = False
    except Tick:
        pass
for _ in range(5):
    manager.poll(10)
left = [conn for conn in manager._conns.values() if conn not in manager.connections]
assert left == [], left
"""


def test_signals_that_raise_at_any_moment_lose_no_request_and_no_connection() -> None:
    """Each request is answered, 200 or 500, whatever line the exception hits.

    A connection may end behind an answer: then it hit the handler behind its reply().
    """
    statuses = {b"200": 0, b"500": 0}
    over = False
    with child(STORM) as server:
        while not over:
            with ExitStack() as stack:
                socks = [stack.enter_context(closing(server.dial())) for _ in range(4)]
                for count in range(10):
                    for sock in socks:
                        with suppress(OSError):
                            sock.sendall(GET)
                    answers = {sock: receive_answer(sock) for sock in socks}
                    assert count > 0 or all(answers.values()), "an end without an answer"
                    socks = [sock for sock in socks if answers[sock]]
                    for answer in filter(None, answers.values()):
                        statuses[answer[9:12]] += 1
                        over = over or answer.endswith(b"over")
        server.finish()
    assert statuses[b"200"] > statuses[b"500"]


def receive_answer(sock: socket.socket) -> bytes:
    """Return an answer, or nothing if the connection has ended."""
    got = b""
    while not got.endswith((b"\r\n\r\n", b"storm", b"over")):
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return b""
        got += piece
    return got
