"""Which web pages may become a WebSocket: ``ws_upgrade(origins=)``."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from conftest import dial, pump
from hypothesis import example, given
from hypothesis import strategies as st
from wsecho import serving
from wsframes import Peer, handshake

from mongoose_py import MG_EV_CLOSE, MG_EV_WS_OPEN, Manager
from mongoose_py.websocket import checked_origins

Make = Callable[..., Manager]
OURS = ["https://example.com", "http://127.0.0.1:8000", "http://[::1]:80"]


def answered(make_manager: Make, origins: Any, *lines: str) -> int:
    """Return the status of the answer to a handshake with these header lines."""
    manager, listener, echo = serving(make_manager, upgrade={"origins": origins})
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake(*lines))
        head = peer.head()
        status = int(head.split()[1])
        if status != 101:
            assert "close" in head
            pump(manager, echo.saw(MG_EV_CLOSE))
        assert echo.upgraded == [status == 101]
        assert echo.saw(MG_EV_WS_OPEN)() == (status == 101)
    return status


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://example.com:443",
        "HTTPS://Example.COM",
        "http://127.0.0.1:8000",
        "http://[::1]",
        "http://[::1]:80",
    ],
)
def test_a_page_of_an_origin_that_was_named_gets_its_websocket(
    make_manager: Make, origin: str
) -> None:
    assert answered(make_manager, OURS, f"Origin: {origin}") == 101


@pytest.mark.parametrize(
    "origin",
    [
        "http://example.com",  # another scheme
        "https://example.com:8443",
        "https://www.example.com",
        "https://example.com.evil.example",
        "https://evil-example.com",
        "https://example.com.",
        "https://example.com/",
        "https://example.com https://evil.example",
        "https://me@example.com",
        "http://127.0.0.1",
        "http://127.0.0.1:08000",
        "http://127.0.0.1:99999",
        "null",
        "",
        "example.com",
        "https://ex\u00e4mple.com",
    ],
)
def test_a_page_of_any_other_is_answered_403(make_manager: Make, origin: str) -> None:
    assert answered(make_manager, OURS, f"Origin: {origin}") == 403


def test_two_origins_are_none(make_manager: Make) -> None:
    twice = "Origin: https://example.com\r\nOrigin: https://example.com"
    assert answered(make_manager, OURS, twice) == 403


def test_a_program_that_names_none_is_let_in_when_none_is_among_them(make_manager: Make) -> None:
    assert answered(make_manager, OURS) == 403
    assert answered(make_manager, []) == 403
    assert answered(make_manager, [*OURS, None]) == 101
    assert answered(make_manager, [None], "Origin: https://example.com") == 403


def test_without_origins_everybody_is_let_in(make_manager: Make) -> None:
    assert answered(make_manager, None, "Origin: https://evil.example") == 101
    assert answered(make_manager, None) == 101


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://gate:8000", "gate:8000", 101),
        ("https://GATE", "gate", 101),  # TLS may have been taken off by a proxy
        ("https://gate", "gate:443", 101),
        ("http://[::1]:8000", "[::1]:8000", 101),
        ("http://gate", "gate:8000", 403),
        ("http://evil.example:8000", "gate:8000", 403),
        ("null", "gate:8000", 403),
    ],
)
def test_pages_of_the_server_itself_are_let_in_as_the_same(
    make_manager: Make, origin: str, host: str, status: int
) -> None:
    assert answered(make_manager, ["same"], f"Origin: {origin}", f"Host: {host}") == status
    assert answered(make_manager, OURS, f"Origin: {origin}", f"Host: {host}") == 403


def test_beside_the_same_others_may_be_named(make_manager: Make) -> None:
    origins = ["same", None, "https://example.com"]
    assert answered(make_manager, origins) == 101
    assert answered(make_manager, origins, "Origin: https://example.com") == 101
    assert answered(make_manager, ["same"]) == 403
    assert answered(make_manager, ["same"], "Origin: https://example.com") == 403


def test_what_is_no_handshake_is_refused_as_such(make_manager: Make) -> None:
    lines = ["Origin: https://evil.example", "Sec-WebSocket-Version: 8"]
    assert answered(make_manager, OURS, *lines) == 426


@pytest.mark.parametrize(
    ("origins", "error"),
    [
        ("https://example.com", TypeError),
        ([b"https://example.com"], TypeError),
        (["https://example.com/"], ValueError),
        (["https://example.com/chat"], ValueError),
        (["example.com"], ValueError),
        (["null"], ValueError),
        (["*"], ValueError),
        (["http://a:65536"], ValueError),
        ([""], ValueError),
    ],
)
def test_what_is_no_origin_is_refused_at_once(
    make_manager: Make, origins: Any, error: type[Exception]
) -> None:
    raised: list[Exception] = []
    options = {"upgrade": {"origins": origins}, "error_handler": raised.append}
    manager, listener, _ = serving(make_manager, **options)
    with Peer(manager, dial(listener)) as peer:
        peer.send(handshake("Origin: https://example.com"))
        assert peer.head().split()[1] == "500"
    assert [type(exc) for exc in raised] == [error]


@given(
    st.sampled_from(["http", "https", "ws", "app+x"]),
    st.from_regex(r"[a-z0-9](?:[a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    st.none() | st.integers(0, 65535),
)
@example("http", "a", 80)
def test_origins_are_the_same_however_they_are_written(
    scheme: str, host: str, port: int | None
) -> None:
    usual = {"http": 80, "https": 443, "ws": 80}.get(scheme)
    written = f"{scheme}://{host}" + ("" if port is None else f":{port}")
    same = {written, written.upper(), written.title()}
    if port == usual or port is None:
        same |= {f"{scheme}://{host}"} | ({f"{scheme}://{host}:{usual}"} if usual else set())
    assert len(checked_origins(same)) == 1
    others = {f"{scheme}x://{host}", f"{scheme}://{host}x", f"{scheme}://{host}:{(port or 9) ^ 1}"}
    assert not checked_origins(same) & checked_origins(others)


@given(st.text(max_size=40))
@example("http://a\n")
@example("http://\u212a")  # the Kelvin sign, whose lower case is k
def test_any_text_is_an_origin_or_a_value_error(text: str) -> None:
    try:
        (same,) = checked_origins([text])
    except ValueError:
        return
    if same == "same":
        return
    assert isinstance(same, str)
    assert checked_origins([same.rstrip(":")]) == {same}
    assert text.isascii()
