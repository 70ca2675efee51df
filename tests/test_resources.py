"""What it costs: descriptors, memory, CPU and threads, and what happens at their ends.

What would disturb the process that tests runs in one of its own, see child.py.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import weakref
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Callable

import pytest
from child import Child, answer_of, child
from conftest import DEADLINE, dial, pump, receive_all, running, turns, url_of

from mongoose_py import (
    MG_EV_HTTP_MSG,
    MG_EV_WAKEUP,
    Connection,
    Limits,
    Manager,
)

MakeManager = Callable[..., Manager]
MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

on_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)
unsanitized = pytest.mark.skipif(
    "ASAN_OPTIONS" in os.environ, reason="the sanitizer keeps freed memory"
)


# -- descriptors -------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", ["epoll", "poll"])
def test_without_a_free_descriptor_it_serves_on_does_not_spin_and_recovers(poller: str) -> None:
    program = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
manager = Manager(handle, poller={poller!r}, limits=Limits(connections=0))
serve()
"""
    with child(program) as server, ExitStack() as stack:
        socks = [stack.enter_context(closing(server.dial())) for _ in range(100)]
        assert [server.ask("/", sock) for sock in socks[:30]] == ["hello"] * 30
        assert float(server.ask("/cpu", socks[0])) < 0.05  # spinning takes most of 0.3
        for sock in socks[1:60]:
            sock.close()
        assert [server.ask("/", sock) for sock in socks[60:]] == ["hello"] * 40
        for sock in socks:
            sock.close()
        server.finish()


def test_connections_above_the_limit_are_refused_and_the_others_served() -> None:
    program = "manager = Manager(handle, limits=Limits(connections=20))\nserve()"
    with child(program) as server, ExitStack() as stack:
        socks = [stack.enter_context(closing(server.dial())) for _ in range(19)]
        assert [server.ask("/", sock) for sock in socks] == ["hello"] * 19
        for _ in range(30):
            with closing(server.dial()) as refused, suppress(ConnectionResetError):
                assert refused.recv(1) == b""
        assert [server.ask("/", sock) for sock in socks] == ["hello"] * 19
        server.finish(socks[0])


def test_a_connect_without_a_free_descriptor_says_so() -> None:
    program = """
import errno
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
manager = Manager(handle, limits=Limits(connections=0))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
for call in (manager.connect, manager.listen):
    try:
        call("tcp://127.0.0.1:1")
    except SystemCallError as exc:
        assert exc.errno == errno.EMFILE, exc
    else:
        raise AssertionError("there was a descriptor")
for fd in held:
    os.close(fd)
manager.poll()
assert manager.connections == ()
serve()
"""
    with child(program) as server:
        server.finish()


# -- many connections --------------------------------------------------------------------------


