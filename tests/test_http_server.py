"""The HTTP server as a handler uses it: answers, streams, bodies, limits.

RFC 9110 and 9112. What any input does is tested in test_http_properties.py.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest
import requests
from conftest import DEADLINE, Recorder, dial, exchange, pump, receive_all, turns
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_WAKEUP,
    Connection,
    ConnectionClosed,
    Error,
    Handler,
    HttpMessage,
    Limits,
    Manager,
)

MakeManager = Callable[..., Manager]
Serve = Callable[..., str]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def on_request(answer: Callable[[Connection, HttpMessage], object]) -> Recorder:
    """Return a handler that calls *answer* with each request."""
    return Recorder(lambda conn, ev, data: ev == MG_EV_HTTP_MSG and answer(conn, data))


class Talk:
    """One manager with a listener, and plain sockets that talk to it."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.seen = Recorder()
        self.listener = manager.listen("http://127.0.0.1:0", self.seen)

    def __call__(
        self,
        answer: Callable[[Connection, HttpMessage], object],
        request: bytes = GET,
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and all bytes of the body until the server closes."""
        self.seen.answer = lambda conn, ev, data: (
            ev == MG_EV_HTTP_MSG
            and (
                answer(conn, data),
                conn.drain(),
            )
        )
        with dial(self.listener) as client:
            client.sendall(request)
            wire = self.until_closed(client)
        head, _, body = wire.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body

    def until_closed(self, client: socket.socket) -> bytes:
        """Poll and read until the server has ended the stream."""
        client.setblocking(False)
        wire = bytearray()

        def ended() -> bool:
            try:
                piece = client.recv(65536)
            except BlockingIOError:
                return False
            wire.extend(piece)
            return not piece

        pump(self.manager, ended, ms=2)
        return bytes(wire)


@pytest.fixture
def talk(make_manager: MakeManager) -> Talk:
    return Talk(make_manager())


# -- real clients ----------------------------------------------------------------------


def test_urllib_gets_an_answer_and_the_server_sees_the_events(serve: Serve) -> None:
    seen = on_request(lambda conn, message: conn.reply(200, f"you asked for {message.uri}"))
    url = serve(seen)
    with urllib.request.urlopen(f"{url}/path?x=1", timeout=DEADLINE) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.read() == b"you asked for /path"
    assert {"ACCEPT", "HTTP_HDRS", "HTTP_MSG"} <= {*seen.names()}


def test_requests_keeps_its_connection_alive(serve: Serve) -> None:
    seen = on_request(lambda conn, message: conn.reply_json({"n": message.query_var("n")}))
    url = serve(seen)
    with requests.Session() as session:
        for n in range(20):
            answer = session.get(url, params={"n": n}, timeout=DEADLINE)
            assert answer.json() == {"n": str(n)}
    assert len(seen.data(MG_EV_ACCEPT)) == 1


def test_parallel_requests_are_not_mixed_up(serve: Serve) -> None:
    url = serve(
        on_request(lambda conn, m: conn.reply(200, f"{m.method} {m.uri} ".encode() + m.body_bytes))
    )
    wrong: list[str] = []

    def client(name: int) -> None:
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE)) as conn:
            for n in range(30):
                body = f"body {name} {n}"
                conn.request("POST", f"/{name}/{n}", body)
                if (got := conn.getresponse().read().decode()) != f"POST /{name}/{n} {body}":
                    wrong.append(got)

    threads = [threading.Thread(target=client, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_short_connections_are_all_served(serve: Serve) -> None:
    url = serve(on_request(lambda conn, message: conn.reply(200, "ok")))
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None
    assert port is not None
    for _ in range(300):
        with socket.create_connection((host, port), DEADLINE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert receive_all(client).endswith(b"ok")


# -- what reply sends ------------------------------------------------------------------


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


# -- headers ---------------------------------------------------------------------------


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


# -- JSON ------------------------------------------------------------------------------


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


# -- one answer per request ------------------------------------------------------------


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


# -- answers by hand -------------------------------------------------------------------


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


# -- chunked and event streams ---------------------------------------------------------


def dechunk(body: bytes) -> bytes:
    """Return what a chunked body says; fail if it is not complete."""
    data = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        n = int(size, 16)
        assert body[n : n + 2] == b"\r\n"
        if n == 0:
            assert body == b"\r\n"
            return data
        data += body[:n]
        body = body[n + 2 :]


HEADS: dict[str, Callable[[Connection], object]] = {
    "reply": lambda c: c.reply(200, "", headers={"Transfer-Encoding": "chunked"}),
    "send": lambda c: c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("how", HEADS)
def test_a_chunked_answer_is_valid_however_it_was_begun(how: str, talk: Talk) -> None:
    pieces = ["text", b"bytes", "é", b"\0\r\n", "x" * 10_000]

    def answer(conn: Connection, message: HttpMessage) -> None:
        HEADS[how](conn)
        for piece in pieces:
            conn.http_chunk(piece)
        conn.http_chunk(b"")

    _, headers, body = talk(answer)
    assert headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in headers
    assert dechunk(body) == b"".join(p.encode() if isinstance(p, str) else p for p in pieces)


def test_a_body_given_with_the_head_is_the_first_chunk(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "first ", {"transfer-encoding": "chunked"})
        conn.http_chunk("second")
        conn.http_chunk("")

    assert dechunk(talk(answer)[2]) == b"first second"


def test_a_real_client_reads_a_chunked_answer_and_asks_again(serve: Serve) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        HEADS["reply"](conn)
        conn.http_chunk(message.uri)
        conn.http_chunk(b"")

    url = serve(on_request(answer))
    with requests.Session() as session:
        for n in range(5):
            assert session.get(f"{url}/{n}", timeout=DEADLINE).text == f"/{n}"


def test_a_chunk_without_a_beginning_is_an_error(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(Error, match="no body was begun"):
            conn.http_chunk("early")
        HEADS["reply"](conn)
        conn.http_chunk("")
        with pytest.raises(Error, match="no body was begun"):
            conn.http_chunk("late")

    assert dechunk(talk(answer)[2]) == b""


def events_of(stream: bytes) -> list[tuple[str, str]]:
    """Read an event stream as the HTML standard says: (type, data) of each event."""
    events = []
    for block in stream.decode().split("\n\n")[:-1]:
        name, data = "", []
        for line in block.split("\n"):
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            else:
                assert field == "data"
                data.append(value)
        events.append((name, "\n".join(data)))
    return events


@pytest.mark.parametrize("how", ["reply", "send"])
def test_an_event_stream_is_chunked_and_stays_open(how: str, talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        if how == "reply":
            conn.reply(200, "", {"Content-Type": "text/event-stream"})
        else:
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
            )
        conn.http_sse("greeting", "hé")
        conn.http_sse("", "no name")
        conn.http_sse("lines", "l1\nl2\r\nl3\rl4\n")
        conn.http_sse("empty", "")
        conn.http_sse("long", b"x" * 10_000)
        conn.http_chunk(b"")

    _, headers, body = talk(answer)
    assert headers["Content-Type"] == "text/event-stream"
    assert "Content-Length" not in headers
    assert events_of(dechunk(body)) == [
        ("greeting", "hé"),
        ("", "no name"),
        ("lines", "l1\nl2\nl3\nl4\n"),
        ("empty", ""),
        ("long", "x" * 10_000),
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\n", "a\r\ndata: evil"])
def test_an_event_name_with_a_line_break_is_refused(talk: Talk, name: str) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "", {"Content-Type": "text/event-stream"})
        with pytest.raises(ValueError, match="event_type must be one line"):
            conn.http_sse(name, "data")
        conn.http_chunk("")

    assert dechunk(talk(answer)[2]) == b""


def test_a_stream_reaches_the_client_piece_by_piece(serve: Serve, make_manager: Any) -> None:
    streams: list[Connection] = []
    started = threading.Event()

    def answer(conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "", {"Content-Type": "text/event-stream"})
        streams.append(conn)
        started.set()

    url = serve(on_request(answer))
    with requests.get(url, stream=True, timeout=DEADLINE) as answered:
        assert started.wait(DEADLINE)
        lines = answered.iter_lines()
        for n in range(3):
            streams[0].http_sse("tick", str(n))
            assert [next(lines), next(lines), next(lines)] == [b"event: tick", b"data: %d" % n, b""]


# -- bodies that come in ---------------------------------------------------------------


def test_headers_come_once_and_before_the_whole_message(make_manager: MakeManager) -> None:
    seen = on_request(lambda conn, message: conn.reply(200, "ok"))
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n")
        pump(manager, seen.saw(MG_EV_HTTP_HDRS))
        assert seen.data(MG_EV_HTTP_HDRS) == [("POST", "/", b"")]
        for _ in range(5):
            client.sendall(b"0123456789")
            turns(manager)
        pump(manager, seen.saw(MG_EV_HTTP_MSG))
    assert len(seen.data(MG_EV_HTTP_HDRS)) == 1
    assert seen.data(MG_EV_HTTP_MSG) == [("POST", "/", b"0123456789" * 5)]


def test_in_headers_the_body_is_what_has_arrived(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\npart")
        pump(manager, seen.saw(MG_EV_HTTP_HDRS))
    assert seen.data(MG_EV_HTTP_HDRS) == [("POST", "/", b"part")]


def test_an_upload_that_is_cut_off_is_no_message(make_manager: MakeManager) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        pump(manager, seen.saw(MG_EV_HTTP_HDRS))
    pump(manager, seen.saw(MG_EV_CLOSE))
    assert seen.data(MG_EV_HTTP_MSG) == []


def test_a_client_that_expects_100_is_told_to_go_on(make_manager: MakeManager) -> None:
    seen = on_request(lambda conn, message: conn.reply(200, message.body_bytes))
    manager = make_manager(seen)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        assert exchange(manager, client, head, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert exchange(manager, client, b"body", b"body").startswith(b"HTTP/1.1 200 OK\r\n")


class Upload(Handler):
    """Streams bodies and answers with what it counted."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.log: list[str] = []

    def on_http_headers(self, conn: Connection, message: HttpMessage) -> None:
        conn.stream_body()

    def on_read(self, conn: Connection, data: Any) -> None:
        if data is not None:
            self.pieces.append(data)

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        assert message.body_bytes == b""
        self.log.append("message")
        conn.reply(200, str(sum(map(len, self.pieces))))

    def on_error(self, conn: Connection, message: str) -> None:
        self.log.append("error")

    def on_close(self, conn: Connection) -> None:
        self.log.append("close")


def chunked(data: bytes, size: int) -> Iterable[bytes]:
    return (data[n : n + size] for n in range(0, len(data), size))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_streamed_body_comes_in_pieces_beyond_any_buffer(
    framing: str, make_manager: MakeManager, serve: Serve
) -> None:
    handler = Upload()
    url = serve(handler, limits=Limits(recv_buffer=20_000))
    data = bytes(range(256)) * 8000
    body: Any = data if framing == "length" else chunked(data, 30_000)
    answer = requests.post(url, data=body, timeout=DEADLINE)
    assert answer.text == str(len(data))
    assert b"".join(handler.pieces) == data
    assert len(handler.pieces) > 1
    assert handler.log[0] == "message"


def test_a_streamed_body_that_is_cut_off_is_an_error_and_no_message(
    make_manager: MakeManager,
) -> None:
    handler = Upload()
    manager = make_manager(handler)
    with dial(manager.listen("http://127.0.0.1:0", handler)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        pump(manager, lambda: handler.pieces)
    pump(manager, lambda: "close" in handler.log)
    assert handler.log == ["error", "close"]
    assert b"".join(handler.pieces) == b"half"


def test_a_body_can_be_streamed_only_while_its_head_is_handled(talk: Talk) -> None:
    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(Error, match="only while MG_EV_HTTP_HDRS"):
            conn.stream_body()
        conn.reply(200, "fine")

    assert talk(answer)[2] == b"fine"


def test_a_paused_upload_waits_and_goes_on(make_manager: MakeManager) -> None:
    handler = Upload()
    manager = make_manager(handler)
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf")
        pump(manager, lambda: handler.pieces)
        conn = manager.connections[0]
        conn.pause()
        client.sendall(b"half")
        turns(manager, 5)
        assert handler.pieces == [b"half"]
        conn.resume()
        pump(manager, lambda: handler.log)
    assert handler.pieces == [b"half", b"half"]


# -- keeping alive or not --------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "foo, Close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
    ],
)
def test_persistence_follows_version_and_connection_header(
    version: str, connection: str, stays: bool, make_manager: MakeManager
) -> None:
    seen = on_request(lambda conn, message: conn.reply(200, "ok"))
    manager = make_manager(seen)
    line = f"Connection: {connection}\r\n" if connection else ""
    with dial(manager.listen("http://127.0.0.1:0")) as client:
        request = f"GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n".encode()
        answer = exchange(manager, client, request, b"ok")
        (conn,) = seen.conns(MG_EV_HTTP_MSG)
        turns(manager)
        assert bool(conn.id) is stays
        if stays:
            exchange(manager, client, GET, b"ok")
        else:
            assert client.recv(1) == b""
            assert b"Connection: close\r\n" in answer
    assert (b"Connection: keep-alive\r\n" in answer) is (version == "1.0" and stays)


