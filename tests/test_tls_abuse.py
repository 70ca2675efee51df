"""Peers that break TLS: cut it off, change it, send garbage, or ask for what is gone."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from typing import Any, Callable

import certificates
import pytest
from certificates import localhost, trusting
from conftest import DEADLINE, Recorder, dial, pump, receive_all, running, url_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tlskit import Ends, Relay, client_context, on_thread, one_client, server_context, tls_client

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


class Hello(Handler):
    """An HTTP server that a test can ask whether it still lives."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "hello")

    def on_error(self, conn: Connection, message: str) -> None:
        self.errors.append(message)


@pytest.fixture
def hello(make_manager: Make) -> Iterator[tuple[str, int]]:
    manager = make_manager(Hello())
    listener = manager.listen("https://127.0.0.1:0", tls=localhost().opts)
    with running(manager):
        assert listener.local_addr is not None
        yield listener.local_addr[:2]


def check_it_lives(address: tuple[str, int]) -> None:
    with tls_client(address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert receive_all(sock).endswith(b"hello")


# -- truncation -----------------------------------------------------------------


def cut(serve: Callable[[ssl.SSLSocket], object]) -> Callable[[socket.socket], None]:
    """Return a server that says something by TLS and goes without close_notify."""

    def work(plain: socket.socket) -> None:
        sock = server_context().wrap_socket(plain, server_side=True)
        serve(sock)
        raw = socket.socket(fileno=sock.detach())
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(DEADLINE)
        with contextlib.suppress(OSError):
            receive_all(raw)
        raw.close()

    return work


def ended(serve: Callable[[ssl.SSLSocket], object]) -> Callable[[socket.socket], None]:
    """Return a server that says something by TLS and ends it in order."""

    def work(plain: socket.socket) -> None:
        with server_context().wrap_socket(plain, server_side=True) as sock:
            serve(sock)
            with contextlib.suppress(OSError):
                sock.unwrap()

    return work


def get(make_manager: Make, server: Callable[[socket.socket], None]) -> Recorder:
    """Have our client ask *server*, and return what it was told."""
    manager, client = make_manager(), Recorder()
    with one_client(server) as (host, port):
        conn = manager.connect(f"https://{host}:{port}", client, tls=trusting())
        conn.request("GET", "/")
        pump(manager, lambda: conn.id == 0)
    return client


def answer(text: bytes) -> Callable[[ssl.SSLSocket], None]:
    def serve(sock: ssl.SSLSocket) -> None:
        sock.recv(4096)
        sock.sendall(text)

    return serve


TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhalf of it"


def test_a_body_to_the_end_of_the_stream_is_whole_with_close_notify(make_manager: Make) -> None:
    client = get(make_manager, ended(answer(TO_THE_END)))
    assert [body for _, _, body in client.data(MG_EV_HTTP_MSG)] == [b"half of it"]
    assert not client.data(MG_EV_ERROR)


def test_a_body_to_the_end_of_the_stream_is_an_error_without_close_notify(
    make_manager: Make,
) -> None:
    client = get(make_manager, cut(answer(TO_THE_END)))
    assert not client.data(MG_EV_HTTP_MSG)
    assert "truncated" in client.data(MG_EV_ERROR)[0]


def test_a_body_of_known_length_is_whole_either_way(make_manager: Make) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    for how in (cut, ended):
        client = get(make_manager, how(answer(whole)))
        assert [body for _, _, body in client.data(MG_EV_HTTP_MSG)] == [b"abc"]
        assert not client.data(MG_EV_ERROR)
    client = get(make_manager, cut(answer(whole[:-1])))
    assert not client.data(MG_EV_HTTP_MSG)
    assert client.data(MG_EV_ERROR)


def test_a_raw_stream_that_is_cut_off_is_an_error(make_manager: Make) -> None:
    for how, errors in ((cut, 1), (ended, 0)):
        manager, client = make_manager(), Recorder()
        with one_client(how(lambda sock: sock.sendall(b"some"))) as (host, port):
            conn = manager.connect(f"tls://{host}:{port}", client, tls=trusting())
            pump(manager, lambda conn=conn: conn.id == 0)
        assert client.data(MG_EV_READ) == [b"some"]
        assert len(client.data(MG_EV_ERROR)) == errors


@pytest.mark.parametrize("way", ["up", "down"])
@given(after=st.integers(0, 6000))
@example(after=0)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_connection_cut_anywhere_gives_an_error_or_an_end(
    make_manager: Make, way: str, after: int
) -> None:
    left = after

    def pieces(direction: str, data: bytes) -> Iterator[bytes | None]:
        nonlocal left
        if direction != way:
            yield data
        elif len(data) < left:
            left -= len(data)
            yield data
        else:
            yield data[:left]
            yield None

    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server, tls=localhost().opts)
    assert listener.local_addr is not None
    with Relay(listener.local_addr[:2], pieces) as relay:
        conn = manager.connect(f"tls://127.0.0.1:{relay.port}", client, tls=trusting())
        conn.send(b"x" * 5000)
        greet = Recorder(lambda conn, ev, _: conn.send(b"y" * 5000) if ev == MG_EV_TLS_HS else None)
        listener.set_handler(greet)

        def over() -> bool:
            done = len(b"".join(client.data(MG_EV_READ))) == 5000
            return conn.id == 0 or (done and len(b"".join(greet.data(MG_EV_READ))) == 5000)

        pump(manager, over)
        conn.close()
        listener.close()
        pump(manager, lambda: not manager.connections)
    for got, want in ((client, b"y"), (greet, b"x")):
        assert (want * 5000).startswith(b"".join(got.data(MG_EV_READ)))