def hello(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_HTTP_MSG:
        conn.reply(200, "hello")


def visit(address: tuple[str, int], times: int, answers: list[bytes]) -> None:
    for _ in range(times):
        with closing(socket.create_connection(address, DEADLINE)) as sock:
            sock.sendall(LAST)
            answers.append(receive_all(sock)[-5:])


def test_two_thousand_connections_one_after_the_other(make_manager: MakeManager) -> None:
    manager = make_manager(hello)
    listener = manager.listen("http://127.0.0.1:0")
    host, port, _ = listener.local_addr
    answers: list[bytes] = []
    with running(manager):
        visit((host, port), 2000, answers)
    assert answers == [b"hello"] * 2000
    pump(manager, lambda: manager.connections == (listener,))


def test_two_thousand_connections_from_five_threads(make_manager: MakeManager) -> None:
    manager = make_manager(hello)
    listener = manager.listen("http://127.0.0.1:0")
    host, port, _ = listener.local_addr
    answers: list[bytes] = []
    with running(manager):
        threads = [
            threading.Thread(target=visit, args=((host, port), 400, answers)) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(6 * DEADLINE)
    assert answers == [b"hello"] * 2000
    pump(manager, lambda: manager.connections == (listener,))


# -- memory ------------------------------------------------------------------------------------


def test_a_flood_of_requests_whose_answers_nobody_reads_is_held_back(
    make_manager: MakeManager,
) -> None:
    served = 0

    def handle(conn: Connection, ev: int, data: Any) -> None:
        nonlocal served
        if ev == MG_EV_HTTP_MSG:
            served += 1
            conn.reply(200, b"x" * 1000)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(listener.local_addr[:2])
        sock.setblocking(False)
        request = GET[:-2] + b"a: " + b"a" * 1000 + b"\r\n\r\n"
        flood = request * 100
        sent, refusals = 0, 0
        while refusals < 50:  # the socket takes no more, and no turn of the loop changes that
            try:
                sent += sock.send(flood[sent % len(request) :])
                refusals = 0
            except BlockingIOError:
                refusals += 1
                manager.poll(0)
                conn = manager.connections[0]
                assert conn.send_len < 1.5 * MIB
                assert conn.recv_len < 4 * MIB
        assert conn.is_full or conn.send_len > 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        got = b""
        wanted = sent // len(request)
        count = 0

        def all_answered() -> bool:
            nonlocal got, count
            with suppress(BlockingIOError):
                got += sock.recv(MIB)
            count += got.count(b"HTTP/1.1 200 OK\r\n")
            got = got[-16:]  # less than what is counted
            return count >= wanted

        pump(manager, all_answered, ms=1)
        assert served == count == wanted


@on_linux
@unsanitized
def test_an_upload_of_64_mib_that_is_streamed_takes_little_memory() -> None:
    program = """
sizes = {}

def upload(conn, ev, data):
    if ev == MG_EV_HTTP_HDRS and data.method == "POST":
        sizes[conn] = 0
        conn.stream_body()
    elif ev == MG_EV_READ and data:
        sizes[conn] += len(data)
    elif ev == MG_EV_HTTP_MSG and data.method == "POST":
        conn.reply(200, str(sizes[conn]))
    else:
        handle(conn, ev, data)

manager = Manager(upload)
serve()
"""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB)
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with child(program) as server, closing(server.dial()) as sock:
        before = int(server.ask("/rss"))
        sock.sendall(head)
        for _ in range(64):
            sock.sendall(b"x" * MIB)
        assert answer_of(sock) == b"%d" % (64 * MIB)
        sock.sendall(chunked)
        for _ in range(64):
            sock.sendall(b"100000\r\n" + b"x" * MIB + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        assert answer_of(sock) == b"%d" % (64 * MIB)
        assert int(server.ask("/peak")) - before < 24 * 1024
        server.finish()


@on_linux
@unsanitized
def test_a_download_of_64_mib_that_waits_for_its_reader_takes_little_memory() -> None:
    program = """
left = {}

def more(conn):
    while left.get(conn) and conn.send_len < 1 << 20:
        conn.http_chunk(b"x" * (1 << 16))
        left[conn] -= 1
    if conn in left and not left[conn]:
        del left[conn]
        conn.http_chunk(b"")

def download(conn, ev, data):
    if ev == MG_EV_HTTP_MSG and data.uri == "/download":
        left[conn] = 1024
        conn.reply(200, "", {"Transfer-Encoding": "chunked"})
        more(conn)
    elif ev == MG_EV_WRITE:
        more(conn)
    else:
        handle(conn, ev, data)

manager = Manager(download)
serve()
"""
    with child(program) as server, closing(server.dial()) as sock:
        before = int(server.ask("/rss"))
        sock.sendall(GET.replace(b"/", b"/download", 1))
        got = sock.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        size = got.partition(b"\r\n\r\n")[2].count(b"x")
        while not got.endswith(b"\r\n0\r\n\r\n"):
            got = got[-7:].replace(b"x", b"") + sock.recv(MIB)
            size += got.count(b"x")
        assert size == 64 * MIB
        assert int(server.ask("/peak")) - before < 24 * 1024
        server.finish()


@on_linux
@unsanitized
def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    program = """
def busy(conn, ev, data):
    if ev == MG_EV_HTTP_MSG and not say_how_it_is(conn, data):
        conn.userdata = data.headers(), data.body_bytes, data.query_var("a")
        conn.reply_json({"uri": data.uri, "id": conn.id}, headers={"X-Id": conn.id})

manager = Manager(busy)
serve()
"""
    wire = b"POST /%d?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 100

    def visit_many(server: Child, count: int) -> None:
        for number in range(count // 100):
            with closing(server.dial()) as sock:
                batch = b"".join([wire % (100 * number + i) for i in range(100)])
                sock.sendall(batch + LAST)
                assert receive_all(sock).count(b"HTTP/1.1 200 OK\r\n") == 101

    with child(program) as server:
        visit_many(server, 10_000)
        before = int(server.ask("/rss"))
        visit_many(server, 20_000)
        assert int(server.ask("/rss")) - before < 2 * 1024
        server.finish()


def test_an_idle_connection_holds_no_buffers(make_manager: MakeManager) -> None:
    manager = make_manager(hello)
    listener = manager.listen("http://127.0.0.1:0")
    with closing(dial(listener)) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        sender = threading.Thread(target=sock.sendall, args=(b"x" * 1_000_000,))
        sender.start()
        with running(manager):
            assert answer_of(sock) == b"hello"
            sender.join(DEADLINE)
        turns(manager)
        conn = manager.connections[0]
        assert (conn.recv_size, conn.send_size) == (0, 0)


# -- timers and wake-ups ------------------------------------------------------------------------


def test_ten_thousand_timers_fire_in_the_order_of_their_times(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[int] = []
    delays = random.Random(7).choices(range(40), k=10_000)
    timers = []
    due: list[tuple[float, float]] = []  # milliseconds: at the earliest, at the latest
    for n, ms in enumerate(delays):
        before = monotonic() * 1000
        timers.append(manager.timer_add(ms, lambda n=n: fired.append(n)))
        due.append((before + ms, monotonic() * 1000 + ms))
    cancelled = {*range(0, 10_000, 3)}
    for number in cancelled:
        timers[number].cancel()
    expected = [number for number in range(10_000) if number not in cancelled]
    pump(manager, lambda: len(fired) == len(expected))
    assert sorted(fired) == expected
    # The core's clock ticks in whole milliseconds.
    assert all(due[n][0] <= due[later][1] + 1 for n, later in zip(fired, fired[1:]))
    assert not any(timer.active for timer in timers)
    turns(manager)
    assert len(fired) == len(expected)


def test_wake_ups_of_eight_threads_all_come_in_the_order_of_each(make_manager: MakeManager) -> None:
    got: list[bytes] = []
    manager = make_manager(
        lambda conn, ev, data: got.append(data) if ev == MG_EV_WAKEUP else None,
        enable_wakeup=True,
    )
    number = manager.listen("tcp://127.0.0.1:0").id

    def wake(name: int) -> None:
        for count in range(1000):
            assert manager.wakeup(number, b"%d %d " % (name, count) + b"x" * (count * 37 % 20_000))

    with running(manager):
        threads = [threading.Thread(target=wake, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    turns(manager)
    for name in range(8):
        own = [data for data in got if data.startswith(b"%d " % name)]
        counts = [int(data.split(b" ")[1]) for data in own]
        assert counts == [*range(1000)]
        assert all(len(d.split(b" ")[2]) == c * 37 % 20_000 for d, c in zip(own, counts))


def test_a_wake_up_of_16_mib_arrives_whole_and_a_larger_one_is_a_value_error(
    make_manager: MakeManager,
) -> None:
    got: list[bytes] = []
    manager = make_manager(
        lambda conn, ev, data: got.append(data) if ev == MG_EV_WAKEUP else None,
        enable_wakeup=True,
    )
    number = manager.listen("tcp://127.0.0.1:0").id
    payload = random.Random(1).randbytes(MIB) * 16
    assert manager.wakeup(number, payload)
    with pytest.raises(ValueError, match="16777217"):
        manager.wakeup(number, payload + b"x")
    manager.poll()
    assert got == [payload]


def test_a_full_queue_of_wake_ups_says_so_and_empties(make_manager: MakeManager) -> None:
    got: list[bytes] = []
    manager = make_manager(
        lambda conn, ev, data: got.append(data) if ev == MG_EV_WAKEUP else None,
        enable_wakeup=True,
        limits=Limits(wakeup_queue=10_000),
    )
    number = manager.listen("tcp://127.0.0.1:0").id
    taken = [manager.wakeup(number, b"x" * 1000) for _ in range(15)]
    assert taken == [True] * 10 + [False] * 5
    manager.poll()
    assert len(got) == 10
    assert manager.wakeup(number, b"x" * 10_000)


# -- the end of a manager ----------------------------------------------------------------------


def collect() -> None:
    for _ in range(3):  # PyPy finds what a finalizer let go in the next round
        gc.collect()


def test_a_manager_that_is_dropped_closes_its_sockets(make_manager: MakeManager) -> None:
    manager = Manager(hello)
    listener = manager.listen("http://127.0.0.1:0")
    address = listener.local_addr[:2]
    with closing(dial(listener)) as sock:
        turns(manager)
        assert len(manager.connections) == 2
        seen = weakref.ref(manager)
        del manager
        collect()
        assert seen() is None
        assert receive_all(sock) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE)
    assert listener.id == 0


def test_a_manager_in_a_cycle_is_found_and_its_sockets_are_closed() -> None:
    class App:
        def __init__(self) -> None:
            self.manager = Manager(self.handle)  # a bound method: the first cycle
            self.listener = self.manager.listen("http://127.0.0.1:0", self.other)
            self.listener.userdata = self  # the second
            self.timer = self.manager.timer_add(1000, self.tick, repeat=True)  # the third

        def handle(self, conn: Connection, ev: int, data: Any) -> None:
            pass

        def other(self, conn: Connection, ev: int, data: Any) -> None:
            conn.userdata = self

        def tick(self) -> None:
            pass

    app = App()
    listener = weakref.ref(app.listener)
    with closing(dial(app.listener)) as sock:
        turns(app.manager)
        assert len(app.manager.connections) == 2
        seen = weakref.ref(app)
        del app
        collect()
        assert seen() is None
        assert listener() is None
        assert receive_all(sock) == b""


def test_hundreds_of_managers_leave_no_descriptor_behind(make_manager: MakeManager) -> None:
    def descriptors() -> int:
        collect()
        return len(list(Path("/dev/fd").iterdir()))

    before = descriptors()
    for _ in range(300):
        manager = make_manager(hello)
        listener = manager.listen("tcp://127.0.0.1:0")
        manager.connect(url_of(listener))
        manager.poll(10)
        manager.close()
    assert descriptors() == before


FORK = """
forks = []

def fork(conn, ev, data):
    if ev == MG_EV_HTTP_MSG and data.uri == "/fork":
        forks.append(conn)
    elif ev == MG_EV_HTTP_MSG and data.uri == "/fork-here":
        pid = os.fork()
        if pid == 0:  # what multiprocessing does
            gc.collect()
            os._exit(0)
        conn.reply(200, str(os.waitpid(pid, 0)[1]))
    elif ev == MG_EV_HTTP_MSG and data.uri == "/quit":
        conn.reply(200)
        forks.append(None)
    else:
        handle(conn, ev, data)

def serve():
    print(manager.listen("http://127.0.0.1:0").local_addr[1], flush=True)
    while True:
        manager.poll(1000)
        while forks:
            conn = forks.pop()
            if conn is None:
                manager.poll()
                return
            pid = os.fork()
            if pid == 0:
                sys.exit(0)  # through the `with` block, if there is one
            conn.reply(200, str(os.waitpid(pid, 0)[1]))

"""


@pytest.mark.parametrize(
    "around",
    [
        "manager = Manager(fork)\nserve()",
        "with Manager(fork) as manager:\n    serve()",
        "with Manager(fork, poller='poll') as manager:\n    serve()",
    ],
    ids=["exit", "close", "close with poll"],
)
def test_a_forked_child_that_exits_does_not_disturb_its_parent(around: str) -> None:
    with child(FORK + around) as server, closing(server.dial()) as sock:
        assert server.ask("/", sock) == "hello"
        for way in ("/fork", "/fork-here"):
            with closing(server.dial()) as other:
                assert server.ask(way, other) == "0"
                assert server.ask("/", other) == "hello"
            assert server.ask("/", sock) == "hello"
            assert server.ask("/") == "hello"
        server.finish()


def test_the_file_of_a_unix_listener_outlives_a_forked_child(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    program = (
        f"{FORK}\nwith Manager(fork) as manager:\n    manager.listen('unix://{path}')\n    serve()"
    )
    with child(program) as server:
        assert server.ask("/fork") == "0"
        assert path.exists()
        server.finish()
    assert not path.exists()
