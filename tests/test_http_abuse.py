"""Requests that are meant to do harm, and text that is meant to become header lines.

Each bad request is followed by one that must never be seen, as a smuggler would
send it. It is refused with the status that fits, nothing behind it is read, and the
server goes on serving others.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import DEADLINE, receive_all, running
from strategies import Response, responses_in

from mongoose_py import (
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    AddressError,
    Connection,
    HttpMessage,
    Limits,
    Manager,
)

HOST = b"Host: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
OVERLONG = 2**64


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST" + get(*lines)[3:] + body


def chunks(wire: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=wire)


START_LINES = {
    "two blanks before the target": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two blanks before the version": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab between": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a blank in front": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two empty lines in front": (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "a fourth word": (b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400),
    "a blank behind the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "the version in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "another protocol": (b"GET / ICAP/1.0\r\nHost: a\r\n\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.10": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "an HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a separator in the method": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the method": (b"GE\0 / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a byte above ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "GET of an authority": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "GET of an asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT without a port": (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an absolute target of another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a user in an absolute target": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a response": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
    "a line without an end": (b"GET /" + b"a" * 9000, 414),
    "a line that is too long": (b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
}

LINES = {
    "bare LF behind the start line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare LF behind a header": (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    "bare LF as the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "bare CR behind the start line": (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
    "bare CR in a value": (get(b"a: b\rc: d"), 400),
    "CR CR LF": (get(b"a: b\r"), 400),
    "a folded line": (get(b"a: b", b" c"), 400),
    "a folded line with a tab": (get(b"a: b", b"\tc"), 400),
    "a folded first line": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "NUL in a value": (get(b"a: b\0c"), 400),
    "NUL in a name": (get(b"a\0: b"), 400),
    "a vertical tab in front of a value": (get(b"Transfer-Encoding: \x0bchunked"), 400),
    "DEL in a value": (get(b"a: b\x7f"), 400),
    "a blank before the colon": (get(b"Content-Length : 5"), 400),
    "a tab before the colon": (get(b"Transfer-Encoding\t: chunked"), 400),
    "no colon": (get(b"a"), 400),
    "no name": (get(b": b"), 400),
    "a separator in a name": (get(b"a(b): c"), 400),
    "a name above ASCII": (get(b"\xe9: c"), 400),
}

HOSTS = {
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (get(b"Host: a"), 400),
    "two different Hosts": (get(b"hOST: b"), 400),
    "a list as Host": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "a blank in Host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a path in Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a user in Host": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "a port that is no number": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "a port above 65535": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    "an IPv6 address that is none": (b"GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400),
    "two Authorizations": (get(b"Authorization: a", b"Authorization: b"), 400),
    "an unknown expectation": (get(b"Expect: 200-ok"), 417),
}

FRAMING = {
    "CL.TE": (post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nG"), 400),
    "TE.CL": (post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"), 400),
    "two lengths that differ": (post(b"Content-Length: 0", b"Content-Length: 44"), 400),
    "two lengths that agree": (post(b"Content-Length: 1", b"Content-Length: 1", body=b"a"), 400),
    "a list of lengths": (post(b"Content-Length: 1, 1", body=b"a"), 400),
    "an empty length": (post(b"Content-Length:"), 400),
    "a signed length": (post(b"Content-Length: +1", body=b"a"), 400),
    "a negative length": (post(b"Content-Length: -1"), 400),
    "a negative length of a whole request": (post(b"Content-Length: -19"), 400),
    "a hexadecimal length": (post(b"Content-Length: 0x1", body=b"a"), 400),
    "a fraction as length": (post(b"Content-Length: 1.0", body=b"a"), 400),
    "a length with an exponent": (post(b"Content-Length: 1e1"), 400),
    "a length with a blank in it": (post(b"Content-Length: 1 1"), 400),
    "a length above 64 bits": (post(b"Content-Length: %d" % (OVERLONG + 1)), 400),
    "a length of 64 bits": (post(b"Content-Length: %d" % (OVERLONG - 1)), 400),
    "a length of 200 digits": (post(b"Content-Length: " + b"9" * 200), 400),
    "a length of 1 GiB": (post(b"Content-Length: %d" % 2**30), 413),
    "a length of 63 bits": (post(b"Content-Length: %d" % (OVERLONG // 4)), 413),
    "a length of 1 GiB that is expected": (
        post(b"Content-Length: %d" % 2**30, b"Expect: 100-continue"),
        413,
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "another coding": (post(b"Transfer-Encoding: gzip"), 501),
    "identity": (post(b"Transfer-Encoding: identity"), 501),
    "a coding that is nearly chunked": (post(b"Transfer-Encoding: xchunked"), 501),
    "quoted chunked": (post(b'Transfer-Encoding: "chunked"'), 501),
    "chunked with a parameter": (post(b"Transfer-Encoding: chunked;a=b"), 501),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunked not last": (post(b"Transfer-Encoding: chunked, gzip"), 400),
    "two codings in two lines": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        400,
    ),
    "no coding at all": (post(b"Transfer-Encoding:"), 400),
    "the length behind 100 headers": (
        post(*[b"a%d: b" % i for i in range(99)], b"Content-Length: 44"),
        431,
    ),
    "1000 headers": (get(*[b"a: b"] * 1000), 431),
    "a header of 100 KB": (get(b"a: " + b"b" * 100_000), 431),
    "a header without an end": (get(b"a: " + b"b" * 100_000)[:-4], 431),
    "a name of 100 KB": (get(b"a" * 100_000 + b": b"), 431),
}

CHUNKS = {
    "a size above 64 bits": (chunks(b"1" + b"0" * 16 + b"\r\n"), 400),
    "a size of 64 bits": (chunks(b"f" * 16 + b"\r\n"), 400),
    "a size that wraps to one": (chunks(b"ffffffffffffffff1\r\na\r\n0\r\n\r\n"), 400),
    "a size of 1 GiB": (chunks(b"40000000\r\n" + b"a" * 4_000_000), 413),
    "no size": (chunks(b"\r\n"), 400),
    "no size but an extension": (chunks(b";a=b\r\n"), 400),
    "a signed size": (chunks(b"+1\r\na\r\n0\r\n\r\n"), 400),
    "a negative size": (chunks(b"-1\r\na\r\n0\r\n\r\n"), 400),
    "a size with 0x": (chunks(b"0x1\r\na\r\n0\r\n\r\n"), 400),
    "a blank before the size": (chunks(b" 1\r\na\r\n0\r\n\r\n"), 400),
    "a blank behind the size": (chunks(b"1 \r\na\r\n0\r\n\r\n"), 400),
    "a size that is no number": (chunks(b"g\r\n"), 400),
    "bare LF behind the size": (chunks(b"1\na\r\n0\r\n\r\n"), 400),
    "bare LF behind an extension": (chunks(b"1;a\na\r\n0\r\n\r\n"), 400),
    "NUL in an extension": (chunks(b"1;\0\r\na\r\n0\r\n\r\n"), 400),
    "an endless extension": (chunks(b"1;" + b"a" * 300 + b"\r\na\r\n0\r\n\r\n"), 400),
    "data longer than its size": (chunks(b"1\r\nab\r\n0\r\n\r\n"), 400),
    "data without CR": (chunks(b"1\r\na\n0\r\n\r\n"), 400),
    "a trailer without a colon": (chunks(b"0\r\na\r\n\r\n"), 400),
    "a folded trailer": (chunks(b"0\r\na: b\r\n c\r\n\r\n"), 400),
    "bare LF in the trailers": (chunks(b"0\r\na: b\n\r\n"), 400),
    "1000 trailers": (chunks(b"0\r\n" + b"a: b\r\n" * 1000 + b"\r\n"), 400),
    "trailers of 100 KB": (chunks(b"0\r\na: " + b"b" * 100_000 + b"\r\n\r\n"), 400),
}

BAD = {**START_LINES, **LINES, **HOSTS, **FRAMING, **CHUNKS}


class Target:
    """A running server and what its handler has seen."""

    def __init__(self, listener: Connection, seen: list[str]) -> None:
        self.listener = listener
        self.seen = seen

    def send(self, wire: bytes) -> bytes:
        """Return all that comes back, up to the end that the server makes."""
        host, port, _ = self.listener.local_addr
        with closing(socket.create_connection((host, port), DEADLINE)) as sock:
            with suppress(OSError):  # refused in the middle of much
                sock.sendall(wire)
            return receive_all(sock)

    def serves(self) -> bool:
        got = self.send(get(b"Connection: close"))
        return got.startswith(b"HTTP/1.1 200 OK\r\n") and got.endswith(b"\r\n\r\nhello")


@pytest.fixture(scope="module", params=["epoll", "poll"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    seen: list[str] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            seen.append(data.uri)
            conn.reply(200, "hello")

    with Manager(handle, poller=request.param) as manager:
        listener = manager.listen("http://127.0.0.1:0")
        with running(manager):
            yield Target(listener, seen)


@pytest.mark.parametrize(("wire", "status"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_and_nothing_behind_it_is_read(
    target: Target, wire: bytes, status: int
) -> None:
    target.seen.clear()
    (refusal,) = responses_in(target.send(wire + SMUGGLED), [])
    assert (refusal.status, refusal.body) == (status, b"")
    assert refusal.values("Connection") == ["close"]
    assert target.seen == []
    assert target.serves()


def test_a_refusal_comes_behind_the_answers_to_the_requests_before_it(target: Target) -> None:
    got = responses_in(target.send(get() + post(b"Content-Length: x") + SMUGGLED), ["GET"])
    assert [answer.status for answer in got] == [200, 400]


def test_nothing_is_read_behind_a_request_that_ends_the_connection(target: Target) -> None:
    target.seen.clear()
    (answer,) = responses_in(target.send(get(b"Connection: close") + SMUGGLED), ["GET"])
    assert answer.values("Connection") == ["close"]
    assert target.seen == ["/"]


ODD = {
    "a length of zero": post(b"Content-Length: 0"),
    "a length with zeros in front": post(b"Content-Length: 0001", body=b"a"),
    "POST without a length": post(),
    "99 headers and the length": post(*[b"a: b"] * 98, b"Content-Length: 1", body=b"a"),
    "chunks in a list of one": post(b"Transfer-Encoding: ,chunked,", body=b"0\r\n\r\n"),
    "an empty line in front": b"\r\n" + get(),
    "obs-text in a value": get(b"a: \xff\xfe"),
    "an empty value": get(b"a:"),
    "a target of 8000 bytes": get().replace(b"/ ", b"/" + b"a" * 8000 + b" ", 1),
    "trailers that look like framing": chunks(b"0\r\nContent-Length: 44\r\n\r\n"),
}


@pytest.mark.parametrize("wire", ODD.values(), ids=ODD)
def test_an_odd_request_is_one_request_and_the_next_one_follows(
    target: Target, wire: bytes
) -> None:
    target.seen.clear()
    got = responses_in(target.send(wire + get(b"Connection: close")), [])
    assert [answer.status for answer in got] == [200, 200]
    assert len(target.seen) == 2


# -- one that is answered before it is there ---------------------------------------------------


def test_an_answer_before_the_body_is_there_says_that_the_connection_ends(
    make_manager: Callable[..., Manager],
) -> None:
    seen: list[int] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        seen.append(ev)
        if ev == MG_EV_HTTP_HDRS:
            conn.reply(403, "no")

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    with running(manager):
        got = Target(listener, []).send(post(b"Content-Length: 100", body=b"a"))
    (answer,) = responses_in(got, ["POST"])
    assert (answer.status, answer.body) == (403, b"no")
    assert answer.values("Connection") == ["close"]
    assert MG_EV_HTTP_MSG not in seen


def test_chunks_that_grow_above_the_limit_are_refused(make_manager: Callable[..., Manager]) -> None:
    manager = make_manager(limits=Limits(recv_buffer=10_000))
    listener = manager.listen("http://127.0.0.1:0")
    with running(manager):
        got = Target(listener, []).send(chunks(b"1\r\na\r\n" * 20_000))
    (refusal,) = responses_in(got, [])
    assert refusal.status == 413


# -- text that becomes header lines ------------------------------------------------------------

INJECTIONS = [
    "a\r\nX-Injected: 1",
    "a\nX-Injected: 1",
    "a\rX-Injected: 1",
    "a\r\n\r\nHTTP/1.1 200 OK\r\n",
    "\r\na",
    "a\0",
    "a\x0b",
    "a\x7f",
    "a\r\n\r\n",
]

SINKS: dict[str, Callable[[Connection, HttpMessage, str, str], object]] = {
    "reply, a name": lambda conn, message, root, bad: conn.reply(200, "", {bad: "b"}),
    "reply, a value": lambda conn, message, root, bad: conn.reply(200, "", {"A": bad}),
    "reply, a pair": lambda conn, message, root, bad: conn.reply(200, "", [("A", bad)]),
    "reply, the type": lambda conn, message, root, bad: conn.reply(200, "", {"Content-Type": bad}),
    "reply_json, a name": lambda conn, message, root, bad: conn.reply_json(1, headers={bad: "b"}),
    "reply_json, a value": lambda conn, message, root, bad: conn.reply_json(1, headers={"A": bad}),
    "serve_dir, a line": lambda conn, message, root, bad: conn.serve_dir(
        message, root, extra_headers=f"A: {bad}\r\nB: c\r\n" if "\r\n" not in bad else f"A\r\n{bad}"
    ),
    "serve_file, a type": lambda conn, message, root, bad: conn.serve_file(
        message, f"{root}/a.txt", mime_types=f"txt={bad}"
    ),
}


@pytest.mark.parametrize("bad", INJECTIONS)
@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
def test_no_text_becomes_a_header_line_of_an_answer(
    make_manager: Callable[..., Manager],
    tmp_path: Path,
    sink: Callable[[Connection, HttpMessage, str, str], object],
    bad: str,
) -> None:
    (tmp_path / "a.txt").write_text("a")

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            with pytest.raises(ValueError):
                sink(conn, data, str(tmp_path), bad)
            conn.reply(200, "nothing was sent before", {"Connection": "close"})

    raised: list[BaseException] = []
    manager = make_manager(handle, error_handler=raised.append)
    listener = manager.listen("http://127.0.0.1:0")
    with running(manager):
        (answer,) = responses_in(Target(listener, []).send(get()), ["GET"])
    assert raised == []
    assert answer.body == b"nothing was sent before"


@pytest.mark.parametrize("bad", INJECTIONS)
def test_no_text_becomes_a_header_line_of_a_request(
    make_manager: Callable[..., Manager], bad: str
) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    host, port, _ = listener.local_addr
    conn = manager.connect(f"http://{host}:{port}")
    for arguments in (
        (bad,),
        ("GET", f"/{bad}"),
        ("GET", "/", {bad: "b"}),
        ("GET", "/", {"A": bad}),
    ):
        with pytest.raises(ValueError):
            conn.request(*arguments)
    with pytest.raises(AddressError):
        manager.connect(f"http://{host}:{port}/{bad}")
    assert conn.send_data() == b""


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\r\ndata: c"])
def test_the_name_of_an_event_is_one_line(make_manager: Callable[..., Manager], name: str) -> None:
    manager = make_manager()
    listener = manager.listen("tcp://127.0.0.1:0")
    with pytest.raises(ValueError):
        listener.http_sse(name, "a")


def test_a_redirect_does_not_say_what_a_request_made_up(
    make_manager: Callable[..., Manager], tmp_path: Path
) -> None:
    directory = tmp_path / "a\r\nX-Injected: 1"
    directory.mkdir()

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.serve_dir(data, tmp_path)

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    wire = get(b"Connection: close").replace(b"/ ", b"/a%0d%0aX-Injected:%201 ", 1)
    with running(manager):
        (answer,) = responses_in(Target(listener, []).send(wire), ["GET"])
    assert answer.values("X-Injected") == []


def test_the_models_own_strictness_is_real() -> None:
    """What reads the answers above would notice an injected line or a second frame."""
    for wire in (
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
    ):
        with pytest.raises(AssertionError):
            responses_in(wire, [])
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    assert responses_in(good, []) == [Response(200, "OK", [("Content-Length", "1")], b"a")]