# -- garbage ----------------------------------------------------------------------


@given(data=st.binary(min_size=1, max_size=400))
@example(data=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(data=b"\x16\x03\x01\xff\xff" + bytes(100))
@example(data=b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03")
@example(data=b"\x15\x03\x03\x00\x02\x02\x28")
@example(data=b"\x17\x03\x03\x40\x00" + bytes(400))
@example(data=b"\x80\x2e\x01\x00\x02")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_instead_of_a_handshake_ends_that_connection_only(
    hello: tuple[str, int], data: bytes
) -> None:
    with socket.create_connection(hello, DEADLINE) as sock, contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in receive_all(sock)
    check_it_lives(hello)


@given(at=st.integers(0, 3000), change=st.integers(1, 255))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_never_delivered(make_manager: Make, at: int, change: int) -> None:
    seen = 0

    def pieces(direction: str, data: bytes) -> Iterator[bytes | None]:
        nonlocal seen
        if direction == "down" and seen <= at < seen + len(data):
            changed = bytearray(data)
            changed[at - seen] ^= change
            data, seen = bytes(changed), seen + len(data)
        elif direction == "down":
            seen += len(data)
        yield data

    manager, client = make_manager(limits=Limits(tls_handshake_timeout=0.3)), Recorder()
    greet = Recorder(lambda conn, ev, _: conn.send(b"y" * 2000) if ev == MG_EV_TLS_HS else None)
    listener = manager.listen("tls://127.0.0.1:0", greet, tls=localhost().opts)
    assert listener.local_addr is not None
    with Relay(listener.local_addr[:2], pieces) as relay:
        conn = manager.connect(f"tls://127.0.0.1:{relay.port}", client, tls=trusting())
        patience = manager.timer_add(500, conn.close)  # a length that grew waits for more
        pump(manager, lambda: conn.id == 0 or b"".join(client.data(MG_EV_READ)) == b"y" * 2000)
        patience.cancel()
        conn.close()
        listener.close()
        pump(manager, lambda: not manager.connections)
    assert (b"y" * 2000).startswith(b"".join(client.data(MG_EV_READ)))


def test_garbage_from_a_server_is_an_error(make_manager: Make) -> None:
    for junk in (b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(300)):
        client = get(make_manager, lambda sock, junk=junk: sock.sendall(junk))
        assert not client.data(MG_EV_TLS_HS)
        assert not client.data(MG_EV_HTTP_MSG)
        assert len(client.data(MG_EV_ERROR)) == 1


def test_garbage_behind_a_handshake_is_an_error(make_manager: Make) -> None:
    def junk(plain: socket.socket) -> None:
        sock = server_context().wrap_socket(plain, server_side=True)
        sock.sendall(b"fine")
        raw = socket.socket(fileno=sock.detach())
        with raw, contextlib.suppress(OSError):
            raw.settimeout(DEADLINE)
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            receive_all(raw)

    manager, client = make_manager(), Recorder()
    with one_client(junk) as (host, port):
        conn = manager.connect(f"tls://{host}:{port}", client, tls=trusting())
        pump(manager, lambda: conn.id == 0)
    assert client.data(MG_EV_READ) == [b"fine"]
    assert "bad record mac" in client.data(MG_EV_ERROR)[0]


# -- what is gone --------------------------------------------------------------------


def client_hello(version: int) -> bytes:
    """Return a hello that offers *version* at most, with a cipher of that time."""
    ciphers = struct.pack("!HHH", 4, 0xC013, 0x002F)
    body = struct.pack("!H", version) + bytes(32) + b"\0" + ciphers + b"\1\0"
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302])
def test_versions_before_1_2_are_refused_by_servers(make_manager: Make, version: int) -> None:
    manager, server = make_manager(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server, tls=localhost().opts)
    with dial(listener) as sock:
        sock.sendall(client_hello(version))
        pump(manager, server.saw(MG_EV_CLOSE))
        alert = receive_all(sock)
    # An alert: fatal, and protocol_version or, to what is older than that, handshake_failure.
    assert alert[:1] + alert[5:] == (b"\x15\x02\x46" if version > 0x0300 else b"\x15\x02\x28")
    error = server.data(MG_EV_ERROR)[0]
    assert "unsupported protocol" in error or "version too low" in error


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302])
def test_versions_before_1_2_are_refused_by_clients(make_manager: Make, version: int) -> None:
    hello = struct.pack("!H", version) + bytes(32) + b"\0" + struct.pack("!H", 0xC013) + b"\0"
    handshake = b"\x02" + len(hello).to_bytes(3, "big") + hello

    def serve(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"\x16" + struct.pack("!HH", version, len(handshake)) + handshake)
        with contextlib.suppress(OSError):
            receive_all(sock)

    client = get(make_manager, serve)
    assert not client.data(MG_EV_TLS_HS)
    assert len(client.data(MG_EV_ERROR)) == 1


