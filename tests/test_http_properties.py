"""Laws of HTTP/1.1 over real sockets, for any message and any way of cutting it.

Everything runs on the test's own thread: a plain socket sends a piece, the manager
gets a turn, so that each piece is one read of ours. The models are in strategies.py.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, dial, pump
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    Exchange,
    Pair,
    Response,
    Seen,
    bodies,
    cuts,
    exchanges,
    malformed,
    methods,
    pipelines,
    plain_headers,
    requests,
    requests_in,
    responses_in,
    spoiled,
    targets,
)

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    Connection,
    ConnectionClosed,
    Error,
    HttpMessage,
    Limits,
    Manager,
)

Answer = Callable[[Connection, HttpMessage], object]
POLLERS = ["epoll", "poll"]
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def seen_in(message: HttpMessage) -> Seen:
    return Seen(message.method, message.uri, message.query, message.headers(), message.body_bytes)


def echo(conn: Connection, message: HttpMessage) -> None:
    """Answer so that a request can be told by its answer."""
    if message.method == "CONNECT":
        conn.reply(405)
    else:
        conn.reply(200, message.body_bytes, {"X-Uri": message.uri})


def bytes_there(sock: socket.socket) -> bytes | None:
    """Return what can be read without waiting, ``None`` if nothing can; ``b""`` is the end."""
    sock.setblocking(False)
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""
    finally:
        sock.settimeout(DEADLINE)


class Server:
    """A listener that writes down what its handler is called with."""

    def __init__(self, poller: str | None, limits: Limits | None = None) -> None:
        self.manager = Manager(self.handle, poller=poller, limits=limits)
        self.listener = self.manager.listen("http://127.0.0.1:0")
        self.answer: Answer = echo
        self.later: list[Callable[[], object]] = []  # to do behind the next turn
        self.pauses: list[bool] = []  # at which of the next events to pause
        self.seen: list[Seen] = []
        self.heads: list[Seen] = []
        self.errors: list[str] = []
        self.streamed: list[bytes] | None = None  # pieces of bodies; None: not asked for

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if self.pauses and ev != MG_EV_CLOSE and self.pauses.pop():
            conn.pause()
            self.later.append(conn.resume)
        if ev == MG_EV_HTTP_HDRS:
            self.heads.append(seen_in(data))
            if self.streamed is not None:
                self.streamed.append(b"")
                conn.stream_body()
        elif ev == MG_EV_READ and data and self.streamed is not None:
            self.streamed[-1] += data
        elif ev == MG_EV_HTTP_MSG:
            self.seen.append(seen_in(data))
            self.answer(conn, data)
        elif ev == MG_EV_ERROR:
            self.errors.append(data)

    def reset(self, answer: Answer = echo) -> None:
        for conn in self.manager.connections[:-1]:  # left over when an example failed
            conn.close()
        self.wait_for_close()
        self.answer, self.streamed = answer, None
        self.seen, self.heads, self.errors, self.later = [], [], [], []

    def wait_for_close(self) -> None:
        pump(self.manager, lambda: self.manager.connections == (self.listener,))

    def ask(
        self,
        pieces: list[bytes],
        answer: Answer = echo,
        stream: bool = False,
        pauses: list[bool] | None = None,
    ) -> bytes:
        """Send *pieces* and the end of the stream; return all that comes back."""
        self.reset(answer)
        self.streamed = [] if stream else None
        self.pauses = pauses or []
        got = bytearray()
        with closing(dial(self.listener)) as sock:
            for piece in pieces:
                try:
                    sock.sendall(piece)
                except OSError:  # refused and closed already: the answer is there
                    break
                self.turn(0)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            self.read_to_end(sock, got)
        self.wait_for_close()
        return bytes(got)

    def read_to_end(self, sock: socket.socket, got: bytearray) -> None:
        deadline = monotonic() + DEADLINE
        while True:
            data = bytes_there(sock)
            if data == b"":
                return
            got += data or b""
            assert monotonic() < deadline, f"no end after {bytes(got)!r}"
            self.turn(0 if data or self.later else 10)

    def turn(self, ms: float) -> None:
        self.manager.poll(ms)
        later, self.later = self.later, []
        for call in later:
            with suppress(ConnectionClosed):
                call()

    def events(self) -> tuple[list[Seen], list[Seen], list[str]]:
        heads = [head._replace(body=b"") for head in self.heads]  # so far, so depends on cuts
        return heads, self.seen, self.errors


@pytest.fixture(scope="module", params=POLLERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    one = Server(request.param)
    with one.manager:
        yield one


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    """Return a server with one poller, for laws that it has no part in."""
    one = Server(None)
    with one.manager:
        yield one


def final(answers: list[Response]) -> list[Response]:
    """Leave out what may differ: interim answers, and the time."""
    return [
        a._replace(headers=[(name, value) for name, value in a.headers if name != "Date"])
        for a in answers
        if a.status >= 200
    ]


# -- requests ---------------------------------------------------------------------------


@given(st.data())
def test_any_split_of_a_pipeline_gives_the_answers_and_events_of_the_whole(
    server: Server, data: st.DataObject
) -> None:
    stream = data.draw(pipelines())
    wanted = requests_in(stream)
    asked = [seen.method for seen in wanted]
    whole = responses_in(server.ask([stream]), asked)
    events = server.events()
    assert events == ([seen._replace(body=b"") for seen in wanted], wanted, [])
    parts = responses_in(server.ask(data.draw(cuts(stream))), asked)
    assert server.events() == events
    assert final(parts) == final(whole)
    assert len(final(parts)) == len(wanted)


@given(st.data())
def test_a_streamed_body_is_the_same_in_any_split(one_server: Server, data: st.DataObject) -> None:
    stream = data.draw(pipelines())
    wanted = requests_in(stream)
    answers = final(
        responses_in(
            one_server.ask(data.draw(cuts(stream)), stream=True), [seen.method for seen in wanted]
        )
    )
    assert one_server.streamed == [seen.body for seen in wanted]
    assert one_server.events() == ([seen._replace(body=b"") for seen in wanted],) * 2 + ([],)
    assert [answer.status for answer in answers] == [200] * len(wanted)


@given(st.data())
def test_answers_that_come_later_are_the_same(one_server: Server, data: st.DataObject) -> None:
    stream = data.draw(pipelines())
    asked = [seen.method for seen in requests_in(stream)]
    at_once = final(responses_in(one_server.ask([stream]), asked))
    events = one_server.events()

    def echo_later(conn: Connection, message: HttpMessage) -> None:
        body, headers = message.body_bytes, {"X-Uri": message.uri}
        one_server.later.append(lambda: conn.reply(200, body, headers))

    assert (
        final(responses_in(one_server.ask(data.draw(cuts(stream)), echo_later), asked)) == at_once
    )
    assert one_server.events() == events


@given(st.data(), st.booleans(), st.lists(st.booleans(), max_size=30))
def test_pauses_change_nothing_but_the_time(
    server: Server, data: st.DataObject, stream: bool, pauses: list[bool]
) -> None:
    wire = data.draw(pipelines())
    asked = [seen.method for seen in requests_in(wire)]
    without = final(responses_in(server.ask([wire], stream=stream), asked))
    events, bodies_before = server.events(), server.streamed
    got = server.ask(data.draw(cuts(wire)), stream=stream, pauses=pauses)
    assert final(responses_in(got, asked)) == without
    assert (server.events(), server.streamed) == (events, bodies_before)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    """Return a server whose every limit is near."""
    limits = Limits(
        recv_buffer=120, header_bytes=100, request_line=30, header_count=3, chunk_extension=4
    )
    one = Server(None, limits)
    with one.manager:
        yield one


@given(st.data())
def test_limits_never_leave_a_peer_waiting(strict_server: Server, data: st.DataObject) -> None:
    stream = data.draw(pipelines())
    wanted = requests_in(stream)
    for pieces in ([stream], data.draw(cuts(stream))):
        got = strict_server.ask(pieces, stream=data.draw(st.booleans()))
        *answers, last = final(responses_in(got, [seen.method for seen in strict_server.seen]))
        assert [answer.status for answer in answers] == [200] * len(answers)
        assert last.status in (200, 400, 413, 414, 431)
        assert len(strict_server.seen) == len(wanted) or last.status != 200


@given(st.data())
def test_no_proper_prefix_of_a_request_gives_a_message_an_answer_or_an_error(
    one_server: Server, data: st.DataObject
) -> None:
    wire = data.draw(requests())
    pieces = data.draw(cuts(wire[:-1]))
    one_server.reset()
    with closing(dial(one_server.listener)) as sock:
        for piece in pieces:
            sock.sendall(piece)
            one_server.manager.poll(0)
            assert one_server.seen == []
            assert one_server.errors == []
        early = bytes_there(sock)
        assert early in (None, b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(wire[-1:])
        pump(one_server.manager, lambda: one_server.seen == requests_in(wire))


@st.composite
def cut_off_requests(draw: st.DrawFn) -> list[bytes]:
    wire = draw(requests())
    return draw(cuts(wire[: draw(st.integers(1, len(wire) - 1))]))


@given(cut_off_requests())
@example([POST[:9], b"T", POST[10:15]])  # in the middle of a line, looked at twice
def test_a_request_that_is_cut_off_gives_no_message_and_the_connection_ends(
    server: Server, pieces: list[bytes]
) -> None:
    answers = responses_in(server.ask(pieces), [])
    assert final(answers) == []
    assert server.seen == []
    assert len(server.errors) == len(server.heads)  # a body was promised, or not yet


@given(st.data())
def test_garbage_behind_valid_requests_gives_one_refusal_and_the_end(
    one_server: Server, data: st.DataObject
) -> None:
    valid = b"".join(data.draw(st.lists(requests(), max_size=3)))
    wanted = requests_in(valid)
    got = one_server.ask(data.draw(cuts(valid + data.draw(malformed()))))
    *answers, refusal = final(responses_in(got, [seen.method for seen in wanted]))
    assert one_server.seen == wanted
    assert [answer.status for answer in answers] == [200] * len(wanted)
    assert 400 <= refusal.status < 600
    assert refusal.values("Connection") == ["close"]
    assert one_server.errors == []


@given(st.data())
def test_any_bytes_give_well_formed_answers_and_an_end(
    one_server: Server, data: st.DataObject
) -> None:
    stream = data.draw(pipelines().flatmap(spoiled) | st.binary(max_size=100))
    got = one_server.ask(data.draw(cuts(stream)))
    answers = final(responses_in(got, [seen.method for seen in one_server.seen]))
    assert len(one_server.seen) <= len(answers) <= len(one_server.seen) + 1


# -- responses ----------------------------------------------------------------------------


class Client:
    """Our client, connected to a plain listening socket whose side the test plays."""

    def __init__(self, poller: str | None) -> None:
        self.manager = Manager(self.handle, poller=poller)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.names: list[int] = []
        self.got: list[Response] = []
        self.stream = False  # whether to have bodies in pieces
        self.streamed = b""

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_HDRS and self.stream:
            conn.stream_body()
        elif ev == MG_EV_READ and data:
            self.streamed += data
        if ev in (MG_EV_CONNECT, MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG, MG_EV_ERROR, MG_EV_CLOSE):
            self.names.append(ev)
        if ev == MG_EV_HTTP_MSG:
            body = self.streamed if self.stream else data.body_bytes
            self.got.append(Response(data.status(), data.proto, data.headers(), body))
            self.streamed = b""

    def connect(self, stack: ExitStack, stream: bool = False) -> tuple[Connection, socket.socket]:
        """Return our side and the plain one of a new connection."""
        self.names, self.got, self.stream, self.streamed = [], [], stream, b""
        conn = self.manager.connect(self.url)
        stack.callback(lambda: pump(self.manager, lambda: not self.manager.connections))
        stack.callback(conn.close)
        pump(self.manager, lambda: MG_EV_CONNECT in self.names)
        sock, _ = self.listener.accept()
        sock.settimeout(DEADLINE)
        return conn, stack.enter_context(closing(sock))

    def feed(self, sock: socket.socket, pieces: list[bytes]) -> None:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:  # refused and closed already
                break
            self.manager.poll(0)

    def request(self, conn: Connection, sock: socket.socket, asked: list[str]) -> None:
        """Send requests of these methods and see them arrive."""
        for method in asked:
            conn.request(method)
        arrived = b""
        while not arrived.endswith(b"\r\n\r\n") or len(requests_in(arrived)) < len(asked):
            self.manager.poll(0)
            arrived += sock.recv(65536)
        assert [seen.method for seen in requests_in(arrived)] == asked

    def ends(self) -> list[int]:
        """Return how it ended: MG_EV_CLOSE, behind an MG_EV_ERROR if there was one."""
        pump(self.manager, lambda: MG_EV_CLOSE in self.names)
        assert self.names.count(MG_EV_CLOSE) == 1
        return [ev for ev in self.names if ev in (MG_EV_ERROR, MG_EV_CLOSE)]


@pytest.fixture(scope="module", params=POLLERS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    one = Client(request.param)
    with one.manager, one.listener:
        yield one


@pytest.fixture(scope="module")
def one_client() -> Iterator[Client]:
    """Return a client with one poller, for laws that it has no part in."""
    one = Client(None)
    with one.manager, one.listener:
        yield one


@given(st.data(), st.booleans())
def test_any_split_of_the_answers_to_a_pipeline_gives_them_in_order(
    client: Client, data: st.DataObject, stream: bool
) -> None:
    answers = data.draw(st.lists(exchanges(), min_size=1, max_size=4))
    last = data.draw(st.none() | exchanges(to_end=True))
    wanted = [*answers, last] if last else answers
    pieces = data.draw(cuts(b"".join([answer.wire for answer in wanted])))
    with ExitStack() as stack:
        conn, sock = client.connect(stack, stream)
        client.request(conn, sock, [answer.method for answer in wanted])
        client.feed(sock, pieces)
        pump(client.manager, lambda: len(client.got) == len(answers))
        assert client.got == [answer.response for answer in answers]
        assert not conn.is_closing
        sock.close()
        assert client.ends() == [MG_EV_CLOSE]
        assert client.got == [answer.response for answer in wanted]


@st.composite
def cut_off_answers(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """Return the method of a request, and an answer that is not whole, in pieces."""
    answer = draw(exchanges())
    size = draw(st.integers(0, len(answer.wire) - 1))
    return answer.method, draw(cuts(answer.wire[:size]))


@given(cut_off_answers())
@example(("GET", []))
@example(("GET", [b"HTTP/1.1 100 Continue\r\n\r\n"]))
def test_an_answer_that_is_cut_off_is_an_error_and_no_message(
    client: Client, cut_off: tuple[str, list[bytes]]
) -> None:
    method, pieces = cut_off
    with ExitStack() as stack:
        conn, sock = client.connect(stack)
        client.request(conn, sock, [method])
        client.feed(sock, pieces)
        assert MG_EV_CLOSE not in client.names
        sock.close()
        assert client.ends() == [MG_EV_ERROR, MG_EV_CLOSE]
        assert client.got == []


@given(st.data())
def test_an_answer_without_a_length_that_is_reset_is_an_error_and_no_message(
    one_client: Client, data: st.DataObject
) -> None:
    answer = data.draw(exchanges(to_end=True))
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        one_client.request(conn, sock, [answer.method])
        one_client.feed(sock, [answer.wire])
        reset(sock)
        assert one_client.ends() == [MG_EV_ERROR, MG_EV_CLOSE]
        assert one_client.got == []


def reset(sock: socket.socket) -> None:
    """Cut a connection instead of ending it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@given(exchanges(), st.binary(min_size=1, max_size=40), st.booleans())
