"""TLS through the API, both ends ours: how it begins, its events, and what it tells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable

import certificates
import pytest
from certificates import issue, localhost, root, stranger, trusting
from conftest import Recorder, dial, pump, receive_all, url_of
from dnsserver import PATIENT, StartServer, resolver
from tlskit import Ends, echo, options

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_TLS_HS,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    Handler,
    HttpMessage,
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


def test_both_ends_are_told_of_the_handshake_in_order(make_manager: Make) -> None:
    ends = Ends(make_manager(), server=Recorder(echo))
    ends.conn.send("hello")
    pump(ends.manager, ends.client.saw(MG_EV_READ))
    assert ends.client.data(MG_EV_READ) == [b"hello"]
    client = [name for name in ends.client.names() if name not in ("WRITE", "RESOLVE")]
    assert client == ["OPEN", "CONNECT", "TLS_HS", "READ"]
    server = [name for name in ends.server.names(ends.accepted) if name != "WRITE"]
    assert server == ["OPEN", "ACCEPT", "TLS_HS", "READ"]


def test_is_tls_is_true_from_the_start_for_urls_that_say_so(make_manager: Make) -> None:
    seen: list[tuple[int, bool]] = []
    watch = Recorder(lambda conn, ev, _: seen.append((ev, conn.is_tls)))
    ends = Ends(make_manager(), server=watch, client=watch, scheme="https").shake()
    assert ends.listener.is_tls
    assert all(is_tls for _, is_tls in seen)
    assert {MG_EV_OPEN, MG_EV_ACCEPT, MG_EV_CONNECT, MG_EV_TLS_HS} <= {ev for ev, _ in seen}
    assert not make_manager().listen("http://127.0.0.1:0").is_tls


def test_what_is_sent_before_the_handshake_waits_for_it(make_manager: Make) -> None:
    early = Recorder(lambda conn, ev, _: conn.send(b"2") if ev == MG_EV_CONNECT else None)
    greeting = Recorder(lambda conn, ev, _: conn.send(b"hi") if ev == MG_EV_ACCEPT else None)
    ends = Ends(make_manager(), client=early, server=greeting)
    ends.conn.send(b"1")
    pump(ends.manager, lambda: b"".join(ends.server.data(MG_EV_READ)) in (b"12", b"21"))
    pump(ends.manager, lambda: ends.client.data(MG_EV_READ) == [b"hi"])


def test_https_requests_are_answered_on_one_connection(make_manager: Make) -> None:
    class Server(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            assert conn.is_tls
            conn.reply(200, message.uri)

    client = Recorder()
    manager = make_manager()
    listener = manager.listen("https://127.0.0.1:0", Server(), tls=localhost().opts)
    conn = manager.connect(url_of(listener, "https"), client, tls=trusting())
    for i in range(3):
        conn.request("GET", f"/{i}")
        pump(manager, client.saw(MG_EV_HTTP_MSG, i + 1))
    assert [body for _, _, body in client.data(MG_EV_HTTP_MSG)] == [b"/0", b"/1", b"/2"]


def test_the_host_line_leaves_the_usual_port_out(make_manager: Make) -> None:
    manager = make_manager()
    conns = [
        manager.connect(url, tls=TlsOpts(skip_verification=True))
        for url in ("https://127.0.0.1", "https://127.0.0.1:80", "https://127.0.0.1:8443")
    ]
    for conn, host in zip(conns, (b"127.0.0.1", b"127.0.0.1:80", b"127.0.0.1:8443")):
        conn.request("GET")
        assert b"Host: " + host + b"\r\n" in conn.send_data()


@pytest.mark.parametrize("scheme", ["https", "tcp"])
def test_tls_init_in_accept_and_connect_starts_it(make_manager: Make, scheme: str) -> None:
    def start(opts: TlsOpts, when: int) -> Recorder:
        return Recorder(lambda conn, ev, _: conn.tls_init(opts) if ev == when else None)

    manager = make_manager()
    server, client = start(localhost().opts, MG_EV_ACCEPT), start(trusting(), MG_EV_CONNECT)
    listener = manager.listen(f"{scheme}://127.0.0.1:0", server)
    conn = manager.connect(url_of(listener, scheme), client)
    pump(manager, client.saw(MG_EV_TLS_HS))
    pump(manager, server.saw(MG_EV_TLS_HS))
    assert conn.is_tls
    assert server.conns(MG_EV_TLS_HS)[0].is_tls


def test_children_inherit_what_tls_init_gave_their_listener(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("tcp://127.0.0.1:0", server)
    listener.tls_init(localhost().opts)
    assert listener.is_tls
    assert listener.is_listening
    manager.connect(url_of(listener, "tls"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_TLS_HS))


def test_unusable_certificates_on_a_listener_are_logged_and_refuse_each_connection(
    make_manager: Make, caplog: pytest.LogCaptureFixture
) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server)
    with caplog.at_level(logging.WARNING, "mongoose_py"):
        listener.tls_init(TlsOpts(cert="-----BEGIN CERTIFICATE-----\nMII", key="no key"))
    assert listener.is_listening
    assert listener.is_tls
    assert "cert" in caplog.text
    manager.connect(url_of(listener, "https"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_CLOSE))
    assert "cert" in server.data(MG_EV_ERROR)[0]
    assert not client.data(MG_EV_TLS_HS)


@pytest.mark.parametrize("opts", [None, TlsOpts(), TlsOpts(skip_verification=True)])
def test_a_listener_without_certificate_refuses_and_says_what_is_missing(
    make_manager: Make, opts: TlsOpts | None
) -> None:
    manager, server = make_manager(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server)
    if opts is not None:
        listener.tls_init(opts)
    with dial(listener) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        pump(manager, server.saw(MG_EV_CLOSE))
        assert b"HTTP" not in receive_all(sock)
    assert "certificate" in server.data(MG_EV_ERROR)[0]
    assert not server.data(MG_EV_HTTP_MSG)


def test_plain_text_on_a_tls_port_is_never_answered(make_manager: Make) -> None:
    manager, server = make_manager(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server, tls=localhost().opts)
    with dial(listener) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        pump(manager, server.saw(MG_EV_CLOSE))
        assert b"HTTP" not in receive_all(sock)
    assert "http request" in server.data(MG_EV_ERROR)[0]


def test_a_client_verifies_against_the_systems_store_by_default(make_manager: Make) -> None:
    client, server = Ends(make_manager(), client_opts=TlsOpts()).refused()
    assert "certificate verify failed" in client
    assert "unable to get local issuer certificate" in client
    assert "unknown ca" in server


def test_a_tls_url_alone_is_enough_to_verify(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server, tls=localhost().opts)
    manager.connect(url_of(listener, "https"), client)
    pump(manager, client.saw(MG_EV_CLOSE))
    assert "certificate verify failed" in client.data(MG_EV_ERROR)[0]
    assert not client.data(MG_EV_TLS_HS)


def test_the_name_is_that_of_the_url_unless_given(make_manager: Make) -> None:
    opts = issue(root(), names=("DNS:a.example",)).opts
    Ends(make_manager(), opts, trusting(name="a.example")).shake()
    client, _ = Ends(make_manager(), opts, host="localhost").refused()
    assert "hostname mismatch" in client.lower()
    assert "localhost" in client


def test_a_host_that_is_looked_up_is_verified_by_its_name_at_whichever_address(
    make_manager: Make, name_server: StartServer
) -> None:
    addresses = ["::1", "127.0.0.1"]  # the listener is at the second one only
    asked = resolver(name_server({"a.example": addresses, "b.example": addresses}))
    opts = issue(root(), names=("DNS:a.example",)).opts
    manager = make_manager(resolver=asked, limits=PATIENT)
    ends = Ends(manager, opts, host="a.example")
    ends.conn.send("queued before it was looked up")
    ends.shake()
    pump(manager, ends.server.saw(MG_EV_READ))
    assert ends.server.data(MG_EV_READ) == [b"queued before it was looked up"]
    assert ends.client.names()[:4] == ["OPEN", "RESOLVE", "CONNECT", "TLS_HS"]
    client, _ = Ends(manager, opts, host="b.example").refused()
    assert "hostname mismatch" in client.lower()
    assert "b.example" in client


def test_skip_verification_takes_any_certificate_and_name(make_manager: Make) -> None:
    opts = issue(stranger(), cn="localhost", names=(), days=(-9, -1)).opts
    for more in ({}, {"name": "localhost"}, {"name": "b.example"}, {"ca": root().cert}):
        Ends(make_manager(), opts, TlsOpts(skip_verification=True, **more)).shake()  # type: ignore[arg-type]


def test_tls_info_tells_what_was_agreed_on(make_manager: Make) -> None:
    ends = Ends(make_manager(), options(localhost(), alpn=["a", "b"]), trusting(alpn=["b", "c"]))
    assert ends.conn.tls_info() is None
    ends.conn = ends.connect(trusting(alpn=["b", "c"], name="localhost"))
    ends.shake(2)
    for conn in (ends.conn, ends.accepted):
        info = conn.tls_info()
        assert info is not None
        assert (info.version, info.alpn, info.resumed) == ("TLSv1.3", "b", False)
        assert info.cipher.startswith("TLS_")
    assert ends.accepted.tls_info().server_name == "localhost"  # type: ignore[union-attr]
    assert ends.accepted.tls_info().peer_certificate is None  # type: ignore[union-attr]
    cert = ends.conn.tls_info().peer_certificate  # type: ignore[union-attr]
    assert cert is not None
    assert cert.der == localhost().der
    assert cert.subject == (("O", "Tests"), ("CN", "localhost"))
    assert cert.alt_names == (("DNS", "localhost"), ("IP", "127.0.0.1"), ("IP", "::1"))


def test_tls_info_is_none_without_tls_and_when_closed(make_manager: Make) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    assert listener.tls_info() is None
    ends = Ends(manager).shake()
    ends.conn.close()
    pump(manager, ends.client.saw(MG_EV_CLOSE))
    assert ends.conn.tls_info() is None


def test_websockets_run_over_tls(make_manager: Make) -> None:
    def answer(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.ws_upgrade(data)
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(data.data)

    got: list[bytes] = []

    def ask(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            conn.ws_send("x" * 200_000)
        elif ev == MG_EV_WS_MSG:
            got.append(data.data)

    manager = make_manager()
    listener = manager.listen("wss://127.0.0.1:0", answer, tls=localhost().opts)
    manager.ws_connect(url_of(listener, "wss"), ask, tls=trusting())
    pump(manager, lambda: got)
    assert got == [b"x" * 200_000]


def test_a_connection_can_change_to_tls_later(make_manager: Make) -> None:
    """As SMTP and XMPP do, and a client behind a proxy."""

    def serve(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_READ and data == b"STARTTLS\n":
            conn.send("ready\n")
            conn.tls_init(localhost().opts)
        elif ev == MG_EV_READ and data:
            conn.send(data)

    def ask(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CONNECT:
            conn.send("STARTTLS\n")
        elif ev == MG_EV_READ and data == b"ready\n":
            conn.tls_init(trusting())
            conn.send("secret")

    manager, client, server = make_manager(), Recorder(ask), Recorder(serve)
    listener = manager.listen("tcp://127.0.0.1:0", server)
    conn = manager.connect(url_of(listener), client)
    pump(manager, lambda: client.data(MG_EV_READ)[1:] == [b"secret"])
    assert conn.is_tls
    assert server.data(MG_EV_READ) == [b"STARTTLS\n", b"secret"]


def test_tls_runs_over_unix_sockets(make_manager: Make, tmp_path: Path) -> None:
    manager, client, server = make_manager(), Recorder(), Recorder(echo)
    url = f"unix://{tmp_path}/s"
    manager.listen(url, server, tls=localhost().opts)
    conn = manager.connect(url, client, tls=trusting(name="localhost"))
    conn.send("x")
    pump(manager, lambda: client.data(MG_EV_READ) == [b"x"])


@pytest.mark.parametrize("key", certificates.KEYS)
def test_servers_may_have_any_usual_kind_of_key(make_manager: Make, key: str) -> None:
    Ends(make_manager(), localhost(key).opts).shake()
