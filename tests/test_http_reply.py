"""What ``reply()`` and ``send()`` answer a request with, and how often they may.

RFC 9110 and 9112.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Callable

import pytest
from conftest import Recorder, dial, exchange, pump, turns
from httptalk import GET, Talk, on_request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_HTTP_MSG,
    MG_EV_WAKEUP,
    Connection,
    Error,
    HttpMessage,
    Manager,
)

MakeManager = Callable[..., Manager]


# -- what reply sends ----------------------------------------------------------


def test_an_answer_has_status_date_type_and_length(talk: Talk) -> None:
    status, headers, body = talk(lambda conn, message: conn.reply(200, "hé\0llo"))
    assert status == 200
    assert body == "hé\0llo".encode()
    assert headers["Content-Type"] == "text/plain"
    assert headers["Content-Length"] == str(len(body))
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["Date"])


def test_the_date_can_be_switched_off(make_manager: MakeManager) -> None:
    _, headers, _ = Talk(make_manager(send_date=False))(lambda conn, m: conn.reply(200))
    assert "Date" not in headers


@pytest.mark.parametrize("body", [b"bytes", "text", bytearray(b"ba"), memoryview(b"mv"), b"", ""])
def test_any_kind_of_text_or_bytes_is_a_body(talk: Talk, body: Any) -> None:
    _, _, got = talk(lambda conn, message: conn.reply(200, body))
    assert got == (body.encode() if isinstance(body, str) else bytes(body))


@pytest.mark.parametrize("body", [5, None, 1.5, [1], {}])
def test_other_bodies_are_a_type_error_and_nothing_is_sent(talk: Talk, body: Any) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(TypeError, match="body must be str or a bytes-like object"):
            conn.reply(200, body)
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


def test_a_body_of_eight_megabytes_arrives_whole(talk: Talk) -> None:
    data = bytes(range(256)) * 32768
    assert talk(lambda conn, message: conn.reply(200, data))[2] == data


@pytest.mark.parametrize("status", [200, 201, 299, 404, 499, 599, 999])
def test_every_three_digit_status_can_be_sent(talk: Talk, status: int) -> None:
    got, _, body = talk(lambda conn, message: conn.reply(status, "body"))
    assert (got, body) == (status, b"body")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (-1, ValueError),
        (0, ValueError),
        (99, ValueError),
        (1000, ValueError),
        (99999, ValueError),
        (2**31, OverflowError),
        ("200", TypeError),
        (None, TypeError),
        (200.5, TypeError),
    ],
)
def test_what_is_no_status_is_refused(talk: Talk, status: Any, error: type[Exception]) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(error):
            conn.reply(status, "x")
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_neither_type_nor_length_nor_body(talk: Talk, status: int) -> None:
    got, headers, body = talk(lambda conn, message: conn.reply(status, "ignored"))
    assert (got, body) == (status, b"")
    assert "Content-Type" not in headers
    assert "Content-Length" not in headers


def test_the_answer_to_head_has_the_length_but_no_body(talk: Talk) -> None:
    request = GET.replace(b"GET", b"HEAD")
    _, headers, body = talk(lambda conn, message: conn.reply(200, "12345"), request)
    assert (headers["Content-Length"], body) == ("5", b"")


def test_a_content_length_of_the_caller_is_sent_once_and_must_be_true(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(ValueError, match="Content-Length must be the body's, 5"):
            conn.reply(200, "12345", {"content-length": 99})
        conn.reply(200, "12345", {"content-length": 5})

    _, headers, body = talk(answer)
    lengths = [value for name, value in headers.items() if name.lower() == "content-length"]
    assert (lengths, body) == (["5"], b"12345")


def test_the_answer_to_head_may_tell_the_length_of_a_body_nobody_made(talk: Talk) -> None:
    request = GET.replace(b"GET", b"HEAD")
    _, headers, body = talk(lambda conn, m: conn.reply(200, b"", {"Content-Length": 99}), request)
    assert (headers["Content-Length"], body) == ("99", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer-Encoding": "gzip"},
        {"Transfer-Encoding": "chunked", "Content-Length": 1},
        {"Content-Length": "one"},
    ],
)
def test_framing_that_cannot_be_is_refused(talk: Talk, headers: dict[str, object]) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(ValueError, match="reply: Transfer-Encoding must be chunked"):
            conn.reply(200, "x", headers)
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


# -- headers -------------------------------------------------------------------


def test_headers_are_sent_as_given_and_values_are_converted(talk: Talk) -> None:
    headers = {"X-Text": "a %s b", "X-Int": 5, "X-Blank": "", "X-Float": 1.5, "X-UTF": "é"}
    _, got, _ = talk(lambda conn, message: conn.reply(200, "x", headers))
    assert {k: v for k, v in got.items() if k.startswith("X-")} == {
        k: str(v) for k, v in headers.items()
    }
    assert got["Content-Type"] == "text/plain"


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_a_content_type_of_the_caller_is_the_only_one(talk: Talk, name: str) -> None:
    _, headers, _ = talk(lambda conn, message: conn.reply(200, "x", {name: "text/html"}))
    types = [v for k, v in headers.items() if k.lower() == "content-type"]
    assert types == ["text/html"]


def test_pairs_may_repeat_a_name(make_manager: MakeManager) -> None:
    seen = on_request(
        lambda conn, m: conn.reply(200, "x", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    )
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        wire = exchange(manager, client, GET, b"x")
    assert wire.index(b"Set-Cookie: a=1\r\n") < wire.index(b"Set-Cookie: b=2\r\n")


def test_one_line_break_at_the_end_of_a_value_is_taken_off(talk: Talk) -> None:
    _, headers, _ = talk(lambda conn, message: conn.reply(200, "x", {"X-Old": "value\r\n"}))
    assert headers["X-Old"] == "value"


BAD_NAMES = ["", "a b", "a:b", "é", "a\r\nb", "a\n", "\0", "a\r", "(x)", " a"]
BAD_VALUES = ["a\r\nEvil: x", "a\nb", "a\rb", "a\0b", "\n", "a\r\n\r\n", "a\x7f", "\x01"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("method", ["reply", "reply_json"])
def test_a_header_name_that_is_no_token_is_refused_and_nothing_is_sent(
    talk: Talk, name: str, method: str
) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        args = (200, "x") if method == "reply" else ({}, 200)
        with pytest.raises(ValueError, match=r"Header name .* illegal character"):
            getattr(conn, method)(*args, headers={name: "v"})
        assert conn.send_len == 0
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("method", ["reply", "reply_json"])
def test_a_header_value_that_could_end_its_line_is_refused_and_nothing_is_sent(
    talk: Talk, value: str, method: str
) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        args = (200, "x") if method == "reply" else ({}, 200)
        with pytest.raises(ValueError, match=r"Header value .* illegal character"):
            getattr(conn, method)(*args, headers={"X": value})
        assert conn.send_len == 0
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


@pytest.mark.parametrize(
    "headers",
    [{1: "x"}, {b"X": "y"}, {"X": None}, {"X": b"y"}, "X: y", b"X: y", 5, [("X", None)]],
)
def test_headers_of_the_wrong_type_are_a_type_error(talk: Talk, headers: Any) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(TypeError):
            conn.reply(200, "x", headers)
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


@settings(max_examples=100)
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=4))
@example({"X": "\x85"})
@example({"X": "\u2028"})
def test_no_header_can_break_the_answer(headers: dict[str, str]) -> None:
    """Whatever is accepted arrives as exactly those lines, and the body behind them."""
    with Manager() as manager:
        talk = Talk(manager)

        def answer(conn: Connection, message: HttpMessage) -> None:
            try:
                conn.reply(200, "body", [(f"X{name}", value) for name, value in headers.items()])
            except (ValueError, UnicodeEncodeError):
                conn.reply(200, "refused")

        with dial(talk.listener) as client:
            talk.seen.answer = lambda conn, ev, data: ev == MG_EV_HTTP_MSG and answer(conn, data)
            wire = exchange(manager, client, GET, b"")
            pump(manager, talk.seen.saw(MG_EV_HTTP_MSG))
            turns(manager)
            wire += client.recv(65536)
    head, _, body = wire.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert body in (b"body", b"refused")
    extra = len(headers) if body == b"body" else 0
    assert len(lines) == 4 + extra
    assert not any(b"\n" in line or b"\r" in line for line in lines)


def test_headers_on_a_listener_are_checked_before_anything_else(make_manager: MakeManager) -> None:
    listener = make_manager().listen("http://127.0.0.1:0")
    with pytest.raises(ValueError, match="Header value"):
        listener.reply(200, "x", {"X": "a\nb"})
    listener.reply(200, "x", {"X": "a"})
    listener.reply(200, "x")
    assert listener.is_listening
    assert listener.send_len == 0


def test_headers_are_checked_before_the_closed_state() -> None:
    with pytest.raises(ValueError, match="Header name"):
        Connection().reply(200, "x", {"": "a"})


def test_headers_may_be_any_mapping(talk: Talk) -> None:
    class OneHeader(Mapping[str, object]):
        def __getitem__(self, name: str) -> object:
            return 7

        def __iter__(self) -> Any:
            return iter(["X-Seven"])

        def __len__(self) -> int:
            return 1

    assert talk(lambda conn, message: conn.reply(200, "x", OneHeader()))[1]["X-Seven"] == "7"


# -- JSON ----------------------------------------------------------------------


@pytest.mark.parametrize("data", [{}, [], "text", 5, None, True, {"a": [1, {"b": "é"}]}])
def test_json_arrives_as_it_was(talk: Talk, data: Any) -> None:
    status, headers, body = talk(lambda conn, message: conn.reply_json(data))
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == data


def test_json_takes_status_and_headers_and_leaves_them_alone(talk: Talk) -> None:
    extra = {"X-A": "1", "content-type": "text/plain"}
    status, headers, _ = talk(lambda conn, m: conn.reply_json([], status_code=201, headers=extra))
    assert status == 201
    assert headers["X-A"] == "1"
    types = [v for k, v in headers.items() if k.lower() == "content-type"]
    assert types == ["application/json"]
    assert extra == {"X-A": "1", "content-type": "text/plain"}


@pytest.mark.parametrize(
    ("data", "error"),
    [(object(), TypeError), ({1, 2}, TypeError), (math.nan, ValueError), (math.inf, ValueError)],
)
def test_what_json_has_no_form_for_is_refused_and_nothing_is_sent(
    talk: Talk, data: Any, error: type[Exception]
) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(error):
            conn.reply_json(data)
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


# -- one answer per request ----------------------------------------------------


def test_a_second_answer_to_one_request_is_an_error(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "first")
        for again in (
            lambda: conn.reply(200, "second"),
            lambda: conn.reply_json({}),
            lambda: conn.send(b"HTTP/1.1 200 OK\r\n\r\n"),
        ):
            with pytest.raises(Error, match="answered already"):
                again()

    assert talk(answer)[2] == b"first"


def test_an_answer_before_any_request_is_an_error(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")):
        pump(manager, seen.saw(MG_EV_ACCEPT))
        (conn,) = seen.conns(MG_EV_ACCEPT)
        with pytest.raises(Error, match="no request awaits an answer"):
            conn.reply(200, "early")


def test_an_answer_may_come_later_from_any_event(make_manager: MakeManager) -> None:
    waiting: list[Connection] = []
    seen = Recorder(
        lambda conn, ev, data: (
            waiting.append(conn)
            if ev == MG_EV_HTTP_MSG
            else ev == MG_EV_WAKEUP and conn.reply(200, data)
        )
    )
    manager = make_manager(seen, enable_wakeup=True)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(GET)
        pump(manager, lambda: waiting)
        turns(manager)
        manager.wakeup(waiting[0].id, b"later")
        assert exchange(manager, client, b"", b"later").startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order(make_manager: MakeManager) -> None:
    seen = on_request(lambda conn, m: conn.reply(200, m.uri.encode() + b"=" + m.body_bytes + b";"))
    manager = make_manager(seen)
    wire = b""
    for n in range(20):
        body = b"b%d" % n
        wire += b"GET /g%d HTTP/1.1\r\nHost: h\r\n\r\n" % n
        wire += (
            b"POST /p%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (n, len(body)) + body
        )
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        answers = exchange(manager, client, wire, b"/p19=b19;")
    got = re.findall(rb"/[gp]\d+=\w*;", answers)
    assert got == [t for n in range(20) for t in (b"/g%d=;" % n, b"/p%d=b%d;" % (n, n))]


def test_the_next_request_waits_for_the_answer_to_the_one_before(
    make_manager: MakeManager,
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(GET + GET)
        pump(manager, seen.saw(MG_EV_HTTP_MSG))
        turns(manager, 5)
        assert len(seen.data(MG_EV_HTTP_MSG)) == 1
        (conn,) = seen.conns(MG_EV_HTTP_MSG)
        conn.reply(200, "one")
        pump(manager, seen.saw(MG_EV_HTTP_MSG, 2))


# -- answers by hand -----------------------------------------------------------


def test_an_answer_made_with_send_keeps_the_connection_alive(make_manager: MakeManager) -> None:
    seen = on_request(
        lambda conn, m: conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nraw!")
    )
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        for _ in range(3):
            assert exchange(manager, client, GET, b"raw!")
    assert len(seen.data(MG_EV_HTTP_MSG)) == 3


def test_more_than_the_announced_length_is_an_error(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        conn.send(b"raw")
        with pytest.raises(Error, match="more body than the Content-Length"):
            conn.send(b"too much")
        conn.send(b"!")

    assert talk(answer)[2] == b"raw!"


def test_without_a_length_the_body_ends_with_the_connection(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.send("HTTP/1.1 200 OK\r\n\r\n")
        conn.send("a")
        conn.http_chunk("b")
        conn.http_sse("name", "c")

    assert talk(answer)[2] == b"abevent: name\ndata: c\n\n"
