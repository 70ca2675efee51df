"""The HTTP client: requests on the wire, responses from servers of other makes.

RFC 9110 and 9112. Any response a server might send is in test_http_properties.py.
"""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, pump, receive_until, turns, url_of

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    Connection,
    Error,
    Handler,
    HttpMessage,
    Manager,
)

MakeManager = Callable[..., Manager]


class Python(http.server.BaseHTTPRequestHandler):
    """The standard library's server: echoes bodies, keeps connections alive."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(f"{self.command} {self.path} {self.headers['Host']}".encode())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(body)

    do_PUT = do_POST

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def python_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Python)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(DEADLINE)
    server.server_close()


class Scripted:
    """A plain listening socket, and one of our clients connected to it."""

    def __init__(self, manager: Manager, listener: socket.socket, handler: Any = None) -> None:
        self.manager = manager
        self.seen = Recorder() if handler is None else handler
        self.host = f"127.0.0.1:{listener.getsockname()[1]}"
        self.conn = manager.connect(f"http://{self.host}/ignored", self.seen)
        self.peer, _ = listener.accept()
        self.peer.settimeout(DEADLINE)

    def request(self, *args: Any, **kwargs: Any) -> bytes:
        """Make a request and return what reaches the server, to its end of head."""
        self.conn.request(*args, **kwargs)
        return self.received()

    def received(self, end: bytes = b"\r\n\r\n") -> bytes:
        pump(self.manager, lambda: not self.conn.send_len)
        turns(self.manager)
        return receive_until(self.peer, end)

    def answer(self, wire: bytes, count: int = 1) -> list[Any]:
        """Send *wire* and return the messages once *count* have come."""
        self.peer.sendall(wire)
        pump(self.manager, self.seen.saw(MG_EV_HTTP_MSG, count))
        return self.seen.data(MG_EV_HTTP_MSG)


@pytest.fixture
def scripted(make_manager: MakeManager) -> Iterator[Scripted]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(DEADLINE)
        talk = Scripted(make_manager(), listener)
        with closing(talk.peer):
            yield talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# -- what request sends ------------------------------------------------------------------


def test_a_request_has_a_host_and_nothing_it_does_not_need(scripted: Scripted) -> None:
    wire = scripted.request("GET", "/path?x=1")
    assert wire == f"GET /path?x=1 HTTP/1.1\r\nHost: {scripted.host}\r\n\r\n".encode()


def test_method_and_headers_are_sent_as_given(scripted: Scripted) -> None:
    wire = scripted.request("DELETE", headers={"X-A": "1", "X-B": 2})
    assert wire.startswith(b"DELETE / HTTP/1.1\r\n")
    assert wire.endswith(b"X-A: 1\r\nX-B: 2\r\n\r\n")


def test_a_host_of_the_caller_is_the_only_one(scripted: Scripted) -> None:
    wire = scripted.request("GET", headers={"host": "example.org"})
    assert wire == b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n"


@pytest.mark.parametrize("body", ["héllo", b"h\0", bytearray(b"ba")])
def test_a_body_is_announced_by_its_length(scripted: Scripted, body: Any) -> None:
    data = body.encode() if isinstance(body, str) else bytes(body)
    scripted.conn.request("POST", body=body)
    wire = scripted.received(data)
    assert f"Content-Length: {len(data)}\r\n\r\n".encode() + data in wire


@pytest.mark.parametrize(("method", "announced"), [("POST", True), ("PUT", True), ("GET", False)])
def test_an_empty_body_is_announced_where_one_is_expected(
    scripted: Scripted, method: str, announced: bool
) -> None:
    assert (b"Content-Length: 0\r\n" in scripted.request(method)) is announced


def test_a_chunked_body_follows_with_http_chunk(scripted: Scripted) -> None:
    wire = scripted.request("POST", headers={"Transfer-Encoding": "chunked"})
    assert b"Content-Length" not in wire
    scripted.conn.http_chunk("hello")
    scripted.conn.http_chunk(b"")
    assert scripted.received() == b"5\r\nhello\r\n0\r\n\r\n"


def test_an_announced_body_follows_with_http_chunk(scripted: Scripted) -> None:
    scripted.request("POST", headers={"Content-Length": 5})
    scripted.conn.http_chunk("hello")
    assert scripted.received(b"hello") == b"hello"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"method": "G T"}, "method must be a token"),
        ({"method": ""}, "method must be a token"),
        ({"method": "GET\r\nX:"}, "method must be a token"),
        ({"path": ""}, "path must be"),
        ({"path": "/a b"}, "path must be"),
        ({"path": "/\r\n"}, "path must be"),
        ({"path": "/é"}, "path must be"),
        ({"path": "/#fragment"}, "path must be"),
        ({"headers": {"X": "a\nb"}}, "Header value"),
        ({"headers": {"": "a"}}, "Header name"),
        ({"headers": {"Content-Length": 3}, "body": "four"}, "Content-Length must be"),
        ({"headers": {"Content-Length": "x"}}, "Content-Length must be"),
        ({"headers": {"Transfer-Encoding": "gzip"}}, "Transfer-Encoding must be chunked"),
        (
            {"headers": {"Transfer-Encoding": "chunked", "Content-Length": 1}},
            "headers must announce one body",
        ),
    ],
)
def test_what_makes_no_request_is_refused_and_nothing_is_sent(
    scripted: Scripted, kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        scripted.conn.request(**{"method": "POST", **kwargs})
    assert scripted.conn.send_len == 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:{}", "localhost:{}"),
        ("http://user:pass@127.0.0.1:{}/p", "127.0.0.1:{}"),
        ("HTTP://127.0.0.1:{}", "127.0.0.1:{}"),
    ],
)
def test_host_is_that_of_the_url_without_credentials(
    url: str, host: str, make_manager: MakeManager
) -> None:
    manager = make_manager()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(DEADLINE)
        port = server.getsockname()[1]
        conn = manager.connect(url.format(port))
        conn.request("GET")
        peer, _ = server.accept()
        pump(manager, lambda: not conn.send_len)
        with closing(peer):
            assert f"\r\nHost: {host.format(port)}\r\n".encode() in receive_until(peer, b"\r\n\r\n")


def test_only_an_http_client_makes_requests(make_manager: MakeManager) -> None:
    manager = make_manager()
    listener = manager.listen("http://127.0.0.1:0")
    for conn in (listener, manager.connect(url_of(listener, "tcp"))):
        with pytest.raises(Error, match="not an HTTP client's connection"):
            conn.request("GET")


def test_a_request_may_be_made_in_every_early_event(
    make_manager: MakeManager, python_server: str
) -> None:
    for ev in (1, MG_EV_CONNECT):

        def handle(conn: Connection, number: int, data: Any, ev: int = ev) -> None:
            if number == ev:
                conn.request("GET", "/early")

        seen = Recorder(handle)
        manager = make_manager()
        manager.connect(python_server, seen)
        pump(manager, seen.saw(MG_EV_HTTP_MSG))
        assert b"/early" in seen.data(MG_EV_HTTP_MSG)[0][2]


# -- servers of another make -------------------------------------------------------------


def test_requests_one_after_the_other_use_one_connection(
    make_manager: MakeManager, python_server: str
) -> None:
    bodies: list[bytes] = []

    class Client(Handler):
        def on_connect(self, conn: Connection) -> None:
            conn.request("GET", "/0")

        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            bodies.append(message.body_bytes)
            if len(bodies) < 10:
                conn.request("GET", f"/{len(bodies)}")

    manager = make_manager()
    manager.connect(python_server, Client())
    pump(manager, lambda: len(bodies) == 10)
    host = python_server[7:]
    assert bodies == [f"GET /{n} {host}".encode() for n in range(10)]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives_whole(
    chunked: bool, make_manager: MakeManager, python_server: str
) -> None:
    seen = Recorder()
    manager = make_manager()
    conn = manager.connect(python_server, seen)
    data = bytes(range(256)) * 4000
    if chunked:
        conn.request("PUT", headers={"Transfer-Encoding": "chunked"})
        for n in range(0, len(data), 100_000):
            conn.http_chunk(data[n : n + 100_000])
        conn.http_chunk(b"")
    else:
        conn.request("PUT", body=data)
    pump(manager, seen.saw(MG_EV_HTTP_MSG))
    assert seen.data(MG_EV_HTTP_MSG)[0][2] == data


def test_the_answer_to_head_has_no_body_and_the_next_one_has(
    make_manager: MakeManager, python_server: str
) -> None:
    seen = Recorder()
    manager = make_manager()
    conn = manager.connect(python_server, seen)
    conn.request("HEAD", "/")
    conn.request("GET", "/next")
    pump(manager, seen.saw(MG_EV_HTTP_MSG, 2))
    bodies = [body for _, _, body in seen.data(MG_EV_HTTP_MSG)]
    assert bodies[0] == b""
    assert b"/next" in bodies[1]


def test_closing_in_the_answers_handler_is_the_usual_way_to_end(
    make_manager: MakeManager, python_server: str
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_CONNECT:
            conn.request("GET")
        if ev == MG_EV_HTTP_MSG:
            conn.close()

    seen = Recorder(handle)
    manager = make_manager(seen)
    manager.connect(python_server)
    pump(manager, seen.saw(MG_EV_CLOSE))
    names = [name for name in seen.names() if name != "READ"]  # head and body may come apart
    assert names == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "HTTP_HDRS", "HTTP_MSG", "CLOSE"]


def test_a_request_written_by_hand_is_answered_too(
    make_manager: MakeManager, python_server: str
) -> None:
    seen = Recorder()
    manager = make_manager(seen)
    conn = manager.connect(python_server)
    conn.send("GET /hand HTTP/1.1\r\nHost: h\r\n")
    conn.http_basic_auth("user", "password")
    conn.send("\r\n")
    pump(manager, seen.saw(MG_EV_HTTP_MSG))
    assert seen.data(MG_EV_HTTP_MSG)[0][2] == b"GET /hand h"


def test_our_client_and_our_server_get_along_over_a_unix_socket(
    make_manager: MakeManager, tmp_path: Any
) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            conn.reply(200, f"{data.header('Host')} {data.uri}")

    manager = make_manager()
    manager.listen(f"unix://{tmp_path}/s", handle, http=True)
    seen = Recorder()
    manager.connect(f"unix://{tmp_path}/s", seen, http=True).request("GET", "/u")
    pump(manager, seen.saw(MG_EV_HTTP_MSG))
    assert seen.data(MG_EV_HTTP_MSG)[0][2] == b"localhost /u"


# -- responses ---------------------------------------------------------------------------


def test_interim_responses_are_not_taken_for_the_answer(scripted: Scripted) -> None:
    scripted.request("GET")
    messages = scripted.answer(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK
    )
    assert messages == [("HTTP/1.1", "200", b"ok")]
    statuses = [uri for _, uri, _ in scripted.seen.data(MG_EV_HTTP_HDRS)]
    assert statuses == ["200"]


def test_pipelined_answers_come_in_order(scripted: Scripted) -> None:
    for n in range(3):
        scripted.conn.request("GET", f"/{n}")
    wire = b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n for n in range(3))
    assert [body for _, _, body in scripted.answer(wire, 3)] == [b"0", b"1", b"2"]


def test_a_chunked_answer_is_put_together(scripted: Scripted) -> None:
    scripted.request("GET")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n"
    assert scripted.answer(head + body) == [("HTTP/1.1", "200", b"abcde")]


def test_an_answer_without_length_ends_with_the_connection(scripted: Scripted) -> None:
    scripted.request("GET")
    scripted.peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    turns(scripted.manager)
    assert scripted.seen.data(MG_EV_HTTP_MSG) == []
    scripted.peer.close()
    pump(scripted.manager, scripted.seen.saw(MG_EV_CLOSE))
    assert scripted.seen.data(MG_EV_HTTP_MSG) == [("HTTP/1.1", "200", b"all of it")]
    assert scripted.seen.names()[-2:] == ["HTTP_MSG", "CLOSE"]


def test_an_answer_that_is_cut_off_is_an_error(scripted: Scripted) -> None:
    scripted.request("GET")
    scripted.peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    turns(scripted.manager)
    scripted.peer.close()
    pump(scripted.manager, scripted.seen.saw(MG_EV_CLOSE))
    assert scripted.seen.data(MG_EV_HTTP_MSG) == []
    assert len(scripted.seen.data(MG_EV_ERROR)) == 1
    assert scripted.seen.names()[-2:] == ["ERROR", "CLOSE"]


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
def test_what_is_no_proper_response_is_an_error(scripted: Scripted, wire: bytes) -> None:
    scripted.request("GET")
    scripted.peer.sendall(wire)
    pump(scripted.manager, scripted.seen.saw(MG_EV_CLOSE))
    assert scripted.seen.data(MG_EV_HTTP_MSG) == []
    assert len(scripted.seen.data(MG_EV_ERROR)) == 1


def test_a_streamed_answer_comes_in_pieces(make_manager: MakeManager) -> None:
    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_HDRS:
            conn.stream_body()

    seen = Recorder(handle)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(DEADLINE)
        talk = Scripted(make_manager(), listener, seen)
        with closing(talk.peer):
            talk.request("GET")
            talk.peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            pump(talk.manager, lambda: any(seen.data(MG_EV_READ)))
            assert talk.answer(b"half") == [("HTTP/1.1", "200", b"")]
    assert b"".join(data for data in seen.data(MG_EV_READ) if data) == b"halfhalf"


def test_a_response_that_says_close_ends_the_connection(scripted: Scripted) -> None:
    scripted.request("GET")
    scripted.answer(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    scripted.peer.close()
    pump(scripted.manager, scripted.seen.saw(MG_EV_CLOSE))
    assert scripted.seen.data(MG_EV_ERROR) == []