def test_draining_after_a_reply_delivers_it_complete(talk: Talk) -> None:
    assert talk(lambda conn, message: conn.reply(200, "x" * 300_000))[2] == b"x" * 300_000


# -- refusing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", 413),
    ],
)
def test_what_is_no_proper_request_is_refused_and_the_server_goes_on(
    request_bytes: bytes, status: int, make_manager: MakeManager
) -> None:
    talk = Talk(make_manager())
    with dial(talk.listener) as client:
        client.sendall(request_bytes)
        answer = talk.until_closed(client)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"onnection: close\r\n" in answer
    assert talk.seen.data(MG_EV_HTTP_MSG) == []
    assert talk.seen.data(MG_EV_ERROR) == []
    assert talk(lambda conn, message: conn.reply(200, "fine"))[2] == b"fine"


def test_the_limit_of_a_message_can_be_raised(make_manager: MakeManager) -> None:
    talk = Talk(make_manager(limits=Limits(recv_buffer=5_000_000)))
    data = bytes(4_000_000)
    talk.seen.answer = lambda conn, ev, m: (
        ev == MG_EV_HTTP_MSG and conn.reply(200, str(len(m.body_bytes)))
    )
    with dial(talk.listener) as client:
        sender = threading.Thread(
            target=client.sendall,
            args=(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n" + data,),
        )
        sender.start()
        pump(talk.manager, talk.seen.saw(MG_EV_HTTP_MSG))
        sender.join()
        turns(talk.manager)
        assert client.recv(65536).endswith(b"4000000")


def test_a_head_that_never_ends_is_given_up(make_manager: MakeManager) -> None:
    talk = Talk(make_manager(limits=Limits(header_timeout=0.05)))
    with dial(talk.listener) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost")
        answer = talk.until_closed(client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_after_a_while(make_manager: MakeManager) -> None:
    talk = Talk(make_manager(limits=Limits(keepalive_timeout=0.05)))
    talk.seen.answer = lambda conn, ev, data: ev == MG_EV_HTTP_MSG and conn.reply(200, "ok")
    with dial(talk.listener) as client:
        exchange(talk.manager, client, GET, b"ok")
        assert talk.until_closed(client) == b""
    assert "ERROR" not in talk.seen.names()


def test_a_slow_body_is_given_up(make_manager: MakeManager) -> None:
    talk = Talk(make_manager(limits=Limits(body_timeout=0.05)))
    with dial(talk.listener) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        answer = talk.until_closed(client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    assert talk.seen.data(MG_EV_HTTP_MSG) == []


def test_a_slow_handler_has_all_the_time_it_needs(make_manager: MakeManager) -> None:
    limits = Limits(header_timeout=0.03, body_timeout=0.03, keepalive_timeout=0.03)
    talk = Talk(make_manager(limits=limits))
    with dial(talk.listener) as client:
        client.sendall(GET)
        pump(talk.manager, talk.seen.saw(MG_EV_HTTP_MSG))
        late: list[int] = []
        talk.manager.timer_add(150, lambda: late.append(1))
        pump(talk.manager, lambda: late)
        (conn,) = talk.seen.conns(MG_EV_HTTP_MSG)
        conn.reply(200, "late")
        assert exchange(talk.manager, client, b"", b"late")


# -- HTTP or not -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "http", "speaks"),
    [
        ("http", None, True),
        ("HTTP", None, True),
        ("ws", None, True),
        ("tcp", None, False),
        ("mqtt", None, False),
        ("tcp", True, True),
        ("http", False, False),
    ],
)
def test_http_is_spoken_when_the_scheme_or_the_caller_says_so(
    scheme: str, http: Any, speaks: bool, make_manager: MakeManager
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    with dial(manager.listen(f"{scheme}://127.0.0.1:0", http=http)) as client:
        client.sendall(GET)
        pump(manager, lambda: {"HTTP_MSG", "READ"} & {*seen.names()})
    assert ("HTTP_MSG" in seen.names()) is speaks
    assert "ACCEPT" in seen.names()


def test_http_listen_speaks_http_whatever_the_scheme(make_manager: MakeManager) -> None:
    seen = on_request(lambda conn, message: conn.reply(200, "ok"))
    manager = make_manager()
    with dial(manager.http_listen("tcp://127.0.0.1:0", seen)) as client:
        assert exchange(manager, client, GET, b"ok")


def test_reply_on_a_raw_connection_is_just_the_bytes(make_manager: MakeManager) -> None:
    manager = make_manager(lambda conn, ev, data: ev == MG_EV_READ and conn.reply(200, "raw"))
    with dial(manager.listen("tcp://127.0.0.1:0")) as client:
        for _ in range(2):
            assert exchange(manager, client, b"x", b"raw").startswith(b"HTTP/1.1 200 OK\r\n")


# -- authentication --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("foo", "bar", b"Zm9vOmJhcg=="),
        ("user", "", b"dXNlcjo="),
        ("", "", b"Og=="),
        ("é", "p:w", b"w6k6cDp3"),
    ],
)
def test_basic_auth_queues_a_header_line(
    user: str, password: str, code: bytes, make_manager: MakeManager
) -> None:
    manager = make_manager(Recorder())
    listener = manager.listen("tcp://127.0.0.1:0")
    assert listener.local_addr is not None
    conn = manager.connect(f"tcp://127.0.0.1:{listener.local_addr[1]}")
    manager.poll(50)
    conn.http_basic_auth(user, password)
    assert conn.send_data() == b"Authorization: Basic " + code + b"\r\n"


@pytest.mark.parametrize(("user", "password"), [("a\0", "b"), ("a", "\0")])
def test_basic_auth_refuses_nul(user: str, password: str, make_manager: MakeManager) -> None:
    conn = make_manager().connect("tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="NUL"):
        conn.http_basic_auth(user, password)


# -- back pressure ---------------------------------------------------------------------


def test_a_reply_beyond_the_send_backlog_is_an_error(talk: Talk, make_manager: Any) -> None:
    small = Talk(make_manager(limits=Limits(send_backlog=10_000)))

    def answer(conn: Connection, message: HttpMessage) -> None:
        with pytest.raises(Error, match="limit"):
            conn.reply(200, "x" * 20_000)
        conn.reply(500, "too much")

    assert small(answer)[0] == 500


def test_a_client_that_does_not_read_is_given_up(make_manager: MakeManager) -> None:
    talk = Talk(make_manager(limits=Limits(body_timeout=0.05)))
    talk.seen.answer = lambda conn, ev, data: (
        ev == MG_EV_HTTP_MSG and conn.reply(200, bytes(20_000_000))
    )
    with dial(talk.listener) as client:
        client.sendall(GET)
        pump(talk.manager, talk.seen.saw(MG_EV_CLOSE))
    (conn,) = talk.seen.conns(MG_EV_CLOSE)
    with pytest.raises(ConnectionClosed):
        conn.send(b"x")


def test_headers_may_be_any_mapping(talk: Talk) -> None:
    class OneHeader(Mapping[str, object]):
        def __getitem__(self, name: str) -> object:
            return 7

        def __iter__(self) -> Any:
            return iter(["X-Seven"])

        def __len__(self) -> int:
            return 1

    assert talk(lambda conn, message: conn.reply(200, "x", OneHeader()))[1]["X-Seven"] == "7"