def test_bytes_that_answer_nothing_are_an_error(
    one_client: Client, answer: Exchange, extra: bytes, asked: bool
) -> None:
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        if asked:
            one_client.request(conn, sock, [answer.method])
            one_client.feed(sock, [answer.wire])
            pump(one_client.manager, lambda: one_client.got)
        one_client.feed(sock, [answer.wire if len(extra) % 2 else extra])
        sock.close()
        assert one_client.ends() == [MG_EV_ERROR, MG_EV_CLOSE]
        assert len(one_client.got) == asked


@given(st.data())
def test_any_bytes_from_a_server_give_messages_or_an_error_and_an_end(
    one_client: Client, data: st.DataObject
) -> None:
    answers = data.draw(st.lists(exchanges(), min_size=1, max_size=3))
    stream = data.draw(spoiled(b"".join([answer.wire for answer in answers])))
    pieces = data.draw(cuts(stream))
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        one_client.request(conn, sock, [answer.method for answer in answers])
        one_client.feed(sock, pieces)
        sock.close()
        ends = one_client.ends()
        assert ends in ([MG_EV_CLOSE], [MG_EV_ERROR, MG_EV_CLOSE])
        heads = one_client.names.count(MG_EV_HTTP_HDRS)
        assert len(one_client.got) <= heads <= len(one_client.got) + 1