def test_renegotiation_is_refused(hello: tuple[str, int]) -> None:
    """TLS 1.2 has it, and it costs the server more than the client."""
    command = [
        str(certificates.OPENSSL),
        "s_client",
        "-connect",
        f"127.0.0.1:{hello[1]}",
        "-tls1_2",
    ]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=DEADLINE)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stderr
    check_it_lives(hello)


def test_only_1_3_is_spoken_when_asked_for(make_manager: Make) -> None:
    manager, server = make_manager(), Recorder()
    opts = localhost().opts
    opts.min_version = "1.3"
    listener = manager.listen("tls://127.0.0.1:0", server, tls=opts)
    assert listener.local_addr is not None
    address = listener.local_addr[:2]
    old = client_context(version=ssl.TLSVersion.TLSv1_2)

    def refused() -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"), tls_client(address, old):
            pass

    with on_thread(refused):
        pump(manager, server.saw(MG_EV_CLOSE))
    assert "unsupported protocol" in server.data(MG_EV_ERROR)[0]


# -- amounts and many -------------------------------------------------------------------


def test_failed_handshakes_do_not_disturb_others(make_manager: Make) -> None:
    manager = make_manager()
    good = Ends(
        manager, server=Recorder(lambda c, ev, d: c.send(d) if ev == MG_EV_READ and d else 0)
    )
    good.shake()
    bad = [Ends(manager, client_opts=trusting(name="wrong.example")) for _ in range(5)]
    for i in range(20):
        good.conn.send(b"%d," % i)
        manager.poll(1)
    for ends in bad:
        assert "mismatch" in ends.refused()[0].lower()
    pump(manager, lambda: b"".join(good.client.data(MG_EV_READ)).endswith(b"19,"))
    assert not good.errors()


def test_a_peer_that_does_not_read_is_waited_for_with_bounded_memory(make_manager: Make) -> None:
    ends = Ends(make_manager(limits=Limits(send_backlog=1_000_000))).shake()
    ends.conn.pause()
    sent = 0
    with pytest.raises(RuntimeError, match="limit"):
        for _ in range(1000):
            ends.accepted.send(b"x" * 100_000)
            sent += 100_000
            ends.manager.poll(0)
    ends.conn.resume()
    pump(ends.manager, lambda: len(b"".join(ends.client.data(MG_EV_READ))) == sent)


def test_many_records_in_one_segment_are_all_delivered(make_manager: Make) -> None:
    """What OpenSSL has taken from the socket makes it readable no more."""

    def many(sock: ssl.SSLSocket) -> None:
        for i in range(300):
            sock.sendall(b"%04d" % i)
        sock.recv(1)

    manager, client = make_manager(), Recorder()
    with one_client(ended(many)) as (host, port):
        conn = manager.connect(f"tls://{host}:{port}", client, tls=trusting())
        pump(manager, lambda: len(b"".join(client.data(MG_EV_READ))) == 1200)
        conn.send(b"x")
        pump(manager, lambda: conn.id == 0)
    assert b"".join(client.data(MG_EV_READ)) == b"".join(b"%04d" % i for i in range(300))


def test_the_end_of_our_side_is_told_by_close_notify(make_manager: Make) -> None:
    def read(sock: Any) -> None:
        received.append(sock.recv(100))
        received.append(sock.recv(100))  # raises when the stream was cut off

    received: list[bytes] = []
    manager, client = make_manager(), Recorder()
    with one_client(ended(read)) as (host, port):
        conn = manager.connect(f"tls://{host}:{port}", client, tls=trusting())
        conn.send("bye")
        conn.drain()
        pump(manager, lambda: conn.id == 0)
    assert received == [b"bye", b""]
    assert not client.data(MG_EV_ERROR)


def test_connections_leave_nothing_behind(make_manager: Make) -> None:
    manager = make_manager()
    ends = Ends(manager).shake()
    listener = ends.listener
    for _ in range(30):
        conn = manager.connect(url_of(listener, "tls"), ends.client, tls=trusting())
        conn.close()
    ends.conn.close()
    pump(manager, lambda: len(manager.connections) == 1)
    assert manager.connections == (listener,)
