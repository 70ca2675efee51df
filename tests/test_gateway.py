"""The gateway takes measurements by UDP, TCP and WebSocket, and shows them to pages.

All of it over real sockets, with other people's software on the other side.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from programs import DEADLINE, GATEWAY, QUICK, Gateway, Program, Stream, load_example, running
from websockets.exceptions import ConnectionClosedError, InvalidStatus

store = load_example("gateway/store")


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
    (when, value) = sensor["recent"][0]
    assert (value, len(sensor["recent"])) == (21.5, 1)
    assert 0 <= when - sensor["seen"] < 1000
    del sensor["recent"]
    assert gateway.api("sensors") == [sensor]


def test_a_datagram_may_carry_several_lines(gateway: Gateway) -> None:
    with Stream(gateway) as stream:
        gateway.send_udp(b"a 1\nb 2 V\r\n\na 3\n")
        stream.stats(accepted=3)
    assert [one["name"] for one in gateway.api("sensors")] == ["a", "b"]


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
        stats = stream.stats(accepted=2, rejected=6)
        assert stats["last_error"].startswith("tcp: not NAME VALUE [UNIT] in 200 bytes: b'xxx")


def test_a_line_without_end_closes_its_connection_only(gateway: Gateway) -> None:
    with Stream(gateway) as stream, gateway.tcp() as other, gateway.tcp() as endless:
        endless.sendall(b"x" * 201)
        assert endless.recv(1) == b""
        other.sendall(b"ok 1\n")
        assert next(stream.values_of("ok")) == 1
    assert "without end" in gateway.api("stats")["last_error"]


def test_of_too_many_sensors_those_heard_of_last_are_kept(gateway: Gateway) -> None:
    most = store.MOST["sensor"]
    with Stream(gateway) as stream, gateway.tcp() as sender:
        sender.sendall(b"old 1\n")
        assert next(stream.values_of("old")) == 1
        sender.sendall(b"".join(b"sensor%d 1\n" % i for i in range(most)))
        stream.stats(accepted=most + 1)
        next(stream.events())  # what was too much goes when the rest is saved
        next(stream.events())
    names = {one["name"] for one in gateway.api("sensors")}
    assert names == {f"sensor{i}" for i in range(most)}


def test_only_the_newest_values_are_kept(gateway: Gateway) -> None:
    count = store.RECENT + 10
    with Stream(gateway) as stream, gateway.tcp() as sender:
        sender.sendall(b"".join(b"ramp %d\n" % i for i in range(count)))
        stream.stats(accepted=count)
    sensor = gateway.api("sensors/ramp")
    assert sensor["count"] == count
    assert [value for _, value in sensor["recent"]] == list(range(10, count))


def test_a_message_to_the_websocket_of_devices_has_lines(gateway: Gateway) -> None:
    with Stream(gateway) as stream, gateway.websocket("/device") as device:
        device.send("a 1\nb 2 °C\nbad\n")
        assert next(stream.values_of("b")) == 2
        device.send(b"b 3")
        assert next(stream.values_of("b")) == 3
    assert gateway.api("stats")["last_error"].startswith("ws: not NAME VALUE [UNIT]")
    assert gateway.api("sensors/b")["via"] == "ws"


def test_a_message_above_the_limit_ends_its_websocket_only(gateway: Gateway) -> None:
    with gateway.websocket("/device") as device, Stream(gateway) as stream:
        device.send("x" * 5000)
        with pytest.raises(ConnectionClosedError, match="1009"):
            device.recv(DEADLINE)
        assert "above the ws_message limit" in stream.stats(rejected=1)["last_error"]


def test_a_view_begins_with_a_snapshot_so_a_page_may_come_back(gateway: Gateway) -> None:
    gateway.send_udp(b"old 1")
    with Stream(gateway) as first:
        assert next(first.values_of("old")) == 1
    with Stream(gateway) as again:
        name, data = next(again.events())
        assert (name, data["keep"], data["actuators"]) == ("snapshot", store.RECENT, [])
        assert [one["name"] for one in data["sensors"]] == ["old"]


def test_pages_that_left_are_not_counted(gateway: Gateway) -> None:
    with Stream(gateway) as stayer:
        with Stream(gateway) as leaver:
            assert leaver.stats(pages=2)
        assert stayer.stats(pages=1)


def test_a_page_that_reads_too_slowly_has_to_come_again(gateway: Gateway) -> None:
    with Stream(gateway) as watcher, socket.socket() as slow, gateway.tcp() as sender:
        slow.settimeout(DEADLINE)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.http_port))
        slow.sendall(
            b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert slow.recv(1)
        flood = "".join(f"{'n' * 60}{i} {j}e10\n" for i in range(64) for j in range(120)).encode()
        for _, data in watcher.events():
            if data["stats"]["pages"] == 1:
                break
            sender.sendall(flood)  # fills an event to the brim for each that came


def test_connections_beyond_the_limit_are_refused_and_others_live_on(gateway: Gateway) -> None:
    with Stream(gateway) as stream, ExitStack() as stack:
        for _ in range(520):
            stack.enter_context(gateway.tcp())
        gateway.send_udp(b"a 1")
        assert next(stream.values_of("a")) == 1
        refused = stack.enter_context(gateway.tcp())
        with suppress(ConnectionResetError):
            assert refused.recv(1) == b""


@pytest.mark.parametrize("path", ["/live", "/device"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_another_site_gets_no_websocket(silent: Gateway, path: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, silent.websocket(path, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_our_own_page_gets_its_websocket(silent: Gateway) -> None:
    with silent.websocket("/live", origin=f"http://127.0.0.1:{silent.http_port}") as page:
        assert json.loads(page.recv(DEADLINE))["type"] == "snapshot"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "[", "localhost.evil"])
def test_a_name_of_somebody_else_that_points_here_is_refused(silent: Gateway, host: str) -> None:
    for path in ("/", "/api/stats", "/live"):
        assert silent.ask(path, Host=host)[0] in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:8000"])
def test_addresses_and_localhost_need_no_name(silent: Gateway, host: str) -> None:
    assert silent.ask("/api/stats", Host=host)[0] == 200


def test_a_name_that_was_given_is_ours() -> None:
    with running("--name", "Gateway.local") as gateway:
        assert gateway.ask("/", Host="gateway.LOCAL:8000")[0] == 200
        assert gateway.ask("/", Host="other.local")[0] == 403


@pytest.mark.parametrize("path", ["/live", "/device"])
def test_a_request_for_a_websocket_that_is_none_is_told_so(silent: Gateway, path: str) -> None:
    assert silent.ask(path)[0] == 426


@pytest.mark.parametrize("path", ["/", "/app.js", "/cards.js", "/style.css", "/icon.svg"])
def test_the_page_comes_with_a_policy_that_allows_no_other_host(silent: Gateway, path: str) -> None:
    status, headers, body = silent.ask(path)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert not re.search(rb"""(src|href|url)\s*[=(]\s*["']?https?:""", body)


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/sensors/none", "/api/stats/x", "/csv/none", "/events"]
)
def test_unknown_paths_are_not_found(silent: Gateway, path: str) -> None:
    assert silent.ask(path)[0] == 404


