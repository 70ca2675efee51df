"""The manager: making, polling, running and closing it."""

from __future__ import annotations

import errno
import gc
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, dial, pump, running, turns, url_of

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_READ,
    Connection,
    Error,
    Handler,
    Manager,
)

MakeManager = Callable[..., Manager]


# -- making ---------------------------------------------------------------------


def test_a_manager_can_be_made_and_closed_without_polling(make_manager: MakeManager) -> None:
    make_manager().close()
    make_manager(Recorder()).close()
    make_manager(handler=None, enable_wakeup=True, error_handler=print).close()


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Manager(nonsense=1)  # type: ignore[call-arg]


def test_an_unknown_poller_is_refused_and_shown() -> None:
    with pytest.raises(ValueError, match="not 'kqueue'"):
        Manager(poller="kqueue")


@pytest.mark.parametrize("name", ["error_handler", "on_exception"])
def test_an_error_handler_that_cannot_be_called_is_a_type_error(name: str) -> None:
    hooks: Any = {name: 5}
    with pytest.raises(TypeError, match="must be callable, not int"):
        Manager(**hooks)


# -- poll ------------------------------------------------------------------------


def test_polling_with_nothing_to_do_returns(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.poll()
    manager.poll(0)
    manager.poll(timeout_ms=1)
    manager.listen("http://127.0.0.1:0")
    manager.poll(1)


def test_a_poll_waits_no_longer_than_it_is_told(make_manager: MakeManager) -> None:
    manager = make_manager()
    before = monotonic()
    manager.poll(30)
    assert 0.025 <= monotonic() - before < DEADLINE


def test_a_negative_timeout_waits_until_something_happens(make_manager: MakeManager) -> None:
    manager = make_manager()
    fired: list[float] = []
    manager.timer_add(20, lambda: fired.append(monotonic()))
    manager.poll(-1)
    manager.poll(0)
    assert fired


@pytest.mark.parametrize("timeout", [0.2, 1.7, 0.0, -0.5])
def test_a_fraction_of_a_millisecond_is_rounded_up(
    timeout: float, make_manager: MakeManager
) -> None:
    manager = make_manager()
    before = monotonic()
    manager.poll(timeout)
    assert monotonic() - before >= max(0, math.ceil(timeout)) / 1000 * 0.9


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        ("1", TypeError),
        (None, TypeError),
        (2**31, OverflowError),
        (1e300, OverflowError),
        (math.inf, OverflowError),
        (math.nan, ValueError),
    ],
)
def test_a_timeout_that_is_no_number_of_milliseconds_is_refused(
    timeout: Any, error: type[Exception], make_manager: MakeManager
) -> None:
    with pytest.raises(error):
        make_manager().poll(timeout)


def test_polling_from_inside_a_handler_is_refused(make_manager: MakeManager) -> None:
    refused: list[str] = []

    def handle(conn: Connection, ev: int, data: object) -> None:
        if ev == MG_EV_ACCEPT:
            with pytest.raises(RuntimeError, match="not reentrant") as info:
                manager.poll()
            refused.append(str(info.value))

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener):
        pump(manager, lambda: refused)


def test_polling_while_another_thread_polls_is_refused(make_manager: MakeManager) -> None:
    manager = make_manager()
    inside = threading.Event()
    release = threading.Event()

    def hold() -> None:
        inside.set()
        assert release.wait(DEADLINE)

    manager.timer_add(0, hold)
    with running(manager):
        assert inside.wait(DEADLINE)
        with pytest.raises(RuntimeError, match="not reentrant"):
            manager.poll()
        with pytest.raises(RuntimeError, match="not reentrant"):
            manager.run()
        with pytest.raises(RuntimeError, match="while poll\\(\\) is active"):
            manager.close()
        release.set()
    manager.poll()  # still works


def test_all_waiting_clients_are_accepted_in_one_poll(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    clients = [dial(listener) for _ in range(10)]
    manager.poll(100)
    assert len(seen.data(MG_EV_ACCEPT)) == 10
    for client in clients:
        client.close()


# -- listening and connecting ------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss", "tcp", "udp", "mqtt", "HTTP"])
def test_every_documented_scheme_gives_a_listener(scheme: str, make_manager: MakeManager) -> None:
    listener = make_manager().listen(f"{scheme}://127.0.0.1:0")
    assert listener.is_listening is True
    assert listener.local_addr is not None
    assert listener.local_addr[1] > 0
    assert listener.is_tls is (scheme in ("https", "wss"))
    assert listener.is_udp is (scheme == "udp")


def test_a_url_without_a_scheme_is_tcp(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("127.0.0.1:0")) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_READ) == [b"GET / HTTP/1.1\r\n\r\n"]


