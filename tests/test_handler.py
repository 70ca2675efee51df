"""Who gets which event, and what becomes of what a handler raises."""

from __future__ import annotations

import gc
import os
import signal
import sys
import weakref
from typing import Any, Callable, get_args

import pytest
from conftest import Recorder, dial, exchange, pump, receive_all, turns, url_of
from hypothesis import given
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_POLL,
    MG_EV_READ,
    MG_EV_USER,
    MG_EV_WAKEUP,
    MG_EV_WRITE,
    Connection,
    EventData,
    Handler,
    HttpMessage,
    Manager,
)
from mongoose_py.handler import ALL_EVENTS, event_masks

MakeManager = Callable[..., Manager]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def hello(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_HTTP_MSG:
        conn.reply(200, "hello")


# -- which handler ------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tcp", "http", "mqtt"])
def test_the_managers_events_hold_for_what_it_connects(
    make_manager: Callable[..., Manager], scheme: str
) -> None:
    recorder = Recorder()
    manager = make_manager(recorder, events=[MG_EV_CLOSE])
    url = url_of(manager.listen("tcp://127.0.0.1:0", lambda *_: None), scheme)
    conn = manager.mqtt_connect(url) if scheme == "mqtt" else manager.connect(url)
    turns(manager, 5)
    conn.close()
    pump(manager, recorder.saw(MG_EV_CLOSE))
    assert recorder.names(conn) == ["CLOSE"]


def test_events_without_a_handler_are_dropped_and_the_connection_lives(
    make_manager: MakeManager,
) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener) as client:
        client.sendall(b"hello")
        pump(manager, lambda: len(manager.connections) == 2)
        turns(manager)
        assert len(manager.connections) == 2


def test_accepted_connections_take_over_the_handler_of_their_listener(
    make_manager: MakeManager,
) -> None:
    default, first, second = Recorder(), Recorder(), Recorder()
    manager = make_manager(default)
    one = manager.listen("tcp://127.0.0.1:0", first)
    two = manager.listen("tcp://127.0.0.1:0", second)
    with dial(one), dial(two):
        pump(manager, first.saw(MG_EV_ACCEPT))
        pump(manager, second.saw(MG_EV_ACCEPT))
    assert default.calls == []
    assert first.conns(MG_EV_ACCEPT)[0].handler is first
    assert second.conns(MG_EV_ACCEPT)[0].handler is second


def test_a_listeners_new_handler_is_for_connections_it_accepts_later(
    make_manager: MakeManager,
) -> None:
    default, own = Recorder(), Recorder()
    manager = make_manager(default)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener):
        pump(manager, default.saw(MG_EV_ACCEPT))
        listener.set_handler(own)
        with dial(listener):
            pump(manager, own.saw(MG_EV_ACCEPT))
            listener.set_handler(None)
            with dial(listener):
                pump(manager, default.saw(MG_EV_ACCEPT, 2))
    (child,) = own.conns(MG_EV_ACCEPT)
    pump(manager, lambda: not child.id)
    assert own.names(child) == ["OPEN", "ACCEPT", "CLOSE"]


def test_a_connections_own_handler_wins_and_none_gives_it_back(
    make_manager: MakeManager,
) -> None:
    default, own = Recorder(), Recorder()
    manager = make_manager(default)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener) as client:
        pump(manager, default.saw(MG_EV_ACCEPT))
        (child,) = default.conns(MG_EV_ACCEPT)
        assert child.handler is None
        child.set_handler(own)
        assert child.handler is own
        client.sendall(b"a")
        pump(manager, own.saw(MG_EV_READ))
        child.set_handler(None)
        client.sendall(b"b")
        pump(manager, default.saw(MG_EV_READ))
    assert own.data(MG_EV_READ) == [b"a"]
    assert default.data(MG_EV_READ) == [b"b"]


def test_the_same_object_comes_with_every_event_of_a_connection(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener) as client:
        client.sendall(b"x")
        pump(manager, seen.saw(MG_EV_READ))
    pump(manager, seen.saw(MG_EV_CLOSE))
    conns = [conn for conn, ev, _ in seen.calls if conn is not listener]
    assert len(set(map(id, conns))) == 1
    assert len({*conns}) == 1


