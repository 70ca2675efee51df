"""The gateway takes measurements by UDP and TCP and gives them out by HTTP.

All of it over real sockets, with the standard library on the other side; the
format and the store are tested with plain calls below that.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programs import DEADLINE, Gateway, Program, Stream, load_example

store = load_example("gateway_store")


@contextmanager
def running() -> Iterator[Gateway]:
    """Run a gateway that nobody sends to yet; Ctrl-C must end it cleanly."""
    with Program("gateway.py", "--port", "0", "--http-port", "0") as program:
        gateway = Gateway(program)
        yield gateway
        gateway.api("stats")
        assert re.match(r"gateway: closed after \d+ measurements", program.stop())


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Run a gateway of the test's own."""
    with running() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def silent() -> Iterator[Gateway]:
    """Run a gateway for the tests that only ask, and send it nothing."""
    with running() as gateway:
        yield gateway


def test_a_datagram_reaches_the_stream_and_the_api(gateway: Gateway) -> None:
    with Stream(gateway) as stream:
        gateway.send_udp("desk.temperature 21.5 °C".encode())
        assert next(stream.values_of("desk.temperature")) == 21.5
    sensor = gateway.api("sensors/desk.temperature")
    assert (sensor["value"], sensor["unit"], sensor["via"]) == (21.5, "°C", "udp")
    assert sensor["recent"] == [[sensor["time"], 21.5]]
    del sensor["recent"]
    assert gateway.api("sensors") == [sensor]


def test_a_datagram_may_carry_several_lines(gateway: Gateway) -> None:
    with Stream(gateway) as stream:
        gateway.send_udp(b"a 1\nb 2 V\r\n\na 3\n")
        assert stream.until("stats", "accepted", 3)["sensors"] == 2


def test_a_tcp_line_may_come_in_pieces(gateway: Gateway) -> None:
    with Stream(gateway) as stream, gateway.tcp() as sender:
        values = stream.values_of("first"), stream.values_of("second")
        sender.sendall(b"first 1\nsecond 2")
        assert next(values[0]) == 1  # what is behind it has been read too, and kept
        sender.sendall(b"2 mV\n")
        assert next(values[1]) == 22
    assert gateway.api("sensors/second")["unit"] == "mV"


def test_bad_lines_are_counted_and_the_good_ones_between_them_taken(gateway: Gateway) -> None:
    with Stream(gateway) as stream, gateway.tcp() as sender:
        sender.sendall(b"ok 1\nbad\n\xff 2\nok 2\n<b> 3\nok nan\nok 1e16\n" + b"x" * 201 + b" 1\n")
        stats = stream.until("stats", "rejected", 6)
        assert stats["accepted"] == 2
        assert stats["last_error"] == "tcp: longer than 200 bytes"


def test_a_line_without_end_closes_its_connection_only(gateway: Gateway) -> None:
    with Stream(gateway) as stream, gateway.tcp() as other, gateway.tcp() as endless:
        endless.sendall(b"x" * 201)
        assert endless.recv(1) == b""
        other.sendall(b"ok 1\n")
        assert next(stream.values_of("ok")) == 1
    assert "without end" in gateway.api("stats")["last_error"]


def test_sensors_beyond_the_limit_are_refused(gateway: Gateway) -> None:
    lines = [f"sensor{i} {i}\n" for i in range(store.MAX_SENSORS + 3)]
    with Stream(gateway) as stream:
        gateway.send_udp("".join(lines).encode())
        stats = stream.until("stats", "rejected", 3)
    assert stats["sensors"] == len(gateway.api("sensors")) == store.MAX_SENSORS


def test_only_the_newest_values_are_kept(gateway: Gateway) -> None:
    count = store.RECENT + 10
    with Stream(gateway) as stream, gateway.tcp() as sender:
        sender.sendall(b"".join(b"ramp %d\n" % i for i in range(count)))
        stream.until("stats", "accepted", count)
    sensor = gateway.api("sensors/ramp")
    assert sensor["count"] == count
    assert [value for _, value in sensor["recent"]] == list(range(10, count))


def test_a_stream_begins_with_a_snapshot_so_a_browser_may_come_back(gateway: Gateway) -> None:
    gateway.send_udp(b"old 1")
    with Stream(gateway) as first:
        assert next(first.values_of("old")) == 1
    with Stream(gateway) as again:
        name, data = next(again.events())
        assert (name, data["keep"]) == ("snapshot", store.RECENT)
        assert [one["name"] for one in data["sensors"]] == ["old"]


def test_a_stream_tells_browsers_to_come_back_after_a_second(gateway: Gateway) -> None:
    with Stream(gateway) as stream:
        assert stream.response.readline() == b"retry: 1000\n"


def test_browsers_and_senders_that_left_are_not_counted(gateway: Gateway) -> None:
    with Stream(gateway) as stayer:
        with Stream(gateway) as leaver, gateway.tcp():
            assert leaver.until("stats", "senders", 1)["browsers"] == 2
        assert stayer.until("stats", "senders", 0)
        assert stayer.until("stats", "browsers", 1)