# -- what is written: answers -------------------------------------------------------------------


def told(answer: Response, *ours: str) -> list[Pair]:
    """Return the header lines of an answer but for Date and those called *ours*."""
    left_out = {"date", *ours}
    return [(name, value) for name, value in answer.headers if name.lower() not in left_out]


def get(method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    keep = "Connection: keep-alive\r\n" if version == "HTTP/1.0" else ""
    return f"{method} /1 {version}\r\nHost: a\r\n{keep}\r\n".encode()


def once(server: Server, answer: Callable[[Connection], object]) -> Answer:
    """Return what answers the first request with *answer*, the others as usual."""

    def handle(conn: Connection, message: HttpMessage) -> None:
        answer(conn) if len(server.seen) == 1 else echo(conn, message)

    return handle


def ask_then_again(
    server: Server, answer: Callable[[Connection], object], first: bytes
) -> list[Response]:
    """Return the answers to *first*, made by *answer*, and to a plain GET behind it."""
    method = first.split(b" ")[0].decode()
    answers = responses_in(server.ask([first + WHOLE], once(server, answer)), [method, "GET"])
    assert server.errors == []
    if "close" not in answers[0].values("Connection"):
        assert answers[-1].values("X-Uri") == ["/"]  # keep-alive goes on
        assert len(final(answers)) == 2
    return answers


STATUSES = st.sampled_from([200, 201, 204, 304, 404, 500, 999]) | st.integers(200, 999)
VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"])


@given(STATUSES, bodies(), plain_headers(), st.sampled_from(["GET", "HEAD"]), VERSIONS)
def test_a_reply_is_read_back_as_it_was_given(
    one_server: Server, status: int, body: bytes, headers: list[Pair], method: str, version: str
) -> None:
    answer, _ = ask_then_again(
        one_server, lambda conn: conn.reply(status, body, headers), get(method, version)
    )
    has_body = status not in (204, 304)
    has_type = any(name.lower() == "content-type" for name, _ in headers)
    expected = [("Content-Type", "text/plain")] if has_body and not has_type else []
    assert answer.status == status
    assert told(answer, "content-length", "connection") == expected + headers
    assert answer.body == (body if has_body and method == "GET" else b"")
    assert answer.values("Content-Length") == ([str(len(body))] if has_body else [])
    assert answer.values("Connection") == (["keep-alive"] if version == "HTTP/1.0" else [])


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=10)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text(max_size=5)
JSON = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON, STATUSES.filter(lambda status: status not in (204, 304)))
def test_json_is_read_back_as_it_was_given(one_server: Server, value: object, status: int) -> None:
    answer, _ = ask_then_again(one_server, lambda conn: conn.reply_json(value, status), WHOLE)
    assert (answer.status, json.loads(answer.body)) == (status, value)
    assert told(answer, "content-length") == [("Content-Type", "application/json")]