def test_open_of_a_listener_comes_inside_listen_to_its_own_handler(
    make_manager: MakeManager,
) -> None:
    default, own = Recorder(), Recorder()
    manager = make_manager(default)
    listener = manager.listen("tcp://127.0.0.1:0", own)
    assert own.names() == ["OPEN"]
    assert own.calls[0][0] is listener
    manager.close()
    assert own.names() == ["OPEN", "CLOSE"]
    assert default.calls == []


def test_open_and_resolve_of_a_client_come_inside_connect_to_its_own_handler(
    make_manager: MakeManager,
) -> None:
    default, own = Recorder(), Recorder()
    manager = make_manager(default)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        conn = manager.connect(f"tcp://127.0.0.1:{port}", handler=own)
        assert own.names()[:2] == ["OPEN", "RESOLVE"]
        assert own.calls[1][2] == [("127.0.0.1", port, False)]
        assert conn.is_client is True
        assert conn.id > 0
        pump(manager, lambda: "CONNECT" in own.names())
    assert default.calls == []


def test_a_refused_connection_gives_open_resolve_error_close(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    conn = manager.connect(f"tcp://127.0.0.1:{port}")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "RESOLVE", "ERROR", "CLOSE"]
    (text,) = seen.data(0)
    assert text.startswith("socket error")
    assert "Connection refused" in text
    assert conn.id == 0


def test_a_name_that_cannot_be_resolved_gives_open_error_close(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    manager.connect("tcp://no.such.host.invalid:80")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "ERROR", "CLOSE"]
    assert "no.such.host.invalid" in seen.data(0)[0]


