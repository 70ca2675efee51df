"""``Manager.run(drain=)``: the end of a server that cuts nobody off."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, dial, pump, receive_all

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_MQTT_CMD,
    MG_EV_MQTT_OPEN,
    MG_EV_OPEN,
    MG_EV_WS_OPEN,
    Connection,
    Manager,
    url_host,
    url_port,
)

Make = Callable[..., Manager]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = 60.0  # seconds; no test takes so long


def end(manager: Manager, seconds: float = LONG) -> float:
    """Have *manager* end in order; return how many seconds it took."""
    manager.stop()
    began = monotonic()
    manager.run(drain=seconds)
    return monotonic() - began


def connected(url: str) -> socket.socket:
    return socket.create_connection((url_host(url), url_port(url)), DEADLINE)


def refused(url: str) -> bool:
    try:
        connected(url).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was being closed
        pass
    return False


def test_an_answer_that_is_still_being_made_gets_to_its_end(make_manager: Make) -> None:
    def act(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            manager.stop()
            manager.timer_add(60, lambda: late(conn))

    def late(conn: Connection) -> None:
        found.append(refused(url))
        conn.reply(200, b"x" * 5_000_000)

    found: list[bool] = []
    heard = Recorder(act)
    manager = make_manager(heard)
    listener = manager.listen("http://127.0.0.1:0")
    url = listener.url
    with dial(listener) as sock:
        sock.sendall(GET)
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(receive_all(sock)))
        reader.start()
        manager.run(drain=LONG)
        reader.join(DEADLINE)
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert len(body) == 5_000_000
    assert found == [True]  # nobody new was let in meanwhile
    assert heard.names()[-1] == "CLOSE"


def test_idle_connections_do_not_keep_a_server(make_manager: Make) -> None:
    heard = Recorder()
    manager = make_manager(heard)
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as one, dial(listener) as two:
        pump(manager, heard.saw(MG_EV_ACCEPT, 2))
        assert end(manager) < DEADLINE
        assert receive_all(one) == receive_all(two) == b""


def test_an_event_stream_is_ended(make_manager: Make) -> None:
    def stream(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, "", {"Content-Type": "text/event-stream"})
            conn.http_sse("", "first")

    manager = make_manager(heard := Recorder(stream))
    listener = manager.listen("http://127.0.0.1:0")
    with dial(listener) as sock:
        sock.sendall(GET)
        pump(manager, heard.saw(MG_EV_HTTP_MSG))
        assert end(manager) < DEADLINE
        assert receive_all(sock).endswith(b"\r\ndata: first\n\n\r\n0\r\n\r\n")


def test_an_upload_that_has_begun_may_end(make_manager: Make) -> None:
    def act(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_HDRS:
            manager.stop()
            manager.timer_add(60, lambda: sock.sendall(b"two"))
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, data.body_bytes)

    manager = make_manager(Recorder(act))
    with dial(manager.listen("http://127.0.0.1:0")) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\none")
        manager.run(drain=LONG)
        assert receive_all(sock).endswith(b"\r\n\r\nonetwo")


def test_a_websocket_is_told_1001_and_may_answer(make_manager: Make) -> None:
    def serve(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)

    server = make_manager(heard := Recorder(serve))
    listener = server.listen("http://127.0.0.1:0")
    client = make_manager(ours := Recorder())
    client.ws_connect(listener.url.replace("http", "ws"))

    def turn() -> None:
        client.poll(0)

    server.timer_add(5, turn, repeat=True)
    pump(server, heard.saw(MG_EV_WS_OPEN))
    assert end(server) < DEADLINE
    pump(client, ours.saw(MG_EV_CLOSE))
    assert "ERROR" not in ours.names() + heard.names()
    assert "WS_CTL" in heard.names()  # the client's close frame
    assert "WS_CTL" in ours.names()


def test_who_does_not_go_is_cut_off_in_the_end(make_manager: Make) -> None:
    manager = make_manager(heard := Recorder())
    with dial(manager.listen("http://127.0.0.1:0")) as sock:
        sock.sendall(GET)
        pump(manager, heard.saw(MG_EV_HTTP_MSG))
        assert 0.2 <= end(manager, 0.2) < DEADLINE
        assert receive_all(sock) == b""
    assert heard.names()[-1] == "CLOSE"


def test_raw_connections_end_when_all_is_sent(make_manager: Make) -> None:
    manager = make_manager(heard := Recorder())
    with dial(manager.listen("tcp://127.0.0.1:0")) as sock:
        pump(manager, heard.saw(MG_EV_ACCEPT))
        heard.conns(MG_EV_ACCEPT)[0].send(b"x" * 100_000)
        assert end(manager) < DEADLINE
        assert len(receive_all(sock)) == 100_000


def test_outbound_connections_serve_those_that_came_in_to_the_end(make_manager: Make) -> None:
    """A proxy: the answer under way comes from another server."""

    def backend(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            asked.append(conn)
            conn.manager.timer_add(60, lambda: conn.reply(200, "from behind"))

    def proxy(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG and conn.is_client:
            asking[0].reply(200, data.body_bytes)
        elif ev == MG_EV_HTTP_MSG:
            asking.append(conn)
            behind.request("GET", "/")
            manager.stop()

    asked: list[Connection] = []
    asking: list[Connection] = []
    server = make_manager(Recorder(backend))
    manager = make_manager(heard := Recorder(proxy))
    behind = manager.connect(server.listen("http://127.0.0.1:0").url)
    manager.timer_add(5, lambda: server.poll(0), repeat=True)
    with dial(manager.listen("http://127.0.0.1:0")) as sock:
        sock.sendall(GET)
        manager.run(drain=LONG)
        assert receive_all(sock).endswith(b"from behind")
    assert asked
    assert heard.names(behind)[-1] == "CLOSE"
    assert "ERROR" not in heard.names()


def test_an_mqtt_client_says_goodbye(make_manager: Make) -> None:
    def broker(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_CMD and data.cmd == 1:
            conn.mqtt_connack()
        elif ev == MG_EV_MQTT_CMD:
            commands.append(data.cmd)

    commands: list[int] = []
    server = make_manager(theirs := Recorder(broker))
    manager = make_manager(heard := Recorder())
    conn = manager.mqtt_connect(server.mqtt_listen("mqtt://127.0.0.1:0").url, reconnect=True)
    manager.timer_add(5, lambda: server.poll(0), repeat=True)
    pump(manager, heard.saw(MG_EV_MQTT_OPEN))
    assert end(manager) < DEADLINE
    pump(server, theirs.saw(MG_EV_CLOSE))
    assert commands == [14]  # DISCONNECT: its will is not published
    assert heard.names(conn)[-1] == "CLOSE"


@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_clients_are_told(make_manager: Make, version: int) -> None:
    def broker(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_MQTT_CMD and data.cmd == 1:
            conn.mqtt_connack()

    server = make_manager(Recorder(broker))
    client = make_manager(heard := Recorder())
    url = server.mqtt_listen("mqtt://127.0.0.1:0").url
    client.mqtt_connect(url, version=version)
    server.timer_add(5, lambda: client.poll(0), repeat=True)
    pump(server, heard.saw(MG_EV_MQTT_OPEN))
    assert end(server) < DEADLINE
    pump(client, heard.saw(MG_EV_CLOSE))


def test_what_comes_to_be_meanwhile_is_ended_as_well(make_manager: Make) -> None:
    def act(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CLOSE and conn is first:
            manager.listen("tcp://127.0.0.1:0")

    manager = make_manager(heard := Recorder(act))
    first = manager.listen("tcp://127.0.0.1:0")
    assert end(manager) < DEADLINE
    assert len(heard.data(MG_EV_OPEN)) == len(heard.data(MG_EV_CLOSE)) == 2


def test_without_drain_all_are_closed_at_once(make_manager: Make) -> None:
    manager = make_manager(heard := Recorder())
    with dial(manager.listen("http://127.0.0.1:0")) as sock:
        sock.sendall(GET)
        pump(manager, heard.saw(MG_EV_HTTP_MSG))
        manager.stop()
        manager.run()
        assert receive_all(sock) == b""


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_a_time_that_is_none_is_refused(make_manager: Make, seconds: float) -> None:
    with pytest.raises(ValueError, match="drain must be 0 seconds or more"):
        make_manager().run(drain=seconds)
    with pytest.raises(TypeError):
        make_manager().run(drain="5")


def test_what_a_handler_raises_meanwhile_ends_it(make_manager: Make) -> None:
    def act(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CLOSE and not raised:
            raised.append(True)
            raise SystemExit(3)

    raised: list[bool] = []
    manager = make_manager(Recorder(act))
    manager.listen("tcp://127.0.0.1:0")
    with pytest.raises(SystemExit):
        end(manager)
    manager.close()  # it was


PROGRAM = """
from mongoose_py import Handler, Manager

class Server(Handler):
    def on_http(self, conn, message):
        print("asked", flush=True)  # and never answered

with Manager(Server()) as manager:
    print(manager.listen("http://127.0.0.1:0").url, flush=True)
    try:
        manager.run(drain=60)
    except KeyboardInterrupt:
        print("interrupted")
print("over")
"""


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait(last: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with closing(connected(url)) as sock:
            sock.sendall(GET)
            assert program.stdout.readline() == "asked\n"
            program.send_signal(signal.SIGTERM)
            while not refused(url):
                pass
            program.send_signal(last)
            said = program.communicate(timeout=DEADLINE)[0]
    assert said.split() == ["interrupted"] * (last == signal.SIGINT) + ["over"]
    assert program.returncode == 0