PIECES = st.lists(bodies().filter(len), max_size=4)


@given(PIECES, st.binary(max_size=20), st.sampled_from(["GET", "HEAD"]), VERSIONS)
def test_chunks_are_read_back_as_they_were_given(
    one_server: Server, pieces: list[bytes], first: bytes, method: str, version: str
) -> None:
    def answer(conn: Connection) -> None:
        conn.reply(200, first, {"Transfer-Encoding": "chunked"})
        for piece in [*pieces, b""]:
            conn.http_chunk(piece)

    got = ask_then_again(one_server, answer, get(method, version))[0]
    assert got.body == (b"" if method == "HEAD" else first + b"".join(pieces))
    coded = ["chunked"] if version == "HTTP/1.1" else []
    assert got.values("Transfer-Encoding") == coded
    assert got.values("Connection") == ([] if coded else ["close"])  # the end is the length


LINE = st.text("ab: \té水", max_size=6)
EVENTS = st.lists(
    st.tuples(LINE.map(str.strip), st.lists(LINE, min_size=1, max_size=3)), max_size=4
)


@given(EVENTS, st.sampled_from(["\n", "\r", "\r\n"]), VERSIONS)
def test_events_are_read_back_as_a_browser_does(
    one_server: Server, events: list[tuple[str, list[str]]], line_end: str, version: str
) -> None:
    def answer(conn: Connection) -> None:
        conn.reply(200, "", {"Content-Type": "text/event-stream"})
        for name, lines in events:
            conn.http_sse(name, line_end.join(lines))
        conn.http_chunk(b"")

    got = ask_then_again(one_server, answer, get(version=version))[0]
    assert events_in(got.body.decode()) == [(name, "\n".join(lines)) for name, lines in events]