def test_a_slow_browser_misses_readings_and_catches_up_by_a_snapshot(gateway: Gateway) -> None:
    with Stream(gateway) as watcher, socket.socket() as slow, gateway.tcp() as sender:
        slow.settimeout(DEADLINE)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.http_port))
        slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        flood = "".join(f"{'n' * 60}{i} {j}e10\n" for i in range(64) for j in range(120)).encode()
        skipped = 0
        for name, data in watcher.events():
            if name == "stats":
                skipped = data["skipped"]
            if skipped:
                break
            sender.sendall(flood)  # fills an event to the brim for each that came
        sender.sendall(b"n" * 60 + b"0 4711\n")  # behind the flood: a datagram could overtake it
        received = b""
        deadline = time.monotonic() + DEADLINE
        # The first snapshot is the greeting. Whether the last reading comes in the second
        # or behind it depends on who is faster.
        while received.count(b"event: snapshot") < 2 or b'"value": 4711' not in received:
            assert time.monotonic() < deadline
            received += slow.recv(1 << 16)


def test_streams_beyond_the_limit_are_asked_to_come_later(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(Stream(gateway))
        status, headers, _ = gateway.ask("/events")
        assert (status, headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/icon.svg"])
def test_the_page_comes_with_a_policy_that_allows_no_other_host(silent: Gateway, path: str) -> None:
    status, headers, body = silent.ask(path)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert not re.search(rb"""(src|href|url)\s*[=(]\s*["']?https?:""", body)


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/sensors/", "/api/sensors/none", "/none"])
def test_unknown_paths_are_not_found(silent: Gateway, path: str) -> None:
    assert silent.ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/../gateway.py", "/%2e%2e/gateway.py", "/..%2fgateway.py"])
def test_no_path_leads_out_of_the_folder_of_the_page(silent: Gateway, path: str) -> None:
    status, _, body = silent.ask(path)
    assert status in (400, 404)
    assert b"MAX_BROWSERS" not in body


def test_other_methods_than_get_are_refused(silent: Gateway) -> None:
    status, headers, _ = silent.ask("/api/stats", "DELETE")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/api/stats", "/events"])
def test_head_gives_the_header_and_no_body(silent: Gateway, path: str) -> None:
    status, _, body = silent.ask(path, "HEAD")
    assert (status, body) == (200, b"")


def test_sigterm_ends_it_with_senders_and_browsers_connected() -> None:
    with Program("gateway.py", "--port", "0", "--http-port", "0") as program:
        gateway = Gateway(program)
        with Stream(gateway) as stream, gateway.tcp() as sender:
            sender.sendall(b"a 1\nunfinished")
            assert next(stream.values_of("a")) == 1
            assert program.stop(signal.SIGTERM) == "gateway: closed after 1 measurements\n"


def test_a_port_that_is_taken_is_told_without_a_traceback(silent: Gateway) -> None:
    with Program("gateway.py", "--port", "0", "--http-port", str(silent.http_port)) as second:
        code, output, errors = second.finish()
    assert (code, output) == (1, "")
    assert re.fullmatch(rf"gateway: .*{silent.http_port}.*\n", errors)


# ---- the format and the store: no sockets ----------------------------------

names = st.from_regex(store.NAME, fullmatch=True)
values = st.floats(-store.MAX_VALUE, store.MAX_VALUE)
units = st.sampled_from(["", "°C", "%", "m/s", "µg/m³", "u" * 16])
words = st.sampled_from([b"a", b"-1.5e3", b".5", b"1_0", b"nan", b"1e999", b"\xff", b"u" * 17])


@given(names, values, units)
def test_a_line_made_by_the_rules_is_read_as_it_was_meant(
    name: str, value: float, unit: str
) -> None:
    assert store.parse_line(f"{name} {value!r} {unit}\r".encode()) == (name, value, unit)


@given(st.binary(max_size=250) | st.lists(words, max_size=4).map(b" ".join))
@example(b"a 1 \xc2\xa0")
@example("a \N{ARABIC-INDIC DIGIT ONE}".encode())
def test_any_bytes_are_a_measurement_by_the_rules_or_a_value_error(line: bytes) -> None:
    try:
        name, value, unit = store.parse_line(line)
    except ValueError:
        return
    assert store.NAME.fullmatch(name)
    assert abs(value) <= store.MAX_VALUE
    assert len(unit) <= 16
    assert line.split()[1].isascii()


@given(st.lists(st.binary(max_size=30) | st.builds(lambda n: b"s%d 1" % n, st.integers(0, 200))))
def test_no_sequence_of_lines_makes_the_store_grow_beyond_its_limits(lines: list[bytes]) -> None:
    kept = store.Store()
    for line in lines:
        kept.take(line, "udp")
    assert len(kept.sensors) <= store.MAX_SENSORS
    assert all(len(sensor.recent) <= store.RECENT for sensor in kept.sensors.values())
    assert kept.accepted + kept.rejected == sum(1 for line in lines if line.strip())


def test_what_is_fresh_is_told_once_and_no_longer_than_it_is_kept() -> None:
    kept = store.Store()
    for i in range(store.RECENT + 1):
        kept.take(b"a %d" % i, "udp")
    kept.take(b"b 1", "udp")
    assert [len(one["recent"]) for one in kept.take_fresh()] == [store.RECENT, 1]
    assert kept.take_fresh() == []


def test_silent_sensors_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.Store()
    monkeypatch.setattr(store, "now_ms", lambda: 0)
    kept.take(b"old 1", "udp")
    monkeypatch.setattr(store, "now_ms", lambda: store.FORGET_AFTER_MS)
    kept.take(b"new 1", "udp")
    assert not kept.forget_silent()
    monkeypatch.setattr(store, "now_ms", lambda: store.FORGET_AFTER_MS + 1)
    assert kept.forget_silent()
    assert list(kept.sensors) == ["new"]
