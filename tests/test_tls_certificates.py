"""Which certificates our client takes: those that OpenSSL's own client takes, no others."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple

import certificates
import pytest
from certificates import LOCAL, Pair, intermediate, issue, localhost, root, stranger
from conftest import DEADLINE, Recorder, pump
from tlskit import on_thread, server_context

from mongoose_py import MG_EV_CLOSE, MG_EV_ERROR, MG_EV_TLS_HS, Manager, TlsOpts

pytestmark = pytest.mark.usefixtures("engine")


class Case(NamedTuple):
    """A server's certificate, and what a client that asks for *host* says to it."""

    make: Callable[[], Pair]
    error: str  # in our client's error, any case; "": accepted
    host: str = "localhost"
    stricter: bool = False  # than OpenSSL's own client, as browsers are


def below_a_leaf() -> Pair:
    """Return a certificate that one without the right to sign has signed."""
    leaf = localhost()
    return issue(leaf).bundle(leaf)


def expired_issuer() -> Pair:
    old = issue(root(), cn="Old Intermediate", names=(), ca=True, days=(-9, -1))
    return issue(old).bundle(old)


CASES = {
    "good": Case(localhost, ""),
    "good, for an address": Case(localhost, "", "127.0.0.1"),
    "good, for an IPv6 address": Case(localhost, "", "::1"),
    "good, RSA": Case(lambda: localhost("rsa"), ""),
    "good, P-384": Case(lambda: localhost("p384"), ""),
    "good, in capitals": Case(localhost, "", "LOCALHOST"),
    "with its chain": Case(lambda: issue(intermediate()).bundle(intermediate()), ""),
    "chain in the wrong order, and more of it": Case(
        lambda: issue(intermediate()).bundle(root(), intermediate()), ""
    ),
    "wildcard": Case(lambda: issue(root(), names=("DNS:*.a.example",)), "", "x.a.example"),
    "common name only": Case(lambda: issue(root(), cn="localhost", names=()), ""),
    "for servers": Case(lambda: issue(root(), usage="serverAuth"), ""),
    "expired": Case(lambda: issue(root(), days=(-9, -1)), "certificate has expired"),
    "not yet valid": Case(lambda: issue(root(), days=(1, 9)), "certificate is not yet valid"),
    "wrong host": Case(lambda: issue(root(), names=("DNS:a.example",)), "hostname mismatch"),
    "wrong host, right common name": Case(
        lambda: issue(root(), cn="localhost", names=("DNS:a.example",)), "hostname mismatch"
    ),
    "name where an address is wanted": Case(
        lambda: issue(root(), names=("DNS:127.0.0.1",)), "ip address mismatch", "127.0.0.1"
    ),
    "address in the common name only": Case(
        lambda: issue(root(), cn="127.0.0.1", names=()), "ip address mismatch", "127.0.0.1"
    ),
    "address where a name is wanted": Case(
        lambda: issue(root(), names=("IP:127.0.0.1",), cn="x"), "hostname mismatch"
    ),
    "another address": Case(
        lambda: issue(root(), names=("IP:127.0.0.2",)), "ip address mismatch", "127.0.0.1"
    ),
    "mail address of that name": Case(
        lambda: issue(root(), names=("email:x@localhost",), cn="x"), "hostname mismatch"
    ),
    "common name only, another one": Case(
        lambda: issue(root(), cn="other", names=()), "hostname mismatch"
    ),
    "wildcard over two labels": Case(
        lambda: issue(root(), names=("DNS:*.example",)), "hostname mismatch", "x.a.example"
    ),
    "wildcard in the second label": Case(
        lambda: issue(root(), names=("DNS:x.*.example",)), "hostname mismatch", "x.a.example"
    ),
    "wildcard in a part of a label": Case(
        lambda: issue(root(), names=("DNS:x*.a.example",)),
        "hostname mismatch",
        "xy.a.example",
        stricter=True,
    ),
    "wildcard for nothing": Case(
        lambda: issue(root(), names=("DNS:*.a.example",)), "hostname mismatch", "a.example"
    ),
    "wildcard alone": Case(lambda: issue(root(), names=("DNS:*",), cn="x"), "hostname mismatch"),
    "self-signed": Case(issue, "self-signed certificate"),
    "self-signed authority": Case(lambda: issue(ca=True), "self-signed certificate"),
    "unknown authority": Case(
        lambda: issue(stranger()), "unable to get local issuer certificate"
    ),
    "unknown authority, in the chain": Case(
        lambda: issue(stranger()).bundle(stranger()), "self-signed certificate in certificate chain"
    ),
    "authority of the same name": Case(
        lambda: issue(issue(cn="Tests Root", names=(), ca=True)), "unable to"
    ),
    "missing intermediate": Case(lambda: issue(intermediate()), "unable to"),
    "signed by what may not sign": Case(below_a_leaf, "invalid ca certificate"),
    "expired intermediate": Case(expired_issuer, "certificate has expired"),
    "for clients": Case(
        lambda: issue(root(), usage="clientAuth"), "unsuitable certificate purpose"
    ),
}  # fmt: skip