def events_in(stream: str) -> list[tuple[str, str]]:
    """Read an event stream as the HTML standard says, section 9.2.6."""
    found, name, data = [], "", []
    for line in stream.split("\n"):
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line and data:
            found.append((name, "\n".join(data)))
            name, data = "", []
    return found


@given(st.data())
def test_an_answer_sent_by_hand_in_any_pieces_goes_out_as_it_is(
    one_server: Server, data: st.DataObject
) -> None:
    to_end = data.draw(st.booleans())
    wanted = data.draw(exchanges(to_end))
    pieces = data.draw(cuts(wanted.wire))

    def answer(conn: Connection) -> None:
        for piece in pieces:
            conn.send(piece)
        if to_end:  # nothing else tells that this was all
            conn.drain()

    got = one_server.ask([get(wanted.method) + WHOLE], once(one_server, answer))
    assert got.startswith(wanted.wire)
    behind = final(responses_in(got[len(wanted.wire) :], ["GET"]))
    assert [response.values("X-Uri") for response in behind] == ([] if to_end else [["/"]])
    assert one_server.errors == []


# -- what is written: requests ---------------------------------------------------------------


def arrive(client: Client, sock: socket.socket) -> bytes:
    """Return all that our client has sent."""
    conn = client.manager.connections[0]
    got = bytearray()
    while conn.send_len:
        client.manager.poll(0)
        got += bytes_there(sock) or b""
    return bytes(got) + (bytes_there(sock) or b"")


