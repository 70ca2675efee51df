"""What TLS can be told: TlsOpts, and contexts of Python's ssl instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from certificates import issue, localhost, openssl, root, trusting
from conftest import Recorder, pump, url_of
from tlskit import Ends, client_context, echo, options, server_context, shown

from mongoose_py import (
    MG_EV_READ,
    Connection,
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


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


def test_without_a_protocol_in_common_there_is_none(make_manager: Make) -> None:
    ends = Ends(make_manager(), localhost().opts, trusting(alpn=["x"])).shake()
    assert ends.conn.tls_info().alpn is None  # type: ignore[union-attr]
    ends = Ends(make_manager(), options(localhost(), alpn=["x"])).shake()
    assert ends.conn.tls_info().alpn is None  # type: ignore[union-attr]


# -- contexts of Python's ssl -------------------------------------------------


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