def test_localhost_is_an_address(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        manager.connect(f"tcp://localhost:{server.getsockname()[1]}")
        pump(manager, lambda: "CONNECT" in seen.names())


def test_two_managers_can_share_a_port_when_both_ask_for_it(make_manager: MakeManager) -> None:
    first, second = make_manager(), make_manager()
    listener = first.listen("tcp://127.0.0.1:0", reuse_port=True)
    assert second.listen(url_of(listener), reuse_port=True).is_listening
    with pytest.raises(OSError, match="Address already in use"):
        second.listen(url_of(listener))


def test_the_file_of_a_unix_listener_goes_away_with_it(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    seen = Recorder(lambda conn, ev, data: ev == MG_EV_READ and conn.send(data))
    manager = make_manager(seen)
    path = str(tmp_path / "s")
    listener = manager.listen(f"unix://{path}")
    assert listener.local_addr == (path, 0, False)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(path)
        client.sendall(b"ping")
        pump(manager, seen.saw(MG_EV_READ))
        turns(manager)
        assert client.recv(4) == b"ping"
    listener.close()
    pump(manager, lambda: listener.id == 0)
    assert not Path(path).exists()


def test_ipv6_addresses_are_shown_in_their_short_form(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://[::1]:0")
    assert listener.local_addr is not None
    host, port, is_ipv6 = listener.local_addr
    assert (host, is_ipv6) == ("::1", True)
    with socket.create_connection(("::1", port), DEADLINE):
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        assert conn.remote_addr is not None
        assert conn.remote_addr[0] == "::1"
        assert conn.remote_addr[2] is True


def test_an_ipv4_peer_of_an_ipv6_listener_has_its_plain_address(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://[::]:0")
    assert listener.local_addr is not None
    with socket.create_connection(("127.0.0.1", listener.local_addr[1]), DEADLINE) as client:
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        assert conn.remote_addr == (*client.getsockname(), False)


# -- connections --------------------------------------------------------------------


@pytest.mark.parametrize("enable_wakeup", [False, True])
def test_a_fresh_manager_has_no_connections(enable_wakeup: bool, make_manager: MakeManager) -> None:
    manager = make_manager(None, enable_wakeup)
    manager.poll()
    assert manager.connections == ()


def test_connections_are_the_live_ones_as_the_same_objects(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener):
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (accepted,) = seen.conns(MG_EV_ACCEPT)
        assert manager.connections == (accepted, listener)
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert manager.connections == (listener,)
    manager.close()
    assert manager.connections == ()


def test_connections_no_handler_has_heard_of_are_among_them(make_manager: MakeManager) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    clients = [dial(listener) for _ in range(100)]
    pump(manager, lambda: len(manager.connections) == 101)
    assert all(conn.id for conn in manager.connections)
    for client in clients:
        client.close()
    pump(manager, lambda: manager.connections == (listener,))


# -- closing ----------------------------------------------------------------------


def test_with_closes_and_lets_exceptions_pass(make_manager: MakeManager) -> None:
    manager = make_manager()
    with pytest.raises(ZeroDivisionError), manager as entered:
        assert entered is manager
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()
    assert make_manager().__exit__(None, None, None) is False


def test_close_may_be_repeated(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.close()
    manager.close()


CALLS: dict[str, Callable[[Manager], object]] = {
    "poll": lambda m: m.poll(),
    "run": lambda m: m.run(),
    "listen": lambda m: m.listen("tcp://127.0.0.1:0"),
    "connect": lambda m: m.connect("tcp://127.0.0.1:1"),
    "http_listen": lambda m: m.http_listen("http://127.0.0.1:0"),
    "http_connect": lambda m: m.http_connect("http://127.0.0.1:1"),
    "wakeup": lambda m: m.wakeup(1),
    "timer_add": lambda m: m.timer_add(1, print),
    "fileno": lambda m: m.fileno(),
    "next_timeout": lambda m: m.next_timeout(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_manager_refuses_every_call(name: str, make_manager: MakeManager) -> None:
    manager = make_manager(None, True)
    manager.close()
    with pytest.raises(RuntimeError, match="Manager has been closed"):
        CALLS[name](manager)


def test_closing_tells_every_connection_newest_first(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listeners = [manager.listen("tcp://127.0.0.1:0") for _ in range(3)]
    manager.close()
    assert seen.conns(MG_EV_CLOSE) == listeners[::-1]
    assert [conn.id for conn in listeners] == [0, 0, 0]


def test_connections_opened_while_closing_are_closed_too(make_manager: MakeManager) -> None:
    opened: list[Connection] = []

    def handle(conn: Connection, ev: int, data: object) -> None:
        if ev == MG_EV_CLOSE and not opened:
            opened.append(manager.listen("tcp://127.0.0.1:0"))

    manager = make_manager(handle)
    manager.listen("tcp://127.0.0.1:0")
    manager.close()
    assert [conn.id for conn in opened] == [0]


def test_a_manager_that_nobody_holds_goes_away_with_its_sockets(poller: str) -> None:
    seen = Recorder()
    manager = Manager(seen, poller=poller)
    listener = manager.listen("tcp://127.0.0.1:0")
    address = listener.local_addr
    assert address is not None
    client = dial(listener)
    pump(manager, seen.saw(MG_EV_ACCEPT))
    gone = weakref.ref(manager)
    calls = len(seen.calls)
    del manager
    gc.collect()
    assert gone() is None
    with closing(client):
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address[:2], DEADLINE)
    assert len(seen.calls) == calls  # nobody is told
    assert listener.id == 0
    assert listener.is_closing
    with pytest.raises(Error, match="closed"):
        listener.send(b"x")


def test_managers_whose_handlers_refer_to_them_are_collected(poller: str) -> None:
    class Holder(Handler):
        manager: Manager

        def on_accept(self, conn: Connection) -> None:
            self.manager.poll()

    def make() -> weakref.ref[Manager]:
        holder = Holder()
        holder.manager = Manager(holder, poller=poller)
        holder.manager.listen("tcp://127.0.0.1:0", holder)
        return weakref.ref(holder.manager)

    gone = [make() for _ in range(50)]
    gc.collect()
    assert [ref() for ref in gone] == [None] * 50


def test_closed_managers_leave_no_descriptor_behind(poller: str) -> None:
    def descriptors() -> int:
        return len([*Path("/dev/fd").iterdir()])

    gc.collect()
    before = descriptors()
    for _ in range(20):
        with Manager(None, True, poller=poller) as manager:
            manager.listen("tcp://127.0.0.1:0")
            manager.listen("udp://127.0.0.1:0")
            manager.poll()
    assert descriptors() == before


def test_a_forked_child_does_not_disturb_its_parent(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    script = (
        "import os, gc, socket, sys\n"
        "from mongoose_py import Manager, MG_EV_ACCEPT\n"
        f"m = Manager(poller={manager_poller(manager)!r})\n"
        "accepted = []\n"
        "note = lambda c, e, d: e == MG_EV_ACCEPT and accepted.append(c)\n"
        "l = m.listen('tcp://127.0.0.1:0', note)\n"
        "if os.fork() == 0:\n"
        "    del m, l; accepted.clear(); gc.collect(); os._exit(0)\n"
        "os.wait()\n"
        "c = socket.create_connection(l.local_addr[:2], 5)\n"
        "for _ in range(100):\n"
        "    m.poll(50)\n"
        "    if accepted: sys.exit(0)\n"
        "sys.exit('the parent went deaf')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    with dial(listener):
        pump(manager, seen.saw(MG_EV_ACCEPT))


def manager_poller(manager: Manager) -> str:
    try:
        manager.fileno()
    except OSError:
        return "poll"
    return "epoll"


# -- running ------------------------------------------------------------------------


@pytest.fixture
def signals() -> Any:
    """Handlers of our own, to be found again afterwards; the old ones come back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def mine(number: int, frame: object) -> None:
        raise AssertionError

    for number in before:
        signal.signal(number, mine)
    yield mine
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_run_and_its_handlers_come_back(
    number: signal.Signals, signals: Any, make_manager: MakeManager
) -> None:
    manager = make_manager()
    manager.timer_add(1, lambda: os.kill(os.getpid(), number))
    manager.run(poll_ms=20)
    assert signal.getsignal(signal.SIGINT) is signals
    assert signal.getsignal(signal.SIGTERM) is signals
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()
    manager.close()


def test_the_first_signal_lets_the_running_handler_finish(
    signals: Any, make_manager: MakeManager
) -> None:
    done: list[str] = []

    def callback() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("finished")

    manager = make_manager()
    manager.timer_add(1, callback)
    manager.run()
    assert done == ["finished"]


def test_a_second_sigint_raises_keyboard_interrupt(signals: Any, make_manager: MakeManager) -> None:
    def callback() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError

    manager = make_manager()
    manager.timer_add(1, callback)
    with pytest.raises(KeyboardInterrupt):
        manager.run()
    assert signal.getsignal(signal.SIGINT) is signals
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()


def test_stop_in_a_handler_ends_run(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.timer_add(1, manager.stop)
    manager.run(-1)
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()


def test_run_works_on_any_thread_and_stop_from_any_other(make_manager: MakeManager) -> None:
    manager = make_manager()
    up = threading.Event()
    manager.timer_add(0, up.set)
    thread = threading.Thread(target=manager.run, args=(-1,))
    thread.start()
    assert up.wait(DEADLINE)
    manager.stop()
    manager.stop()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()


def test_stop_before_run_is_not_lost(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.stop()
    manager.run(-1)


def test_an_exception_out_of_run_closes_the_manager_and_puts_handlers_back(
    signals: Any, make_manager: MakeManager
) -> None:
    def callback() -> None:
        sys.exit(3)

    manager = make_manager()
    manager.timer_add(1, callback)
    with pytest.raises(SystemExit) as info:
        manager.run()
    assert info.value.code == 3
    assert signal.getsignal(signal.SIGINT) is signals
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()


def test_a_signal_while_poll_waits_is_acted_upon_at_once(make_manager: MakeManager) -> None:
    manager = make_manager()
    manager.listen("tcp://127.0.0.1:0")
    turns(manager)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    begin = monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            manager.poll(60_000)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert monotonic() - begin < DEADLINE
    manager.poll()


# -- guests in another loop -----------------------------------------------------------


def test_the_descriptor_is_readable_when_there_is_work() -> None:
    seen = Recorder()
    with Manager(seen, True, poller="epoll") as manager:
        listener = manager.listen("tcp://127.0.0.1:0")
        turns(manager)
        assert select.select([manager], [], [], 0) == ([], [], [])
        with dial(listener):
            assert select.select([manager], [], [], DEADLINE) == ([manager], [], [])
            pump(manager, seen.saw(MG_EV_ACCEPT), ms=0)
        pump(manager, seen.saw(MG_EV_CLOSE), ms=0)
        turns(manager)
        assert select.select([manager], [], [], 0) == ([], [], [])
        manager.wakeup(listener.id, b"x")
        assert select.select([manager], [], [], DEADLINE) == ([manager], [], [])


def test_the_poll_poller_has_no_descriptor() -> None:
    with Manager(poller="poll") as manager, pytest.raises(OSError) as info:
        manager.fileno()
    assert info.value.errno == errno.EOPNOTSUPP


def test_the_next_timeout_is_that_of_the_first_timer_in_seconds(
    make_manager: MakeManager,
) -> None:
    manager = make_manager()
    turns(manager)
    assert manager.next_timeout() is None
    manager.timer_add(5000, print)
    timeout = manager.next_timeout()
    assert timeout is not None
    assert 4 < timeout <= 5
    manager.timer_add(0, print)
    assert manager.next_timeout() == 0.0
