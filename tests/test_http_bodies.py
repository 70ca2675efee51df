"""Bodies in pieces: chunked answers, event streams, uploads.

RFC 9112, sections 6 and 7; the HTML standard for server-sent events.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Callable

import pytest
import requests
from conftest import DEADLINE, Recorder, dial, exchange, pump, turns
from httptalk import Talk, on_request

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    Connection,
    Error,
    Handler,
    HttpMessage,
    Limits,
    Manager,
)

MakeManager = Callable[..., Manager]
Serve = Callable[..., str]


# -- chunked and event streams -------------------------------------------------


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


# -- bodies that come in -------------------------------------------------------


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
