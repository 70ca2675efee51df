"""TLS through the API, both ends ours: events, options, what is refused and why."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any, Callable

import certificates
import pytest
from certificates import client, intermediate, issue, localhost, openssl, root, stranger, trusting
from conftest import Recorder, dial, pump, receive_all, turns, udp_socket, url_of
from dnsserver import PATIENT, StartServer, resolver
from tlskit import Ends, Relay, client_context, options, server_context, single_bytes

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
    ConnectionClosed,
    Error,
    Handler,
    HttpMessage,
    Limits,
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


def echo(conn: Connection, ev: int, data: Any) -> None:
    if ev == MG_EV_READ and data:
        conn.send(data)


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


# -- options ------------------------------------------------------------------


def test_options_keep_texts_as_bytes_and_nothing_as_no_bytes() -> None:
    opts = TlsOpts("é", bytearray(b"b"), memoryview(b"c"), "d", True)
    assert (opts.ca, opts.cert, opts.key, opts.name) == ("é".encode(), b"b", b"c", b"d")
    assert opts.skip_verification
    opts.ca = opts.cert = opts.key = opts.name = None
    assert (opts.ca, opts.cert, opts.key, opts.name) == (b"", b"", b"", b"")
    empty = TlsOpts()
    assert (empty.ca, empty.name, empty.skip_verification) == (b"", b"", False)
    empty.key = Path("x.pem")
    assert empty.key == Path("x.pem")


def test_options_never_show_secrets() -> None:
    opts = TlsOpts(cert=Path("c.pem"), key="SECRET", password="SECRET", name="a.example")
    assert repr(opts) == "TlsOpts(cert='c.pem', key=..., name=a.example, password=...)"


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        ({"ca": 5}, TypeError, "ca must be"),
        ({"name": Path("x")}, TypeError, "name must be"),
        ({"min_version": "1.1"}, ValueError, "min_version must be '1.2' or '1.3', not '1.1'"),
        ({"client_auth": "yes"}, ValueError, "client_auth must be .* not 'yes'"),
        ({"ciphers": "a\nb"}, ValueError, "ciphers must be"),
        ({"ciphers": 5}, TypeError, "ciphers must be str"),
        ({"alpn": [""]}, ValueError, "1 to 255 bytes"),
        ({"alpn": ["x" * 256]}, ValueError, "1 to 255 bytes"),
        ({"alpn": [b"x"]}, TypeError, "alpn must be texts"),
        ({"sni": 5}, TypeError, "sni must be"),
    ],
)
def test_wrong_options_are_refused_at_once(
    wrong: dict[str, Any], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        TlsOpts(**wrong)


@pytest.mark.parametrize("wrong", [5, "x", b"x", Path("x"), TlsOpts])
def test_tls_takes_options_only(make_manager: Make, wrong: Any) -> None:
    manager = make_manager()
    with pytest.raises(TypeError, match="tls must be"):
        manager.listen("tls://127.0.0.1:0", tls=wrong)
    with pytest.raises(TypeError, match="tls must be"):
        manager.connect("tls://127.0.0.1:1", tls=wrong)
    with pytest.raises(TypeError, match="tls must be"):
        manager.listen("tls://127.0.0.1:0").tls_init(wrong)
    with pytest.raises(TypeError, match="tls must be"):
        manager.listen("tls://127.0.0.1:0").tls_init(None)  # type: ignore[arg-type]


def test_certificates_that_cannot_be_used_are_refused_at_once(
    make_manager: Make, tmp_path: Path
) -> None:
    manager = make_manager()
    good, other = localhost(), localhost("rsa")
    text = good.cert.read_text()
    wrong = [
        TlsOpts(cert="nonsense"),
        TlsOpts(cert=str(good.cert), key=good.key),  # a path has to be a Path
        TlsOpts(cert=text[: len(text) // 2], key=good.key),
        TlsOpts(cert=good.cert),  # there is no key in it
        TlsOpts(cert=good.cert, key="-----BEGIN PRIVATE KEY-----\nAAAA\n"),
        TlsOpts(cert=good.cert, key=other.key),
        TlsOpts(cert=b"\x30\x82\xff\xff", key=good.key),
        TlsOpts(cert=good.cert, key=good.key, ca="nonsense"),
        TlsOpts(cert=good.cert, key=good.key, ciphers="NO-SUCH-CIPHER"),
    ]
    for opts in wrong:
        with pytest.raises(ValueError, match="tls"):
            manager.listen("tls://127.0.0.1:0", tls=opts)
    with pytest.raises(FileNotFoundError):
        manager.listen("tls://127.0.0.1:0", tls=TlsOpts(cert=tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="tls"):
        manager.connect("tls://127.0.0.1:1", tls=TlsOpts(ca="nonsense"))
    assert manager.connections == ()


def test_certificates_may_be_pem_or_der_and_files_or_texts(make_manager: Make) -> None:
    good = localhost()
    key_der = openssl("pkey", "-in", good.key, "-outform", "DER")
    ec_der = openssl("ec", "-in", good.key, "-outform", "DER")
    rsa = localhost("rsa")
    rsa_der = openssl("rsa", "-in", rsa.key, "-outform", "DER", "-traditional")
    both = good.cert.read_bytes() + good.key.read_bytes()
    variants = [
        TlsOpts(cert=good.cert.read_text(), key=good.key.read_text()),
        TlsOpts(cert=good.cert.read_bytes(), key=good.key.read_bytes()),
        TlsOpts(cert=good.der, key=key_der),
        TlsOpts(cert=good.der, key=ec_der),
        TlsOpts(cert=rsa.der, key=rsa_der),
        TlsOpts(cert=both),
        TlsOpts(cert=both, key=both),
    ]
    for server in variants:
        for ca in (root().cert, root().cert.read_text(), root().der):
            Ends(make_manager(), server, TlsOpts(ca=ca)).shake()


def test_an_encrypted_key_needs_its_password(make_manager: Make) -> None:
    good = localhost()
    key = openssl("pkey", "-in", good.key, "-aes256", "-passout", "pass:sesame")
    Ends(make_manager(), TlsOpts(cert=good.cert, key=key, password="sesame")).shake()
    for password in (None, "wrong", b""):
        with pytest.raises(ValueError, match="key"):
            make_manager().listen(
                "tls://127.0.0.1:0", tls=TlsOpts(cert=good.cert, key=key, password=password)
            )


def test_versions_below_the_least_are_refused(make_manager: Make) -> None:
    ends = Ends(make_manager(), options(localhost(), min_version="1.3")).shake()
    assert ends.conn.tls_info().version == "TLSv1.3"  # type: ignore[union-attr]


def test_without_a_protocol_in_common_there_is_none(make_manager: Make) -> None:
    ends = Ends(make_manager(), localhost().opts, trusting(alpn=["x"])).shake()
    assert ends.conn.tls_info().alpn is None  # type: ignore[union-attr]
    ends = Ends(make_manager(), options(localhost(), alpn=["x"])).shake()
    assert ends.conn.tls_info().alpn is None  # type: ignore[union-attr]


def test_a_cipher_can_be_chosen(make_manager: Make) -> None:
    chosen = "ECDHE-ECDSA-CHACHA20-POLY1305"
    ends = Ends(make_manager(), options(localhost(), ciphers=chosen))
    ends.shake()
    info = ends.conn.tls_info()
    assert info is not None
    assert info.version == "TLSv1.3" or info.cipher == chosen


# -- contexts of Python's ssl ---------------------------------------------------


def test_an_ssl_context_can_be_given_instead_of_options(make_manager: Make) -> None:
    server, client = server_context(), client_context()
    server.set_alpn_protocols(["a"])
    client.set_alpn_protocols(["b", "a"])
    client.check_hostname = False
    for pair in ((server, client), (server, trusting(alpn=["a"])), (None, client)):
        ends = Ends(make_manager(), *pair, server=Recorder(echo)).shake()
        info = ends.conn.tls_info()
        assert info is not None
        assert (info.version, info.resumed) == ("TLSv1.3", False)
        assert info.alpn == ("a" if pair[0] else None)
        assert shown(ends.conn) == localhost().der
        ends.conn.send(b"x" * 300_000)
        pump(ends.manager, lambda: sum(map(len, ends.client.data(MG_EV_READ))) == 300_000)  # noqa: B023


def test_an_ssl_context_verifies_the_name_of_the_url(make_manager: Make) -> None:
    ends = Ends(make_manager(), issue(root(), names=("DNS:a",)).opts, client_context())
    assert "mismatch" in ends.refused()[0].lower()


def test_an_ssl_context_can_be_given_to_tls_init_and_tls_reload(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("tls://127.0.0.1:0", server)
    listener.tls_init(server_context())
    assert shown_to(manager, listener, client) == localhost().der
    listener.tls_reload(server_context(localhost("rsa")))
    assert shown_to(manager, listener, client) == localhost("rsa").der
    listener.tls_reload(localhost().opts)
    assert shown_to(manager, listener, client) == localhost().der


def shown_to(manager: Manager, listener: Connection, client: Recorder) -> bytes:
    conn = manager.connect(url_of(listener, "tls"), client, tls=trusting(resumption=False))
    pump(manager, lambda: conn.tls_info())
    return shown(conn)


def test_an_ssl_context_for_the_other_end_is_refused(make_manager: Make) -> None:
    with pytest.raises(ValueError, match="for clients cannot be used for a server"):
        make_manager().listen("tls://127.0.0.1:0", tls=client_context())
    with pytest.raises(ValueError, match="for servers cannot be used for a client"):
        make_manager().connect("tls://127.0.0.1:1", tls=server_context())


# -- certificates of clients ----------------------------------------------------


def test_a_server_with_ca_wants_a_certificate_of_each_client(make_manager: Make) -> None:
    server = options(localhost(), ca=root().cert)
    pair = client()
    ends = Ends(make_manager(), server, trusting(cert=pair.cert, key=pair.key)).shake()
    shown = ends.accepted.tls_info().peer_certificate  # type: ignore[union-attr]
    assert shown is not None
    assert shown.der == pair.der
    ends = Ends(make_manager(), server)
    told_client, told_server = ends.refused()
    assert "did not return a certificate" in told_server
    assert "certificate required" in told_client or "handshake failure" in told_client


def test_a_client_with_a_strangers_certificate_is_refused(make_manager: Make) -> None:
    pair = issue(stranger(), usage="clientAuth")
    opts = trusting(cert=pair.cert, key=pair.key)
    _, server = Ends(make_manager(), options(localhost(), ca=root().cert), opts).refused()
    assert "unable to get local issuer certificate" in server


def test_a_certificate_may_be_optional(make_manager: Make) -> None:
    server = options(localhost(), ca=root().cert, client_auth="optional")
    ends = Ends(make_manager(), server).shake()
    assert ends.accepted.tls_info().peer_certificate is None  # type: ignore[union-attr]
    pair = client()
    ends = Ends(make_manager(), server, trusting(cert=pair.cert, key=pair.key)).shake()
    assert ends.accepted.tls_info().peer_certificate.der == pair.der  # type: ignore[union-attr]
    bad = issue(stranger())
    Ends(make_manager(), server, trusting(cert=bad.cert, key=bad.key)).refused()


def test_a_server_that_asks_for_none_gets_none(make_manager: Make) -> None:
    pair = client()
    server = options(localhost(), ca=root().cert, client_auth="none")
    ends = Ends(make_manager(), server, trusting(cert=pair.cert, key=pair.key)).shake()
    assert ends.accepted.tls_info().peer_certificate is None  # type: ignore[union-attr]


# -- server names -----------------------------------------------------------------


def names_served(make_manager: Make, server: TlsOpts, names: list[str]) -> list[str]:
    served = []
    for name in names:
        ends = Ends(make_manager(), server, TlsOpts(name=name, skip_verification=True)).shake()
        info = ends.conn.tls_info()
        assert info is not None
        assert info.peer_certificate is not None
        served.append(dict(info.peer_certificate.subject)["CN"])
        assert ends.accepted.tls_info().server_name == name  # type: ignore[union-attr]
    return served


def test_sni_chooses_the_certificate(make_manager: Make) -> None:
    a, b = issue(root(), cn="a.example"), issue(root(), cn="b.example")
    server = options(localhost(), sni={"A.example": a.opts, "*.b.example": b.opts})
    names = ["a.example", "x.b.example", "y.x.b.example", "b.example", "c.example"]
    served = names_served(make_manager, server, names)
    assert served == ["a.example", "b.example", "localhost", "localhost", "localhost"]


def test_sni_may_be_a_function(make_manager: Make) -> None:
    asked: list[str] = []

    def choose(name: str) -> TlsOpts | None:
        asked.append(name)
        return issue(root(), cn=name).opts if name.startswith("a") else None

    server = options(localhost(), sni=choose)
    served = names_served(make_manager, server, ["a.example", "b.example", "a2.example"])
    assert served == ["a.example", "localhost", "a2.example"]
    assert asked == ["a.example", "b.example", "a2.example"]


@pytest.mark.parametrize("wrong", [1 / 3, TlsOpts(cert="nonsense")])
def test_a_function_of_sni_that_fails_refuses_the_client(make_manager: Make, wrong: Any) -> None:
    raised: list[Exception] = []
    manager = make_manager(on_exception=lambda exc, conn, ev: raised.append(exc))
    server = options(localhost(), sni=lambda name: wrong)
    client, _ = Ends(manager, server, trusting(name="localhost")).refused()
    assert "internal error" in client or "unrecognized name" in client  # the alert
    assert len(raised) == 1
    assert isinstance(raised[0], (TypeError, ValueError))


@pytest.mark.parametrize("name", ["", "a b", "\x00", "x" * 300])
def test_names_of_sni_that_no_client_can_ask_for_are_refused(make_manager: Make, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make_manager().listen(
            "tls://127.0.0.1:0", tls=options(localhost(), sni={name: localhost().opts})
        )


# -- changes while it runs ------------------------------------------------------------


def shown(conn: Connection) -> bytes:
    info = conn.tls_info()
    assert info is not None
    assert info.peer_certificate is not None
    return info.peer_certificate.der


def test_certificates_are_changed_without_dropping_a_connection(make_manager: Make) -> None:
    first, second = localhost(), localhost("rsa")
    ends = Ends(make_manager(), first.opts, server=Recorder(echo)).shake()
    before = ends.conn
    ends.listener.tls_reload(second.opts)
    after = ends.connect()
    ends.shake(2)
    assert (shown(before), shown(after)) == (first.der, second.der)
    before.send("still here")
    pump(ends.manager, lambda: ends.client.data(MG_EV_READ) == [b"still here"])


def test_reload_reads_the_files_again(make_manager: Make, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(pair: certificates.Pair) -> None:
        cert.write_bytes(pair.cert.read_bytes())
        key.write_bytes(pair.key.read_bytes())

    write(localhost())
    ends = Ends(make_manager(), TlsOpts(cert=cert, key=key)).shake()
    assert shown(ends.conn) == localhost().der
    write(localhost("rsa"))
    ends.listener.tls_reload()
    ends.conn = ends.connect()
    ends.shake(2)
    assert shown(ends.conn) == localhost("rsa").der
    key.write_text("half a key")
    with pytest.raises(ValueError, match="key"):
        ends.listener.tls_reload()
    ends.conn = ends.connect()
    ends.shake(3)
    assert shown(ends.conn) == localhost("rsa").der


def test_reload_is_for_listeners_with_options(make_manager: Make) -> None:
    ends = Ends(make_manager()).shake()
    with pytest.raises(Error, match="not a listener"):
        ends.conn.tls_reload()
    with pytest.raises(Error, match="no TLS options"):
        ends.manager.listen("https://127.0.0.1:0").tls_reload()


def test_what_is_not_possible_any_more_raises(make_manager: Make) -> None:
    ends = Ends(make_manager()).shake()
    with pytest.raises(Error, match="has begun"):
        ends.conn.tls_init(trusting())
    ends.conn.close()
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    for call in (
        lambda: ends.conn.tls_init(trusting()),
        lambda: ends.conn.tls_free(),
        lambda: ends.conn.tls_reload(),
    ):
        with pytest.raises(ConnectionClosed):
            call()


def test_tls_is_not_for_datagrams(make_manager: Make) -> None:
    with pytest.raises(ValueError, match="udp"):
        make_manager().listen("udp://127.0.0.1:0", tls=localhost().opts)
    with pytest.raises(Error, match="TCP"):
        make_manager().listen("udp://127.0.0.1:0").tls_init(localhost().opts)
    with udp_socket() as sock, pytest.raises(ValueError, match="udp"):
        make_manager().connect(f"udp://127.0.0.1:{sock.getsockname()[1]}", tls=trusting())


def test_tls_free_undoes_tls_init_before_the_handshake(make_manager: Make) -> None:
    manager, server = make_manager(), Recorder(echo)
    listener = manager.listen("tcp://127.0.0.1:0", server)
    for _ in range(2):
        listener.tls_init(localhost().opts)
        assert listener.is_tls
        listener.tls_free()
        assert not listener.is_tls
    with dial(listener) as sock:
        sock.sendall(b"plain")
        pump(manager, server.saw(MG_EV_READ))
    assert server.data(MG_EV_READ) == [b"plain"]


def test_tls_init_in_a_row_uses_the_last(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server)
    for opts in (localhost("rsa").opts, TlsOpts(), localhost().opts):
        listener.tls_init(opts)
    conn = manager.connect(url_of(listener, "https"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_TLS_HS))
    assert shown(conn) == localhost().der


# -- sessions -----------------------------------------------------------------------------


@pytest.mark.parametrize("resumption", [True, False])
def test_a_second_connection_takes_up_the_first_ones_session(
    make_manager: Make, resumption: bool
) -> None:
    opts = trusting(resumption=resumption)
    ends = Ends(make_manager(), client_opts=opts, server=Recorder(echo)).shake()
    assert not ends.conn.tls_info().resumed  # type: ignore[union-attr]
    for i in range(1, 3):
        ends.conn.send("x")  # its answer comes behind the session ticket
        pump(ends.manager, ends.client.saw(MG_EV_READ, i))
        ends.conn = ends.connect(opts)
        ends.shake(i + 1)
        assert ends.conn.tls_info().resumed == resumption  # type: ignore[union-attr]
        assert ends.accepted.tls_info().resumed == resumption  # type: ignore[union-attr]
        assert shown(ends.conn) == localhost().der


def test_a_server_can_do_without_sessions(make_manager: Make) -> None:
    ends = Ends(make_manager(), options(localhost(), resumption=False), server=Recorder(echo))
    ends.shake()
    ends.conn.send("x")
    pump(ends.manager, ends.client.saw(MG_EV_READ))
    ends.conn = ends.connect()
    ends.shake(2)
    assert not ends.conn.tls_info().resumed  # type: ignore[union-attr]


# -- handlers that interfere ----------------------------------------------------------------


@pytest.mark.parametrize("when", [MG_EV_ACCEPT, MG_EV_TLS_HS, MG_EV_READ])
@pytest.mark.parametrize("how", ["close", "drain", "error"])
def test_a_handler_may_end_its_connection_at_any_time(
    make_manager: Make, when: int, how: str
) -> None:
    def end(conn: Connection, ev: int, data: Any) -> None:
        if ev == when:
            conn.error("enough") if how == "error" else getattr(conn, how)()

    ends = Ends(make_manager(), server=Recorder(end))
    ends.conn.send("x")
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    pump(ends.manager, ends.server.saw(MG_EV_CLOSE))
    assert ends.server.names(ends.server.conns(MG_EV_CLOSE)[0])[-1] == "CLOSE"


@pytest.mark.parametrize("when", [MG_EV_CONNECT, MG_EV_TLS_HS])
def test_a_client_may_be_closed_at_any_time(make_manager: Make, when: int) -> None:
    ends = Ends(
        make_manager(), client=Recorder(lambda conn, ev, _: conn.close() if ev == when else None)
    )
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    pump(ends.manager, lambda: ends.server.saw(MG_EV_CLOSE)() or not ends.server.conns(MG_EV_OPEN))
    assert not ends.client.data(MG_EV_ERROR)


def test_a_handler_that_raises_behind_the_handshake_is_reported_and_ends_it(
    make_manager: Make,
) -> None:
    raised: list[tuple[Exception, int | None]] = []

    def fail(conn: Connection, ev: int, _: Any) -> None:
        if ev == MG_EV_TLS_HS:
            raise KeyError("x")

    manager = make_manager(on_exception=lambda exc, conn, ev: raised.append((exc, ev)))
    ends = Ends(manager, client=Recorder(fail), server=Recorder(echo))
    pump(manager, lambda: ends.conn.id == 0)
    assert ends.client.names()[-2:] == ["ERROR", "CLOSE"]
    assert [(type(exc), ev) for exc, ev in raised] == [(KeyError, MG_EV_TLS_HS)]


def test_an_error_that_nobody_takes_is_logged(
    make_manager: Make, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager()
    listener = manager.listen("https://127.0.0.1:0", tls=localhost().opts)
    conn = manager.connect(url_of(listener, "https"))
    with caplog.at_level(logging.WARNING, "mongoose_py"):
        pump(manager, lambda: conn.id == 0)
        turns(manager)
    assert "certificate verify failed" in caplog.text


# -- amounts and time -------------------------------------------------------------------------


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
            if shaken["client"] + at_a_time <= count:
                connect()

        def on_error(self, conn: Connection, message: str) -> None:
            errors.append(message)

    manager, client = make_manager(), End("client")
    listener = manager.listen("tls://127.0.0.1:0", End("server"), tls=localhost().opts)
    full, resumed = trusting(resumption=False), trusting()

    def connect() -> None:
        opts = resumed if shaken["client"] % 2 else full
        manager.connect(url_of(listener, "tls"), client, tls=opts)

    for _ in range(at_a_time):
        connect()
    while len(manager.connections) > 1 and not errors:
        manager.poll(1000)
    assert not errors
    assert shaken == {"client": count, "server": count}