@contextmanager
def serving(pair: Pair) -> Iterator[int]:
    """Serve one client with the certificate of *pair* on a thread; give the port."""
    context = server_context(pair)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)

        def work() -> None:
            plain, _ = listener.accept()
            plain.settimeout(DEADLINE)
            try:
                with context.wrap_socket(plain, server_side=True) as sock:
                    sock.recv(1)
            except OSError:  # refused by the client; or it left without a word
                plain.close()

        with on_thread(work):
            yield listener.getsockname()[1]


def our_verdict(port: int, host: str, manager: Manager) -> str:
    """Return our client's error, "" when it took the certificate."""
    client = Recorder()
    opts = TlsOpts(ca=root().cert, name=host)
    conn = manager.connect(f"tls://127.0.0.1:{port}", client, tls=opts)
    pump(manager, lambda: client.saw(MG_EV_TLS_HS)() or client.saw(MG_EV_CLOSE)())
    conn.close()
    pump(manager, lambda: conn.id == 0)
    assert bool(client.data(MG_EV_TLS_HS)) != bool(client.data(MG_EV_ERROR))
    return "".join(client.data(MG_EV_ERROR))


def openssls_verdict(port: int, host: str) -> bool:
    """Return whether OpenSSL's own client takes the certificate."""
    check = "-verify_ip" if re.fullmatch(r"[0-9.]+|.*:.*", host) else "-verify_hostname"
    command = [str(certificates.OPENSSL), "s_client", "-connect", f"127.0.0.1:{port}"]
    command += ["-CAfile", str(root().cert), "-no-CApath", "-verify_return_error", check, host]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=DEADLINE)
    return done.returncode == 0


@pytest.mark.parametrize("name", CASES)
def test_certificates_are_judged_as_by_openssls_own_client(
    name: str, make_manager: Callable[..., Manager]
) -> None:
    make, error, host, stricter = CASES[name]
    pair = make()
    with serving(pair) as port:
        assert openssls_verdict(port, host) == (stricter or not error)
    with serving(pair) as port:
        verdict = (
            our_verdict(port, host, make_manager()).lower().replace("self signed", "self-signed")
        )
    assert verdict == "" if not error else error in verdict
    if "mismatch" in error:
        assert host.lower() in verdict


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].error])
def test_skipping_verification_takes_all_of_them(
    name: str, make_manager: Callable[..., Manager]
) -> None:
    case, client, manager = CASES[name], Recorder(), make_manager()
    opts = TlsOpts(ca=root().cert, name=case.host, skip_verification=True)
    with serving(case.make()) as port:
        conn = manager.connect(f"tls://127.0.0.1:{port}", client, tls=opts)
        pump(manager, lambda: client.saw(MG_EV_TLS_HS)() or client.saw(MG_EV_CLOSE)())
        conn.close()
        pump(manager, lambda: conn.id == 0)
    assert not client.data(MG_EV_ERROR)


def test_only_the_given_authorities_are_trusted(make_manager: Callable[..., Manager]) -> None:
    """And not those of the system beside them."""
    opts: dict[str, Any] = {"ca": stranger().cert, "name": "localhost"}
    client, manager = Recorder(), make_manager()
    with serving(localhost()) as port:
        conn = manager.connect(f"tls://127.0.0.1:{port}", client, tls=TlsOpts(**opts))
        pump(manager, lambda: conn.id == 0)
    assert "unable to get local issuer certificate" in client.data(MG_EV_ERROR)[0]


def test_several_authorities_may_be_given(make_manager: Callable[..., Manager]) -> None:
    both = stranger().cert.read_bytes() + root().cert.read_bytes()
    for issuer in (stranger(), root()):
        client, manager = Recorder(), make_manager()
        with serving(issue(issuer, names=LOCAL)) as port:
            conn = manager.connect(f"tls://127.0.0.1:{port}", client, tls=TlsOpts(ca=both))
            pump(manager, client.saw(MG_EV_TLS_HS))
            conn.close()
            pump(manager, lambda conn=conn: conn.id == 0)