@pytest.mark.parametrize("path", ["/../gateway.py", "/%2e%2e/gateway.py", "/..%2fgateway.py"])
def test_no_path_leads_out_of_the_folder_of_the_page(silent: Gateway, path: str) -> None:
    status, _, body = silent.ask(path)
    assert status in (400, 404)
    assert b"PAGE_HEADERS" not in body


def test_other_methods_than_get_are_refused(silent: Gateway) -> None:
    status, headers, _ = silent.ask("/api/stats", "DELETE")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/api/stats", "/csv"])
def test_head_gives_the_header_and_no_body(silent: Gateway, path: str) -> None:
    status, _, body = silent.ask(path, "HEAD")
    assert (status, body) == (200, b"")


def test_sigterm_ends_it_with_senders_and_browsers_connected() -> None:
    with Program(GATEWAY, *QUICK) as program:
        gateway = Gateway(program)
        with Stream(gateway) as stream, gateway.tcp() as sender:
            sender.sendall(b"a 1\nunfinished")
            assert next(stream.values_of("a")) == 1
            assert program.stop(signal.SIGTERM) == "gateway: closed after 1 measurements\n"


@pytest.mark.parametrize("way", ["web", "udp", "tcp", "mqtt"])
def test_a_port_that_is_taken_is_told_without_a_traceback(silent: Gateway, way: str) -> None:
    ports = {"web": silent.http_port, "mqtt": silent.mqtt_port}
    ports.update(udp=silent.udp_port, tcp=silent.tcp_port)
    scheme = "http" if way == "web" else way
    url = f"{scheme}://127.0.0.1:{ports[way]}"
    with Program(GATEWAY, *QUICK, f"--{way}", url) as second:
        code, output, errors = second.finish()
    assert (code, output) == (1, "")
    assert re.fullmatch(rf"gateway: .*{url}': .* in use \(see --{way}\)\n", errors)


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:99999"])
def test_a_url_that_is_none_is_told_without_a_traceback(url: str) -> None:
    with Program(GATEWAY, *QUICK, "--web", url) as program:
        code, output, errors = program.finish()
    assert (code, output) == (1, "")
    assert re.fullmatch(rf"gateway: .*{url}.*\(see --web\)\n", errors)
