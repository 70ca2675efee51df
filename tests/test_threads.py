"""Other threads use the manager while one polls: nothing is lost, nothing deadlocks."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, dial, receive_until, running, udp_socket, url_of

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_WAKEUP,
    Connection,
    Manager,
)

MakeManager = Callable[..., Manager]


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    """Let threads change places as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Queue(Recorder):
    """Hands each event to a queue, for another thread to wait for."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__(answer)
        self.events: queue.Queue[tuple[Connection, int, Any]] = queue.Queue()

    def __call__(self, conn: Connection, ev: int, data: Any) -> None:
        super().__call__(conn, ev, data)
        self.events.put((conn, ev, data))

    def wait(self, wanted: int) -> tuple[Connection, Any]:
        while True:
            conn, ev, data = self.events.get(timeout=DEADLINE)
            if ev == wanted:
                return conn, data


def all_together(*calls: Callable[[], object]) -> None:
    """Run each call on a thread of its own, and raise what one of them raised."""
    raised: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as exc:
            raised.append(exc)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE * 3)
        assert not thread.is_alive(), "deadlock"
    if raised:
        raise raised[0]


def test_sending_from_another_thread_while_polling(make_manager: MakeManager) -> None:
    seen = Queue()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    with running(manager), dial(listener) as client:
        conn, _ = seen.wait(MG_EV_ACCEPT)

        def send(letter: bytes) -> None:
            for _ in range(300):
                conn.send(letter * 100)

        all_together(*[lambda c=c: send(c) for c in (b"a", b"b", b"c")])
        conn.send(b".")
        wire = receive_until(client, b".")
    assert len(wire) == 3 * 300 * 100 + 1
    assert all(wire[n : n + 100] == wire[n : n + 1] * 100 for n in range(0, len(wire) - 1, 100))


def test_closing_from_another_thread_while_polling(make_manager: MakeManager) -> None:
    seen = Queue()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    with running(manager):
        for _ in range(50):
            with dial(listener) as client:
                conn, _ = seen.wait(MG_EV_ACCEPT)
                all_together(conn.close, conn.close, conn.drain, lambda c=conn: repr(c))
                assert client.recv(1) == b""
                assert seen.wait(MG_EV_CLOSE)[0] is conn
                assert conn.is_closing


def test_connecting_and_listening_from_other_threads_while_polling(
    make_manager: MakeManager,
) -> None:
    manager = make_manager(
        Recorder(lambda conn, ev, data: ev == MG_EV_READ and conn.is_listening is None)
    )
    echo = manager.listen(
        "tcp://127.0.0.1:0", lambda conn, ev, data: ev == MG_EV_READ and conn.send(data)
    )

    def talk() -> None:
        for n in range(40):
            seen = Queue()
            conn = manager.connect(url_of(echo), seen)
            conn.send(str(n))
            got, data = seen.wait(MG_EV_READ)
            assert got is conn
            assert data == str(n).encode()
            conn.close()
            seen.wait(MG_EV_CLOSE)
            assert seen.names() == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "READ", "CLOSE"]

    def listen() -> None:
        for _ in range(40):
            seen = Queue()
            listener = manager.listen("tcp://127.0.0.1:0", seen)
            assert listener.local_addr is not None
            with dial(listener):
                seen.wait(MG_EV_ACCEPT)
            listener.close()

    with running(manager):
        all_together(talk, talk, listen)


def test_events_of_a_call_made_elsewhere_run_on_the_polling_thread(
    make_manager: MakeManager,
) -> None:
    threads: list[int] = []
    seen = Queue(lambda *_: threads.append(threading.get_ident()))
    manager = make_manager()
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert release.wait(DEADLINE)

    manager.timer_add(0, hold)
    with running(manager) as thread:
        assert inside.wait(DEADLINE)
        listener = manager.listen("tcp://127.0.0.1:0", seen)
        conn = manager.connect(url_of(listener), seen)
        conn.error("enough")
        assert seen.calls == []
        release.set()
        waited_for = {(listener, MG_EV_OPEN), (conn, MG_EV_CLOSE)}
        while waited_for:
            waited_for.discard(seen.events.get(timeout=DEADLINE)[:2])
    assert {*threads} == {thread.ident}
    assert seen.names(listener)[0] == "OPEN"
    assert seen.names(conn) == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]


def test_events_of_a_call_made_while_nobody_polls_run_inside_it(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    all_together(lambda: manager.listen("tcp://127.0.0.1:0"))
    assert seen.names() == ["OPEN"]


def test_a_handler_may_wait_for_a_thread_that_uses_the_manager(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            all_together(
                lambda: conn.reply(200, "from another thread"),
                lambda: manager.timer_add(1000, print).cancel(),
                lambda: manager.listen("tcp://127.0.0.1:0").close(),
                lambda: manager.wakeup(conn.id, b"x"),
                lambda: manager.connections,
                lambda: conn.set_handler(handle),
            )

    manager = make_manager(handle, enable_wakeup=True)
    listener = manager.listen("http://127.0.0.1:0")
    with running(manager), dial(listener) as client:
        for _ in range(20):
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert receive_until(client, b"thread").startswith(b"HTTP/1.1 200 OK")


def test_answers_made_by_a_pool_of_threads_reach_their_clients(
    make_manager: MakeManager,
) -> None:
    work: queue.Queue[Any] = queue.Queue()

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            work.put((conn, data.uri))

    def worker() -> None:
        while (job := work.get(timeout=DEADLINE)) is not None:
            conn, uri = job
            conn.reply(200, f"{uri};" * 500)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")

    def client(name: int) -> None:
        with dial(listener) as sock:
            for n in range(30):
                uri = f"/{name}-{n}"
                sock.sendall(f"GET {uri} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                wire = b""
                while wire.count(f"{uri};".encode()) < 500:
                    piece = sock.recv(65536)
                    assert piece
                    wire += piece

    with running(manager):
        workers = [threading.Thread(target=worker) for _ in range(3)]
        for thread in workers:
            thread.start()
        try:
            all_together(*[lambda n=n: client(n) for n in range(6)])
        finally:
            for _ in workers:
                work.put(None)
            for thread in workers:
                thread.join(DEADLINE)


def test_a_udp_client_may_be_made_and_used_while_another_thread_polls(
    make_manager: MakeManager,
) -> None:
    manager = make_manager()
    with running(manager), udp_socket() as server:
        host, port = server.getsockname()
        for n in range(50):
            conn = manager.connect(f"udp://{host}:{port}")
            conn.send(str(n))
            assert server.recv(100) == str(n).encode()
            conn.close()


def test_properties_can_be_read_from_any_thread_while_connections_come_and_go(
    make_manager: MakeManager,
) -> None:
    seen = Queue()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for conn in manager.connections:
                assert isinstance(conn.is_closing, bool)
                assert conn.id >= 0
                addr = conn.remote_addr
                assert addr is None or addr[0] == "127.0.0.1"
                assert conn.recv_len >= 0
                assert conn.send_data(5) == b""
                assert repr(conn).startswith("<Connection")

    def come_and_go() -> None:
        try:
            for _ in range(150):
                dial(listener).close()
                seen.wait(MG_EV_CLOSE)
        finally:
            done.set()

    with running(manager):
        all_together(look, look, come_and_go)
    closed = {*seen.conns(MG_EV_CLOSE)}
    assert len(closed) == 150
    assert {conn.id for conn in closed} == {0}
    assert [*manager._conns] == [listener.id]


def test_handlers_can_be_changed_while_events_come(make_manager: MakeManager) -> None:
    first, second = Queue(), Queue()
    manager = make_manager(first)
    listener = manager.listen("tcp://127.0.0.1:0")
    with running(manager), dial(listener) as client:
        conn, _ = first.wait(MG_EV_ACCEPT)
        stop = threading.Event()

        def change() -> None:
            while not stop.is_set():
                conn.set_handler(second, events=[MG_EV_READ])
                conn.set_handler(None)
                conn.set_handler(second)

        def send() -> None:
            for n in range(200):
                client.sendall(b"%03d\n" % n)
            stop.set()

        all_together(change, send)
        conn.set_handler(second)
        client.sendall(b"end\n")
        while not b"".join(second.data(MG_EV_READ)).endswith(b"end\n"):
            second.wait(MG_EV_READ)
    total = b"".join(first.data(MG_EV_READ)) + b"".join(second.data(MG_EV_READ))
    assert sorted(total.split()) == sorted(b"%03d" % n for n in range(200)) + [b"end"]


def test_wakeups_race_with_closing_without_harm(make_manager: MakeManager) -> None:
    manager = make_manager(enable_wakeup=True)
    with running(manager):
        for _ in range(50):
            seen = Queue()
            conn = manager.listen("tcp://127.0.0.1:0", seen)
            number = conn.id
            all_together(
                lambda number=number: [manager.wakeup(number, b"x") for _ in range(20)],
                conn.close,
            )
            seen.wait(MG_EV_CLOSE)
            names = seen.names()
            assert names[-1] == "CLOSE"
            assert names.count("CLOSE") == 1
            assert set(names) <= {"OPEN", "WAKEUP", "CLOSE"}
            assert seen.data(MG_EV_WAKEUP) == [b"x"] * names.count("WAKEUP")


def test_managers_in_threads_of_their_own_do_not_meet(poller: str) -> None:
    def one(name: int) -> None:
        seen = Recorder(lambda conn, ev, data: ev == MG_EV_HTTP_MSG and conn.reply(200, str(name)))
        with Manager(seen, poller=poller) as manager:
            listener = manager.listen("http://127.0.0.1:0")
            with dial(listener) as client:
                for _ in range(30):
                    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                    before = len(seen.data(MG_EV_HTTP_MSG))
                    while len(seen.data(MG_EV_HTTP_MSG)) == before:
                        manager.poll(100)
                    manager.poll(0)
                    assert receive_until(client, str(name).encode())

    all_together(*[lambda n=n: one(n) for n in range(4)])


def test_close_waits_for_nobody_and_later_calls_are_refused(make_manager: MakeManager) -> None:
    """A manager closed while other threads still send: each call works or is refused."""
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    conn = manager.connect(url_of(listener))
    go = threading.Barrier(4)

    def send() -> None:
        go.wait(DEADLINE)
        try:
            for _ in range(1000):
                conn.send(b"x")
                _ = conn.send_len
        except RuntimeError as exc:
            assert "closed" in str(exc)

    def close() -> None:
        go.wait(DEADLINE)
        manager.close()

    all_together(send, send, send, close)
    assert conn.id == 0
