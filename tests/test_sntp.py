"""SNTP: requests and answers, against a server that forges, delays, repeats and refuses."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Recorder, pump, running, turns, udp_socket, url_of
from sntppackets import ERA_1, IN_2024, Packet, Server, stamp

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_SNTP_TIME,
    AddressError,
    Connection,
    ConnectionClosed,
    Handler,
    Limits,
    Manager,
    Resolver,
)

MakeManager = Callable[..., Manager]
Ask = Callable[..., "tuple[Manager, Recorder, Connection]"]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def ask(make_manager: MakeManager, server: Server) -> Ask:
    """Return a function that asks the server: a manager, what its handler sees, a connection."""

    def begin(limits: Limits | None = None) -> tuple[Manager, Recorder, Connection]:
        seen = Recorder()
        manager = make_manager(seen, limits=limits)
        return manager, seen, manager.sntp_connect(server.url)

    return begin


# -- asking --------------------------------------------------------------------------------


def test_the_first_request_is_sent_by_itself_and_its_answer_is_the_time(
    ask: Ask, server: Server
) -> None:
    manager, seen, conn = ask()
    assert conn.id > 0
    assert (conn.is_udp, conn.is_client, conn.sntp_result) == (True, True, None)
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT", "WRITE"]
    server.tell(server.asked())
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.names()[4:] == ["SNTP_TIME", "READ"]
    (ms,) = seen.data(MG_EV_SNTP_TIME)
    assert type(ms) is int
    assert IN_2024 * 1000 <= ms < (IN_2024 + 2) * 1000
    turns(manager)
    assert not conn.is_closing


def test_the_result_has_offset_and_delay_in_seconds(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    cookie = server.asked()
    received = time.time() + 1000  # a clock that is 1000 s ahead
    sent = received + 0.25  # it says it took a quarter of a second, and so it does
    end = time.monotonic() + 0.25
    pump(manager, lambda: time.monotonic() > end)
    server.say(Packet(cookie, stamp(received), stamp(sent), stratum=3, leap=2))
    pump(manager, seen.saw(MG_EV_SNTP_TIME))
    result = conn.sntp_result
    assert result is not None
    assert 0 <= result.delay < 3
    # The clock of this machine may be set while it runs, but not by seconds.
    assert abs(result.offset - 1000) <= result.delay / 2 + 1
    assert abs(result.time_ms / 1000 - (time.time() + 1000)) < 2
    assert (result.stratum, result.leap) == (3, -1)
    assert seen.data(MG_EV_SNTP_TIME) == [result.time_ms]
    assert repr(result).startswith(f"<SntpResult time_ms={result.time_ms} offset=+")


def test_half_of_what_the_answer_took_is_added_to_its_time(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    cookie = server.asked()
    end = time.monotonic() + 0.1
    pump(manager, lambda: time.monotonic() > end)
    server.tell(cookie)
    pump(manager, seen.saw(MG_EV_SNTP_TIME))
    result = conn.sntp_result
    assert result is not None
    assert result.delay >= 0.1
    assert result.time_ms == int(IN_2024 * 1000 + result.delay * 1e3 / 2)


def test_one_connection_serves_any_number_of_requests(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    cookies = set()
    for day in range(5):
        cookies.add(cookie := server.asked())
        server.tell(cookie, IN_2024 + day * 86400)
        pump(manager, seen.saw(MG_EV_READ, day + 1))
        conn.sntp_request()
    assert len(cookies) == 5
    days = [ms // 86_400_000 - IN_2024 // 86400 for ms in seen.data(MG_EV_SNTP_TIME)]
    assert days == [0, 1, 2, 3, 4]


def test_requests_at_once_are_asked_one_after_the_other_and_all_answered(
    ask: Ask, server: Server
) -> None:
    manager, seen, conn = ask()
    conn.sntp_request()
    conn.sntp_request()
    for done in range(3):
        cookie = server.asked()
        assert server.idle()
        server.tell(cookie)
        pump(manager, seen.saw(MG_EV_READ, done + 1))
    assert server.idle()
    assert seen.names()[3:] == ["WRITE", "SNTP_TIME", "READ"] * 3


def test_a_request_before_the_connection_is_there_is_the_first_one(
    make_manager: MakeManager, server: Server
) -> None:
    asked: list[int] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev in (MG_EV_OPEN, MG_EV_RESOLVE, MG_EV_CONNECT):
            asked.append(ev)
            conn.sntp_request()

    manager = make_manager(handle)
    manager.sntp_connect(server.url)
    assert asked == [MG_EV_OPEN, MG_EV_RESOLVE, MG_EV_CONNECT]
    server.tell(server.asked())
    turns(manager)
    assert server.idle()


def test_a_handler_class_gets_the_time_and_nothing_else(
    make_manager: MakeManager, server: Server
) -> None:
    class Clock(Handler):
        def __init__(self) -> None:
            self.times: list[int] = []

        def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
            assert conn.sntp_result is not None
            assert conn.sntp_result.time_ms == time_ms
            self.times.append(time_ms)

        def on_read(self, conn: Connection, data: bytes) -> None:
            raise AssertionError("the protocol has taken the bytes")

    clock = Clock()
    manager = make_manager()
    manager.sntp_connect(server.url, clock)
    server.tell(server.asked())
    pump(manager, lambda: clock.times)
    turns(manager)
    assert len(clock.times) == 1


def test_only_the_events_that_are_wanted_come(make_manager: MakeManager, server: Server) -> None:
    seen = Recorder()
    manager = make_manager()
    conn = manager.sntp_connect(server.url, seen, events=[MG_EV_CLOSE])
    server.tell(server.asked())
    pump(manager, lambda: conn.sntp_result)
    conn.close()
    pump(manager, lambda: seen.calls)
    assert seen.names() == ["CLOSE"]
    assert conn.sntp_result is None


def test_a_thread_may_ask_while_another_polls(make_manager: MakeManager, server: Server) -> None:
    times: list[int] = []
    came = threading.Semaphore(0)

    class Clock(Handler):
        def on_sntp_time(self, conn: Connection, time_ms: int) -> None:
            times.append(time_ms)
            came.release()

    manager = make_manager(Clock())
    with running(manager):
        conn = manager.sntp_connect(server.url)
        for done in range(20):
            server.tell(server.asked(), IN_2024 + done)
            assert came.acquire(timeout=10)
            conn.sntp_request()
    assert [ms // 1000 - IN_2024 for ms in times] == list(range(20))


def test_a_server_on_ipv6_is_asked_as_well(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        sock.settimeout(10)
        manager.sntp_connect(f"sntp://[::1]:{sock.getsockname()[1]}")
        wire, client = sock.recvfrom(100)
        cookie = int.from_bytes(wire[40:], "big")
        sock.sendto(Packet(cookie, stamp(IN_2024), stamp(IN_2024)).wire(), client)
        pump(manager, seen.saw(MG_EV_SNTP_TIME))


def test_the_turn_of_the_era_in_2036_is_a_moment_like_any_other(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    for done, seconds in enumerate([ERA_1 - 1, ERA_1 + 1, ERA_1 + 10**9]):
        server.tell(server.asked(), seconds)
        pump(manager, seen.saw(MG_EV_READ, done + 1))
        assert seen.data(MG_EV_SNTP_TIME)[-1] // 1000 == seconds
        conn.sntp_request()


# -- what is passed over -----------------------------------------------------------------------


def test_who_does_not_know_the_request_cannot_answer_it(ask: Ask, server: Server) -> None:
    manager, seen, _ = ask()
    cookie = server.asked()
    wrong = stamp(IN_2024 + 10**6)
    for bit in range(64):
        server.say(Packet(cookie ^ 1 << bit, wrong, wrong))
    server.say(Packet(0, wrong, wrong))
    server.say(Packet(cookie ^ 1, wrong, wrong, stratum=0, reference=b"DENY", leap=3))
    turns(manager)
    server.tell(cookie)
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.names()[4:] == ["SNTP_TIME", "READ"]
    assert seen.data(MG_EV_SNTP_TIME)[0] // 86_400_000 == IN_2024 // 86400


def test_an_answer_counts_once(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    first = server.asked()
    for _ in range(3):
        server.tell(first)
    pump(manager, seen.saw(MG_EV_READ))
    conn.sntp_request()
    second = server.asked()
    server.tell(first, IN_2024 + 10**6)
    server.tell(second, IN_2024 + 86400)
    pump(manager, seen.saw(MG_EV_READ, 2))
    turns(manager)
    days = [ms // 86_400_000 - IN_2024 // 86400 for ms in seen.data(MG_EV_SNTP_TIME)]
    assert days == [0, 1]


def test_an_answer_from_another_address_does_not_even_arrive(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    cookie = server.asked()
    at = stamp(IN_2024 + 10**6)
    with udp_socket() as other:
        other.sendto(Packet(cookie, at, at).wire(), server.client)
    turns(manager)
    assert conn.sntp_result is None
    server.tell(cookie)
    pump(manager, seen.saw(MG_EV_SNTP_TIME))
    assert seen.data(MG_EV_SNTP_TIME)[0] // 86_400_000 == IN_2024 // 86400


@pytest.mark.parametrize("changed", [{"mode": 5}, {"mode": 3}, {"version": 2}, {"version": 5}])
def test_broadcasts_requests_and_other_versions_are_passed_over(
    ask: Ask, server: Server, changed: dict[str, int]
) -> None:
    manager, seen, _ = ask()
    cookie = server.asked()
    at = stamp(IN_2024 + 10**6)
    server.say(Packet(cookie, at, at, **changed))  # type: ignore[arg-type]
    server.tell(cookie)
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.data(MG_EV_SNTP_TIME)[0] // 86_400_000 == IN_2024 // 86400


def test_a_flood_does_not_drown_the_answer(ask: Ask, server: Server) -> None:
    manager, seen, _ = ask()
    cookie = server.asked()
    for number in range(2000):
        server.say(bytes(number % 1400))
        if number % 50 == 0:
            manager.poll(0)
    turns(manager, 5)
    server.tell(cookie)
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.names()[4:] == ["SNTP_TIME", "READ"]


# -- errors ----------------------------------------------------------------------------------------

UNUSABLE: dict[str, dict[str, Any]] = {
    "SNTP: the server answers RATE: it is asked too often": {"stratum": 0, "reference": b"RATE"},
    "SNTP: the server answers DENY: it refuses to serve us": {"stratum": 0, "reference": b"DENY"},
    "SNTP: the server answers RSTR: it refuses to serve us": {"stratum": 0, "reference": b"RSTR"},
    "SNTP: the server answers INIT": {"stratum": 0, "reference": b"INIT", "leap": 3},
    "SNTP: the server's clock is not synchronized": {"leap": 3},
    "SNTP: the server's stratum is 16, not 1 to 15": {"stratum": 16},
    "SNTP: the answer lacks a timestamp": {"transmit": 0},
    "SNTP: the answer was sent before the request was received": {"receive": stamp(IN_2024) + 1},
    "SNTP: the server's time is not within 2020 to 2099": {
        "receive": stamp(IN_2024 - 10 * 366 * 86400),
        "transmit": stamp(IN_2024 - 10 * 366 * 86400),
    },
}


CASES = [*UNUSABLE.items()]
CASES += [
    ("SNTP: the server's clock is not synchronized", {"stratum": 0, "reference": reference})
    for reference in (bytes(4), b"GP\n\xff")
]


@pytest.mark.parametrize(("text", "changed"), CASES)
def test_an_answer_of_no_use_is_an_error_that_says_why(
    ask: Ask, server: Server, text: str, changed: dict[str, Any]
) -> None:
    manager, seen, conn = ask()
    conn.sntp_request()
    fields = {"receive": stamp(IN_2024), "transmit": stamp(IN_2024), **changed}
    server.say(Packet(server.asked(), **fields))
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names()[4:] == ["ERROR", "CLOSE"]
    assert seen.data(MG_EV_ERROR) == [text]
    with pytest.raises(ConnectionClosed):
        conn.sntp_request()


def test_a_server_that_claims_more_time_than_has_passed_is_not_believed(
    ask: Ask, server: Server
) -> None:
    manager, seen, _ = ask()
    server.say(Packet(server.asked(), stamp(IN_2024), stamp(IN_2024 + 60)))
    pump(manager, seen.saw(MG_EV_CLOSE))
    (text,) = seen.data(MG_EV_ERROR)
    assert text.startswith("SNTP: a round-trip delay of -")


def test_silence_is_an_error_after_the_timeout(ask: Ask, server: Server) -> None:
    manager, seen, _ = ask(Limits(sntp_timeout=0.05))
    start = time.monotonic()
    pump(manager, seen.saw(MG_EV_CLOSE), ms=1000)
    assert 0.04 < time.monotonic() - start < 0.9  # the wait was cut short
    assert seen.names()[4:] == ["ERROR", "CLOSE"]
    assert seen.data(MG_EV_ERROR) == ["SNTP: no answer for 50 ms (sntp_timeout)"]


def test_what_is_passed_over_does_not_put_the_timeout_off(ask: Ask, server: Server) -> None:
    manager, seen, _ = ask(Limits(sntp_timeout=0.05))
    cookie = server.asked()
    end = time.monotonic() + 5
    while not seen.conns(MG_EV_CLOSE):
        assert time.monotonic() < end
        server.tell(cookie ^ 1)
        manager.poll(5)
    assert seen.data(MG_EV_ERROR) == ["SNTP: no answer for 50 ms (sntp_timeout)"]


def test_the_timeout_of_a_later_request_begins_with_it(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask(Limits(sntp_timeout=0.1))
    server.tell(server.asked())
    end = time.monotonic() + 0.25
    pump(manager, lambda: time.monotonic() > end)
    assert seen.names()[4:] == ["SNTP_TIME", "READ"]
    conn.sntp_request()
    pump(manager, seen.saw(MG_EV_CLOSE), ms=1000)
    assert seen.names()[-2:] == ["ERROR", "CLOSE"]


def test_without_a_timeout_an_answer_may_take_its_time(ask: Ask, server: Server) -> None:
    manager, seen, _ = ask(Limits(sntp_timeout=0))
    assert manager.next_timeout() is None
    server.tell(server.asked())
    pump(manager, seen.saw(MG_EV_SNTP_TIME))


def test_nobody_there_is_silence(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen, limits=Limits(sntp_timeout=0.05))
    with udp_socket() as nobody:
        port = nobody.getsockname()[1]
    manager.sntp_connect(f"sntp://127.0.0.1:{port}")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.data(MG_EV_ERROR) == ["SNTP: no answer for 50 ms (sntp_timeout)"]


@pytest.mark.parametrize(
    "url",
    ["tcp://127.0.0.1:123", "http://127.0.0.1", "127.0.0.1:123", "unix:///tmp/x"]
    + ["udp://127.0.0.1", "sntp://", "sntp://127.0.0.1:0", "sntp://127.0.0.1:65536", ""],
)
def test_a_url_of_another_kind_is_refused(make_manager: MakeManager, url: str) -> None:
    with pytest.raises(AddressError, match="Failed to connect to SNTP server"):
        make_manager().sntp_connect(url)


def test_the_first_request_waits_for_the_address_of_a_name(
    make_manager: MakeManager, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 clock.test\n")
    seen = Recorder()
    manager = make_manager(seen, resolver=Resolver(hosts=tmp_path / "hosts"))
    conn = manager.sntp_connect(server.url.replace("127.0.0.1", "clock.test"))
    conn.sntp_request()  # the one that comes by itself
    pump(manager, seen.saw(MG_EV_CONNECT))
    server.tell(server.asked())
    pump(manager, seen.saw(MG_EV_READ))
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "SNTP_TIME", "READ"]
    assert server.idle()


def test_a_name_that_leads_nowhere_is_an_error(make_manager: MakeManager, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("")
    seen = Recorder()
    resolver = Resolver(hosts=tmp_path / "hosts", servers=["127.0.0.1:1"])
    manager = make_manager(seen, resolver=resolver, limits=Limits(dns_timeout=0.05))
    manager.sntp_connect("sntp://clock.test")
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names() == ["OPEN", "ERROR", "CLOSE"]


def test_without_a_port_the_url_means_123(make_manager: MakeManager) -> None:
    conn = make_manager().sntp_connect("sntp://127.0.0.1")
    assert conn.remote_addr == ("127.0.0.1", 123, False)


def test_other_connections_have_no_time_and_cannot_ask(make_manager: MakeManager) -> None:
    manager = make_manager()
    listener = manager.listen("udp://127.0.0.1:0")
    for conn in (listener, manager.connect(url_of(listener, "udp"))):
        assert conn.sntp_result is None
        with pytest.raises(RuntimeError, match="sntp_request: not an SNTP connection"):
            conn.sntp_request()


def test_raw_bytes_cannot_be_sent_between_requests(
    make_manager: MakeManager, server: Server
) -> None:
    conn = make_manager().sntp_connect(server.url)
    with pytest.raises(RuntimeError, match="not possible on this kind of connection"):
        conn.send(b"x")


# -- handlers that do as they like --------------------------------------------------------------


def test_a_handler_may_close_on_the_time(make_manager: MakeManager, server: Server) -> None:
    seen = Recorder(lambda conn, ev, _: conn.close() if ev == MG_EV_SNTP_TIME else None)
    manager = make_manager(seen)
    conn = manager.sntp_connect(server.url)
    conn.sntp_request()
    server.tell(server.asked())
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.names()[4:] == ["SNTP_TIME", "CLOSE"]
    assert server.idle()


def test_what_is_no_exception_leaves_poll_and_the_loop_goes_on(
    make_manager: MakeManager, server: Server
) -> None:
    raised: list[int] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_SNTP_TIME:
            raised.append(data)
            if len(raised) == 1:
                raise KeyboardInterrupt

    manager = make_manager(handle)
    conn = manager.sntp_connect(server.url)
    conn.sntp_request()
    server.tell(server.asked())
    with pytest.raises(KeyboardInterrupt):
        pump(manager, lambda: False)
    server.tell(server.asked())
    pump(manager, lambda: len(raised) == 2)
    assert not conn.is_closing


def test_a_paused_connection_hears_nothing_until_it_resumes(ask: Ask, server: Server) -> None:
    manager, seen, conn = ask()
    conn.pause()
    server.tell(server.asked())
    turns(manager)
    assert conn.sntp_result is None
    conn.resume()
    pump(manager, seen.saw(MG_EV_SNTP_TIME))