@pytest.mark.parametrize("wrong", [5, "handler", object(), [], Handler])
def test_what_cannot_be_a_handler_is_refused_at_once(wrong: Any, make_manager: MakeManager) -> None:
    with pytest.raises(TypeError, match="handler must be"):
        Manager(wrong)
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    for call in (
        lambda: manager.listen("tcp://127.0.0.1:0", wrong),
        lambda: manager.connect("tcp://127.0.0.1:1", wrong),
        lambda: listener.set_handler(wrong),
    ):
        with pytest.raises(TypeError, match="handler must be"):
            call()
    manager.close()
    with pytest.raises(TypeError, match="handler must be"):
        listener.set_handler(wrong)


def test_handlers_of_closed_connections_are_let_go(make_manager: MakeManager) -> None:
    class Tool(Recorder):
        pass

    manager = make_manager()
    gone = []
    for _ in range(200):
        tool = Tool()
        gone.append(weakref.ref(tool))
        conn = manager.listen("tcp://127.0.0.1:0", tool)
        conn.close()
        pump(manager, lambda conn=conn: conn.id == 0)
        del tool, conn
    gc.collect()
    assert sum(ref() is not None for ref in gone) < 40
    assert len(manager._targets) < 40


def test_one_handler_used_many_times_takes_one_place(make_manager: MakeManager) -> None:
    manager = make_manager()
    handler = Recorder()
    for _ in range(50):
        manager.listen("tcp://127.0.0.1:0", handler)
    assert len(manager._targets) == 2  # and the default one


# -- which events -------------------------------------------------------------------


def test_poll_events_go_to_listeners_and_clients_but_not_to_accepted_ones(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0")
    client = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}")
    pump(manager, seen.saw(MG_EV_ACCEPT))
    turns(manager)
    assert {*seen.conns(MG_EV_POLL)} == {listener, client}


def test_accepted_connections_get_poll_events_when_they_are_asked_for(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen, events=[MG_EV_POLL])
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener):
        pump(manager, lambda: len({*seen.conns(MG_EV_POLL)}) == 2)


def test_a_handler_gets_only_the_events_it_names(make_manager: MakeManager) -> None:
    seen = Recorder(hello)
    manager = make_manager(seen, events={MG_EV_HTTP_MSG})
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        exchange(manager, client, GET, b"hello")
    turns(manager)
    assert seen.names() == ["HTTP_MSG"]


def test_no_event_at_all_may_be_wanted(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, events=())
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener):
        pump(manager, lambda: len(manager.connections) == 2)
    manager.close()
    assert seen.calls == []


@pytest.mark.parametrize("where", ["listen", "set_handler"])
def test_listen_and_set_handler_choose_events_too(where: str, make_manager: MakeManager) -> None:
    default, seen = Recorder(), Recorder()
    manager = make_manager(default)
    if where == "listen":
        listener = manager.listen("tcp://127.0.0.1:0", seen, events=[MG_EV_READ, MG_EV_CLOSE])
    else:
        listener = manager.listen("tcp://127.0.0.1:0", lambda *_: None)
        listener.set_handler(seen, events=[MG_EV_READ, MG_EV_CLOSE])
    with dial(listener) as client:
        client.sendall(b"x")
        pump(manager, seen.saw(MG_EV_READ))
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["READ", "CLOSE"]
    assert default.calls == []


