"""TLS: which versions, ciphers and groups are spoken, and who chooses among them."""

from __future__ import annotations

import ssl
from typing import Any, Callable

import pytest
from certificates import localhost
from conftest import running
from tlskit import Ends, client_context, options, tls_client

from mongoose_py import Connection, Handler, Manager

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]
NO_FORWARD_SECRECY = ("AES128-SHA", "AES128-GCM-SHA256", "AES256-SHA256")
CBC = ("ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384")
AES_128, AES_256 = "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"
CHACHA = "ECDHE-RSA-CHACHA20-POLY1305"


class Quiet(Handler):
    """Accepts who comes; those who are refused see that themselves."""

    def on_error(self, conn: Connection, message: str) -> None:
        pass


def agreed(
    make_manager: Make,
    offered: str = "",
    *,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    curve: str = "",
    **opts: Any,
) -> str:
    """Return the cipher that a server with an RSA key takes of those that are *offered*.

    Raises:
        ssl.SSLError: If it takes none, or not the *curve*, the only one there is.
    """
    context = client_context(version=version)
    if offered:
        context.set_ciphers(offered)
    if curve:
        context.set_ecdh_curve(curve)
    manager = make_manager(Quiet())
    listener = manager.listen("tls://127.0.0.1:0", tls=options(localhost("rsa"), **opts))
    host, port, _ = listener.local_addr
    with running(manager), tls_client((host, port), context) as sock:
        cipher = sock.cipher()
        assert cipher is not None
        return cipher[0]


@pytest.mark.parametrize("name", [*NO_FORWARD_SECRECY, *CBC])
def test_a_server_refuses_ciphers_without_forward_secrecy_and_those_of_block_chaining(
    make_manager: Make, name: str
) -> None:
    with pytest.raises(ssl.SSLError):
        agreed(make_manager, name)


@pytest.mark.parametrize("name", [*NO_FORWARD_SECRECY, *CBC])
def test_who_asks_for_them_has_them(make_manager: Make, name: str) -> None:
    assert agreed(make_manager, name, ciphers=name) == name


@pytest.mark.parametrize("name", [AES_128, AES_256, CHACHA])
def test_a_server_takes_each_cipher_that_is_good(make_manager: Make, name: str) -> None:
    assert agreed(make_manager, name) == name


def test_the_server_chooses_among_ciphers_and_takes_the_cheapest(make_manager: Make) -> None:
    assert agreed(make_manager, f"{AES_256}:{CHACHA}:{AES_128}") == AES_128


def test_ciphers_of_a_server_are_in_the_order_of_its_choice(make_manager: Make) -> None:
    chosen = f"{AES_256}:{AES_128}"
    assert agreed(make_manager, f"{AES_128}:{AES_256}", ciphers=chosen) == AES_256


def test_a_client_without_instructions_for_aes_gets_chacha(make_manager: Make, engine: str) -> None:
    got = agreed(make_manager, f"{CHACHA}:{AES_256}:{AES_128}")
    assert got == (CHACHA if engine == "openssl" else AES_128)


def test_a_server_of_tls_1_3_takes_the_cheapest_cipher_too(make_manager: Make, engine: str) -> None:
    got = agreed(make_manager, version=ssl.TLSVersion.TLSv1_3)
    # Python's ssl cannot choose them; what it has is OpenSSL's order.
    assert got == f"TLS_AES_{'128_GCM_SHA256' if engine == 'openssl' else '256_GCM_SHA384'}"


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1"])
def test_a_server_takes_the_usual_curves(make_manager: Make, curve: str) -> None:
    assert agreed(make_manager, AES_128, curve=curve) == AES_128


def test_a_server_refuses_the_curve_that_costs_most(make_manager: Make, engine: str) -> None:
    if engine == "ssl":
        pytest.skip("Python's ssl cannot choose among them")
    with pytest.raises(ssl.SSLError):
        agreed(make_manager, curve="secp521r1")


def test_versions_below_the_least_are_refused(make_manager: Make) -> None:
    ends = Ends(make_manager(), options(localhost(), min_version="1.3")).shake()
    assert ends.conn.tls_info().version == "TLSv1.3"  # type: ignore[union-attr]


def test_a_cipher_can_be_chosen(make_manager: Make) -> None:
    chosen = "ECDHE-ECDSA-CHACHA20-POLY1305"
    ends = Ends(make_manager(), options(localhost(), ciphers=chosen))
    ends.shake()
    info = ends.conn.tls_info()
    assert info is not None
    assert info.version == "TLSv1.3" or info.cipher == chosen