@given(methods(), targets(), plain_headers(), bodies())
def test_a_request_is_read_back_as_it_was_given(
    one_client: Client, method: str, target: str, headers: list[Pair], body: bytes
) -> None:
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        conn.request(method, target, headers, body)
        conn.request("GET", "/end")
        arrived = arrive(one_client, sock)
    seen, end = requests_in(arrived)
    path, _, query = target.partition("?")
    framed = [("Content-Length", str(len(body)))]
    ours = [("Host", one_client.url[len("http://") :])]
    theirs = framed if body or method in ("POST", "PUT", "PATCH") else []
    assert seen == Seen(method, path, query, ours + headers + theirs, body)
    assert end.uri == "/end"


@given(st.lists(bodies().filter(len), min_size=1, max_size=4), st.booleans())
def test_a_requests_body_sent_in_pieces_is_read_back_as_it_was_given(
    one_client: Client, pieces: list[bytes], counted: bool
) -> None:
    body = b"".join(pieces)
    framing = ("Content-Length", str(len(body))) if counted else ("Transfer-Encoding", "chunked")
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        conn.request("POST", "/", [framing])
        for piece in pieces:
            conn.http_chunk(piece)
        if not counted:
            conn.http_chunk(b"")
        with pytest.raises(Error, match="no body was begun"):
            conn.http_chunk(b"more")
        conn.request("GET", "/end")
        seen, end = requests_in(arrive(one_client, sock))
    assert (seen.body, seen.headers[1:], end.uri) == (body, [framing], "/end")


HEAD_IN_A_BODY = [
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    WHOLE,
]


@given(st.lists(requests(), min_size=1, max_size=4).flatmap(lambda all_: cuts(b"".join(all_))))
@example(HEAD_IN_A_BODY)
def test_the_methods_of_requests_sent_by_hand_are_known_when_the_answers_come(
    one_client: Client, pieces: list[bytes]
) -> None:
    wire = b"".join(pieces)
    asked = [seen.method for seen in requests_in(wire)]
    with ExitStack() as stack:
        conn, sock = one_client.connect(stack)
        for piece in pieces:
            conn.send(piece)
        assert arrive(one_client, sock) == wire
        for method in asked:
            no_body = method == "HEAD"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + b"abc" * (not no_body))
        pump(one_client.manager, lambda: len(one_client.got) == len(asked))
        assert [got.body for got in one_client.got] == [
            b"" if method == "HEAD" else b"abc" for method in asked
        ]
        sock.close()
        assert one_client.ends() == [MG_EV_CLOSE]