def test_the_managers_handler_may_be_narrowed_down_for_one_listener(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    listener = manager.listen("tcp://127.0.0.1:0", events=[MG_EV_ACCEPT])
    assert listener.handler is None
    with dial(listener):
        pump(manager, seen.saw(MG_EV_ACCEPT))
    turns(manager)
    assert seen.names() == ["ACCEPT"]


@pytest.mark.parametrize("number", [-1, MG_EV_USER, 64])
def test_an_event_that_does_not_exist_is_refused_and_shown(number: int) -> None:
    with pytest.raises(ValueError, match=rf"events must be 0\.\.22, not {number}"):
        Manager(print, events=[number])
    with pytest.raises(ValueError, match="events must be"):
        Manager(events=[number])


@pytest.mark.parametrize("wrong", [5, ["1"], [None], [1.5]])
def test_events_that_are_no_numbers_are_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        Manager(print, events=wrong)


@given(st.sets(st.integers(0, MG_EV_USER - 1)))
def test_the_mask_has_a_bit_for_each_wanted_event(wanted: set[int]) -> None:
    mask = sum(1 << ev for ev in wanted)
    assert event_masks(print, wanted) == (mask, mask)
    assert event_masks(print, None) == (ALL_EVENTS, ALL_EVENTS & ~(1 << MG_EV_POLL))
    assert event_masks(Handler(), wanted) == (0, 0)


# -- Handler objects ----------------------------------------------------------------


class Everything(Handler):
    """Overrides every method; writes down what is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Connection, Any]] = []

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls if name != "poll"]

    def on_error(self, conn: Connection, message: str) -> None:
        self.calls.append(("error", conn, message))

    def on_open(self, conn: Connection) -> None:
        self.calls.append(("open", conn, None))

    def on_poll(self, conn: Connection) -> None:
        self.calls.append(("poll", conn, None))

    def on_resolve(self, conn: Connection, addresses: list[tuple[str, int, bool]]) -> None:
        self.calls.append(("resolve", conn, addresses))

    def on_connect(self, conn: Connection) -> None:
        self.calls.append(("connect", conn, None))

    def on_accept(self, conn: Connection) -> None:
        self.calls.append(("accept", conn, None))

    def on_tls(self, conn: Connection) -> None:
        self.calls.append(("tls", conn, None))

    def on_read(self, conn: Connection, data: Any) -> None:
        self.calls.append(("read", conn, data))

    def on_write(self, conn: Connection) -> None:
        self.calls.append(("write", conn, None))

    def on_close(self, conn: Connection) -> None:
        self.calls.append(("close", conn, None))

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        self.calls.append(("http_headers", conn, message.uri))

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        self.calls.append(("http", conn, message.uri))
        conn.reply(200, "hello")

    def on_wakeup(self, conn: Connection, data: bytes) -> None:
        self.calls.append(("wakeup", conn, data))


def test_each_event_of_a_server_calls_its_method(make_manager: MakeManager) -> None:
    server = Everything()
    manager = make_manager(server, True)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        exchange(manager, client, GET, b"hello")
        manager.wakeup(listener.id, b"up")
        pump(manager, lambda: ("wakeup", listener, b"up") in server.calls)
    pump(manager, lambda: "close" in server.names())
    names = [name for name in server.names() if name != "wakeup"]
    assert names[:3] == ["open", "open", "accept"]
    assert names[3:5] == ["http_headers", "http"]
    assert names[5:] == ["write", "close"]


def test_on_read_is_called_only_where_there_are_bytes(make_manager: MakeManager) -> None:
    server = Everything()
    manager = make_manager(server)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        exchange(manager, client, GET, b"hello")
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        client.sendall(b"raw")
        pump(manager, lambda: "read" in server.names())
    assert [data for name, _, data in server.calls if name == "read"] == [b"raw"]


def test_each_event_of_a_client_calls_its_method(make_manager: MakeManager) -> None:
    client = Everything()
    manager = make_manager()
    echo = manager.listen(
        "tcp://127.0.0.1:0", lambda conn, ev, data: ev == MG_EV_READ and conn.send(data)
    )
    assert echo.local_addr is not None
    conn = manager.connect(f"tcp://127.0.0.1:{echo.local_addr[1]}", client)
    conn.send(b"ping")
    pump(manager, lambda: "read" in client.names())
    conn.error("enough")
    pump(manager, lambda: not conn.id)
    assert client.names() == ["open", "resolve", "connect", "write", "read", "error", "close"]
    assert ("resolve", conn, [("127.0.0.1", echo.local_addr[1], False)]) in client.calls
    assert ("read", conn, b"ping") in client.calls
    assert ("error", conn, "enough") in client.calls
    assert ("poll", conn, None) in client.calls


def test_only_overridden_methods_enter_python(make_manager: MakeManager) -> None:
    class OnlyHttp(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            conn.reply(200, "hello")

    manager = make_manager(OnlyHttp())
    listener = manager.listen("http://127.0.0.1:0")
    known = dict(manager._conns)
    with dial(listener):
        turns(manager, 5)
        assert manager._conns == known  # accepted, and Python has not heard of it
    assert event_masks(OnlyHttp(), None) == (1 << MG_EV_HTTP_MSG,) * 2


def test_a_function_put_on_the_object_counts_as_its_method() -> None:
    handler = Handler()
    handler.on_wakeup = lambda conn, data: None  # type: ignore[method-assign]
    assert event_masks(handler, None) == (1 << MG_EV_WAKEUP,) * 2


def test_events_narrow_down_what_methods_ask_for() -> None:
    wanted = [MG_EV_WRITE, MG_EV_HTTP_MSG]
    assert event_masks(Everything(), wanted)[0] == 1 << MG_EV_WRITE | 1 << MG_EV_HTTP_MSG


# -- exceptions ---------------------------------------------------------------------


class Boom(Exception):
    pass


def fail_on(*evs: int) -> Callable[[Connection, int, Any], None]:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev in evs:
            raise Boom(ev)

    return handle


def test_an_exception_goes_to_the_error_handler_and_polling_goes_on(
    make_manager: MakeManager,
) -> None:
    caught: list[Exception] = []
    manager = make_manager(fail_on(MG_EV_ACCEPT), error_handler=caught.append)
    listener = manager.listen("tcp://127.0.0.1:0")
    for n in (1, 2):
        with dial(listener):
            pump(manager, lambda n=n: len(caught) == n)
    assert [type(exc) for exc in caught] == [Boom, Boom]


def test_on_exception_wins_and_is_told_connection_and_event(make_manager: MakeManager) -> None:
    caught: list[Any] = []
    manager = make_manager(
        fail_on(MG_EV_OPEN),
        error_handler=lambda exc: caught.append("the other one"),
        on_exception=lambda *args: caught.append(args),
    )
    listener = manager.listen("tcp://127.0.0.1:0")
    ((exc, conn, ev),) = caught
    assert isinstance(exc, Boom)
    assert conn is listener
    assert ev == MG_EV_OPEN


def test_without_error_handlers_the_traceback_goes_to_stderr(
    make_manager: MakeManager, capsys: pytest.CaptureFixture[str]
) -> None:
    make_manager(fail_on(MG_EV_OPEN)).listen("tcp://127.0.0.1:0")
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert "Boom: 1" in printed


@pytest.mark.parametrize("name", ["error_handler", "on_exception"])
def test_an_exception_of_the_error_handler_is_printed(
    name: str, make_manager: MakeManager, capsys: pytest.CaptureFixture[str]
) -> None:
    def worse(*_: object) -> None:
        raise ValueError("worse")

    make_manager(fail_on(MG_EV_OPEN), **{name: worse}).listen("tcp://127.0.0.1:0")
    printed = capsys.readouterr().err
    assert "ValueError: worse" in printed
    assert "Boom: 1" in printed  # as its context


@pytest.mark.parametrize("ev", [MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG])
def test_a_request_whose_handler_raised_is_answered_500(ev: int, make_manager: MakeManager) -> None:
    caught: list[Exception] = []
    manager = make_manager(fail_on(ev), error_handler=caught.append)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        client.sendall(GET)
        pump(manager, lambda: caught)
        turns(manager)
        answer = receive_all(client)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"onnection: close\r\n" in answer
    assert len(caught) == 1


def test_the_connection_of_a_failed_request_may_be_left_alone(make_manager: MakeManager) -> None:
    seen = Recorder(fail_on(MG_EV_HTTP_MSG))
    manager = make_manager(seen, error_handler=lambda exc: None, answer_500=False)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        client.sendall(GET)
        pump(manager, seen.saw(MG_EV_HTTP_MSG))
        turns(manager)
        (conn,) = seen.conns(MG_EV_HTTP_MSG)
        assert not conn.is_closing
        conn.reply(200, "later")
        assert exchange(manager, client, b"", b"later").startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_answer_that_was_complete_is_kept_when_the_handler_raises(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, "done")
            raise Boom

    manager = make_manager(handle, error_handler=lambda exc: None)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        answer = exchange(manager, client, GET, b"done")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"HTTP/1.1") == 1


def test_the_error_handler_may_answer_itself(make_manager: MakeManager) -> None:
    manager = make_manager(
        fail_on(MG_EV_HTTP_MSG), on_exception=lambda exc, conn, ev: conn.reply(503, "busy")
    )
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        answer = exchange(manager, client, GET, b"busy")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.count(b"HTTP/1.1") == 1


class Leave(BaseException):
    pass


@pytest.mark.parametrize("exc", [KeyboardInterrupt(), SystemExit(3), Leave(), GeneratorExit()])
def test_what_is_no_exception_leaves_poll(exc: BaseException, make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ACCEPT:
            raise exc

    manager = make_manager(handle, error_handler=lambda e: pytest.fail("not for it"))
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener), pytest.raises(type(exc)) as info:
        pump(manager, lambda: False)
    assert info.value is exc
    manager.poll()  # goes on


def test_sigint_while_a_handler_runs_leaves_poll(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ACCEPT:
            os.kill(os.getpid(), signal.SIGINT)
            while True:  # the interrupt comes here, as it does to a handler that hangs
                pass

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener), pytest.raises(KeyboardInterrupt):
        pump(manager, lambda: False)
    manager.poll()


def test_events_that_were_left_behind_come_in_the_next_poll(make_manager: MakeManager) -> None:
    accepted: list[Connection] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ACCEPT:
            accepted.append(conn)
            raise Leave

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    clients = [dial(listener) for _ in range(3)]
    for n in (1, 2, 3):
        with pytest.raises(Leave):
            pump(manager, lambda: False)
        assert len(accepted) == n
    for client in clients:
        client.close()


def test_what_is_no_exception_leaves_listen_connect_and_close(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev in (MG_EV_OPEN, MG_EV_CLOSE):
            raise Leave(ev)

    manager = make_manager(handle)
    with pytest.raises(Leave):
        manager.listen("tcp://127.0.0.1:0")
    with pytest.raises(Leave):
        manager.connect("tcp://127.0.0.1:1")
    with pytest.raises(Leave) as info:
        manager.close()
    assert info.value.args == (MG_EV_CLOSE,)
    assert manager.connections == ()
    with pytest.raises(RuntimeError, match="closed"):
        manager.poll()


def test_a_connection_is_forgotten_even_when_its_close_handler_raises(
    make_manager: MakeManager,
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CLOSE:
            raise Leave

    manager = make_manager(handle)
    listener = manager.listen("tcp://127.0.0.1:0")
    listener.close()
    with pytest.raises(Leave):
        manager.poll()
    assert (listener.id, manager.connections) == (0, ())


def test_a_message_is_stale_even_when_its_handler_raised(make_manager: MakeManager) -> None:
    kept: list[HttpMessage] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            kept.append(data)
            raise Leave

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client, pytest.raises(Leave):
        client.sendall(GET)
        pump(manager, lambda: False)
    assert not kept[0]
    assert kept[0].uri == ""


def test_an_exception_inside_listen_inside_a_handler_takes_both_ways(
    make_manager: MakeManager,
) -> None:
    steps: list[str] = []

    def inner(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_OPEN:
            raise Leave

    def outer(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_ACCEPT:
            try:
                manager.listen("tcp://127.0.0.1:0", inner)
            except Leave:
                steps.append("left listen")
                raise

    manager = make_manager(outer)
    listener = manager.listen("tcp://127.0.0.1:0")
    with dial(listener), pytest.raises(Leave):
        pump(manager, lambda: False)
    assert steps == ["left listen"]


def test_an_interrupt_between_two_lines_of_the_dispatcher_is_not_lost(
    make_manager: MakeManager, capsys: pytest.CaptureFixture[str]
) -> None:
    """A KeyboardInterrupt may land before the dispatcher has reached its ``try``."""

    def tracer(frame: Any, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_name == "mgpy_on_http":
            sys.setprofile(None)
            raise KeyboardInterrupt

    manager = make_manager(hello)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as client:
        client.sendall(GET)
        sys.setprofile(tracer)
        try:
            with pytest.raises(KeyboardInterrupt):
                pump(manager, lambda: False)
        finally:
            sys.setprofile(None)
    assert capsys.readouterr().err == ""


def test_an_error_raised_by_hand_reaches_the_handler_once(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    conn = manager.listen("tcp://127.0.0.1:0")
    text = "100%s é " + "x" * 5000
    conn.error(text)
    conn.error("again")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.data(MG_EV_ERROR) == [text]
    assert seen.names()[-2:] == ["ERROR", "CLOSE"]


def test_event_data_has_the_type_of_every_methods_data() -> None:
    names = {
        getattr(arg, "__forward_arg__", getattr(arg, "__name__", "")) for arg in get_args(EventData)
    }
    methods = [vars(Handler)[name] for name in vars(Handler) if name.startswith("on_")]
    given = [set(m.__annotations__) - {"conn", "return"} for m in methods]
    data = {m.__annotations__[name] for m, kinds in zip(methods, given) for name in kinds}
    assert data | {"NoneType"} == names
