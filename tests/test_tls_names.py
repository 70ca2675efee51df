"""TLS with certificates of clients, and servers of many names."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from certificates import client, issue, localhost, root, stranger, trusting
from tlskit import Ends, options

from mongoose_py import (
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


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


# -- server names -------------------------------------------------------------


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
