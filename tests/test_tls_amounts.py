"""TLS with much data, single bytes, many handshakes, and peers that never shake hands."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Callable

import pytest
from certificates import intermediate, issue, localhost, trusting
from conftest import Recorder, dial, pump, receive_all, url_of
from tlskit import Ends, Relay, echo, single_bytes

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_TLS_HS,
    Connection,
    Handler,
    HttpMessage,
    Limits,
    Manager,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


def test_megabytes_pass_unharmed_in_both_directions(make_manager: Make) -> None:
    payload = bytes(range(256)) * 40_000
    received = {"server": bytearray(), "client": bytearray()}

    def collect(side: str) -> Callable[[Connection, int, Any], None]:
        def handler(conn: Connection, ev: int, data: Any) -> None:
            if ev == MG_EV_READ and data:
                received[side] += data
            elif ev == MG_EV_TLS_HS:
                conn.send(payload)

        return handler

    ends = Ends(
        make_manager(),
        server=Recorder(collect("server")),
        client=Recorder(collect("client")),
    )
    pump(ends.manager, lambda: all(len(got) >= len(payload) for got in received.values()))
    assert received["server"] == received["client"] == payload


def test_files_are_served_over_tls(make_manager: Make, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8000
    (tmp_path / "file.bin").write_bytes(content)

    class Server(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            conn.serve_dir(message, tmp_path)

    manager, client = make_manager(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", Server(), tls=localhost().opts)
    conn = manager.connect(url_of(listener, "https"), client, tls=trusting())
    for i in range(2):
        conn.request("GET", "/file.bin")
        pump(manager, client.saw(MG_EV_HTTP_MSG, i + 1))
    assert [body for _, _, body in client.data(MG_EV_HTTP_MSG)] == [content, content]


def test_single_bytes_make_a_handshake_and_messages(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(echo), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    assert listener.local_addr is not None
    with Relay(listener.local_addr[:2], single_bytes) as relay:
        conn = manager.connect(f"tls://127.0.0.1:{relay.port}", client, tls=trusting())
        conn.send(b"x" * 1000)
        pump(manager, lambda: len(b"".join(client.data(MG_EV_READ))) == 1000)
        conn.drain()
        pump(manager, lambda: conn.id == 0)
        pump(manager, server.saw(MG_EV_CLOSE))
    assert not client.data(MG_EV_ERROR)
    assert not server.data(MG_EV_ERROR)


def test_a_peer_that_never_shakes_hands_is_given_up(make_manager: Make) -> None:
    manager, server = make_manager(limits=Limits(tls_handshake_timeout=0.1)), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    with dial(listener) as sock:
        pump(manager, server.saw(MG_EV_CLOSE))
        assert receive_all(sock) == b""
    assert "tls_handshake_timeout" in server.data(MG_EV_ERROR)[0]


def test_a_server_that_never_shakes_hands_is_given_up(make_manager: Make) -> None:
    manager, client = make_manager(limits=Limits(tls_handshake_timeout=0.1)), Recorder()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        manager.connect(f"https://127.0.0.1:{port}", client, tls=trusting())
        pump(manager, client.saw(MG_EV_CLOSE))
    assert "tls_handshake_timeout" in client.data(MG_EV_ERROR)[0]


def test_the_chain_behind_the_certificate_is_sent(make_manager: Make) -> None:
    leaf = issue(intermediate())
    Ends(make_manager(), leaf.bundle(intermediate()).opts).shake()
    client, _ = Ends(make_manager(), leaf.opts).refused()
    assert "unable to" in client


@pytest.mark.slow
def test_thousands_of_handshakes_fail_not_once(
    make_manager: Make, engine: str, poller: str
) -> None:
    count = 20_000 if (engine, poller) == ("openssl", "epoll") else 2_000
    at_a_time = 50
    begun = 0
    shaken = {"client": 0, "server": 0}
    errors: list[str] = []

    class End(Handler):
        def __init__(self, side: str) -> None:
            self.side = side

        def on_tls(self, conn: Connection) -> None:
            shaken[self.side] += 1
            if self.side == "server":
                conn.send("x")  # behind the tickets

        def on_read(self, conn: Connection, data: bytes) -> None:
            conn.drain()
            if begun < count:
                connect()

        def on_error(self, conn: Connection, message: str) -> None:
            errors.append(message)

    manager, client = make_manager(), End("client")
    listener = manager.listen("tls://127.0.0.1:0", End("server"), tls=localhost().opts)
    full, resumed = trusting(resumption=False), trusting()

    def connect() -> None:
        nonlocal begun
        begun += 1
        opts = resumed if begun % 2 else full
        manager.connect(url_of(listener, "tls"), client, tls=opts)

    for _ in range(at_a_time):
        connect()
    while len(manager.connections) > 1 and not errors:
        manager.poll(1000)
    assert not errors
    assert shaken == {"client": count, "server": count}
