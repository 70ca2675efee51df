"""Whatever a handler raises, and whenever a signal comes: the loop goes on."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import product
from typing import Any, Callable

import pytest
from child import child
from conftest import DEADLINE, dial, exchange, pump, receive_all, turns, udp_socket
from scene import GET, IDS, LAST, SCENE, Scene

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
    Handler,
    HttpMessage,
    Manager,
    event_name,
)

MakeManager = Callable[..., Manager]
BEGINNINGS = {MG_EV_ACCEPT, MG_EV_CONNECT}


# -- exceptions ----------------------------------------------------------------


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


@pytest.mark.parametrize(("side", "ev"), [place for place in SCENE if place[1] not in BEGINNINGS])
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


@pytest.mark.parametrize(("side", "ev"), [place for place in SCENE if place[1] in BEGINNINGS])
def test_an_exception_where_a_connection_begins_ends_it(
    make_manager: MakeManager, side: str, ev: int
) -> None:
    def act(scene: Scene, conn: Connection) -> None:
        failed.append(conn)
        raise LookupError("inside")

    failed: list[Connection] = []
    scene = Scene(make_manager, side, ev, act)
    assert scene.run() == []
    assert [type(exc) for exc in scene.raised] == [LookupError]
    scene.ended_in_order()
    name = event_name(ev)[6:]
    names = scene.names[failed[0]]
    assert names[names.index(name) :] == [name, "ERROR", "CLOSE"]
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


@pytest.mark.parametrize(
    ("ev", "kind"),
    [
        (MG_EV_ACCEPT, KeyboardInterrupt),
        *product(
            [MG_EV_HTTP_HDRS, MG_EV_READ, MG_EV_WRITE, MG_EV_CLOSE],
            [KeyboardInterrupt, LookupError],
        ),
    ],
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


# -- signals at any moment -----------------------------------------------------


STORM = """
import signal, sys
armed, ticks = False, 0

class Tick(BaseException):
    pass

def unraisable(what, report=sys.unraisablehook):
    if "_get_module_lock" not in repr(what.object):  # PyPy's own: an import was hit
        report(what)

sys.unraisablehook = unraisable

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
