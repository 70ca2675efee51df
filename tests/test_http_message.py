"""``HttpMessage``: the fields of requests and responses, and views gone stale."""

from __future__ import annotations

import threading
from typing import Any, Callable
from urllib.parse import quote

import pytest
from conftest import DEADLINE, dial, exchange, pump, running
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mongoose_py import MG_EV_HTTP_MSG, Connection, HttpMessage, Manager
from mongoose_py._mongoose import HttpMessage as SameHttpMessage

MakeManager = Callable[..., Manager]


class Asking:
    """A server that asks each request something and keeps the answer."""

    def __init__(self, manager: Manager) -> None:
        self.question: Callable[[HttpMessage], Any] = bool
        self.answers: list[Any] = []
        self.manager = manager
        self.listener = manager.listen("http://127.0.0.1:0", self.handle, events=[MG_EV_HTTP_MSG])

    def handle(self, conn: Connection, ev: int, data: HttpMessage) -> None:
        try:
            self.answers.append(self.question(data))
        except Exception as exc:
            self.answers.append(exc)
        conn.reply(405 if data.method == "CONNECT" else 200, "ok")  # no tunnels here

    def about(self, request: bytes, question: Callable[[HttpMessage], Any]) -> Any:
        """Return the answer to *question* about one request."""
        self.question = question
        with dial(self.listener) as client:
            exchange(self.manager, client, request, b"ok")
        return self.answers.pop()


@pytest.fixture
def asking(make_manager: MakeManager) -> Asking:
    return Asking(make_manager())


def get(target: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *lines, "", ""]).encode(
        "utf-8", "surrogateescape"
    )


def post(body: bytes, *lines: str) -> bytes:
    head = "\r\n".join(["POST / HTTP/1.1", "Host: h", *lines, f"Content-Length: {len(body)}"])
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


# -- fields ---------------------------------------------------------------------------


def test_a_request_has_method_path_query_and_protocol(asking: Asking) -> None:
    fields = asking.about(
        get("/a%20b?x=1&y=%41?"), lambda m: (m.method, m.uri, m.query, m.proto, m.status(), bool(m))
    )
    assert fields == ("GET", "/a%20b", "x=1&y=%41?", "HTTP/1.1", 0, True)


def test_without_a_query_it_is_empty(asking: Asking) -> None:
    assert asking.about(get("/"), lambda m: m.query) == ""
    assert asking.about(get("/?"), lambda m: m.query) == ""


def test_the_case_of_a_method_is_kept(asking: Asking) -> None:
    assert asking.about(b"gEt / HTTP/1.1\r\nHost: h\r\n\r\n", lambda m: m.method) == "gEt"


def test_the_body_is_there_as_bytes_and_as_text(asking: Asking) -> None:
    body = bytes(range(256)) + "é".encode()
    raw, text = asking.about(post(body), lambda m: (m.body_bytes, m.body_text))
    assert raw == body
    assert text.encode("utf-8", "surrogateescape") == body


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_body_comes_back_unchanged(body: bytes) -> None:
    with Manager() as manager:
        asking = Asking(manager)
        assert asking.about(post(body), lambda m: m.body_bytes) == body


def test_repr_shows_the_request_line(asking: Asking) -> None:
    assert asking.about(get("/x"), repr) == "<HttpMessage GET /x HTTP/1.1>"
    assert repr(HttpMessage()) == "<HttpMessage stale>"


# -- headers --------------------------------------------------------------------------


def test_headers_are_listed_in_order_with_their_names_as_sent(asking: Asking) -> None:
    headers = asking.about(
        get("/", "X-One:  a  ", "x-TWO:b", "X-One: c", "Empty:"), lambda m: m.headers()
    )
    assert headers == [("Host", "h"), ("X-One", "a"), ("x-TWO", "b"), ("X-One", "c"), ("Empty", "")]


def test_a_header_is_found_without_regard_to_case(asking: Asking) -> None:
    request = get("/", "X-One: first", "x-one: second", "Empty:")
    assert asking.about(request, lambda m: m.header("x-ONE")) == "first"
    assert asking.about(request, lambda m: m.header("Empty")) == ""
    assert asking.about(request, lambda m: m.header("X")) is None


@pytest.mark.parametrize("default", [None, "text", 7, [], object()])
def test_a_missing_header_gives_the_default_whatever_it_is(asking: Asking, default: Any) -> None:
    assert asking.about(get(), lambda m: m.header("X-No", default)) is default
    assert asking.about(get(), lambda m: m.header("X-No", default=default)) is default


def test_repeated_cookies_are_joined(asking: Asking) -> None:
    request = get("/", "Cookie: a=1", "X: y", "cookie: b=2")
    assert asking.about(request, lambda m: m.header("COOKIE")) == "a=1; b=2"
    assert asking.about(get(), lambda m: m.header("cookie", "none")) == "none"


def test_undecodable_header_bytes_can_be_had_back(asking: Asking) -> None:
    value = "caf\udce9"
    assert asking.about(get("/", f"X: {value}"), lambda m: m.header("X")) == value
    assert value.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_header_name_with_nul_is_a_value_error(asking: Asking) -> None:
    assert isinstance(asking.about(get(), lambda m: m.header("X\0")), ValueError)
    assert isinstance(asking.about(get(), lambda m: m.query_var("X\0")), ValueError)


def test_a_hundred_headers_are_all_seen(asking: Asking) -> None:
    lines = [f"X-{n}: {n}" for n in range(99)]
    assert asking.about(get("/", *lines), lambda m: len(m.headers())) == 100
    assert asking.about(get("/", *lines), lambda m: m.header("x-98")) == "98"


TYPED = 'Content-Type: text/html; CharSet="utf-8"; a=1; boundary = x'


@pytest.mark.parametrize(
    ("header", "name", "value"),
    [
        ("Content-Type", "charset", "utf-8"),
        ("content-type", "CHARSET", "utf-8"),
        ("Content-Type", "a", "1"),
        ("Content-Type", "boundary", "x"),
        ("Content-Type", "har", None),
        ("X-Missing", "charset", None),
    ],
)
def test_a_parameter_of_a_header_is_found_by_its_whole_name(
    asking: Asking, header: str, name: str, value: Any
) -> None:
    assert asking.about(get("/", TYPED), lambda m: m.header_var(header, name)) == value


# -- query ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("a=1&b=2", "b", "2"),
        ("A=1", "a", "1"),
        ("a=1&a=2", "a", "1"),
        ("a=", "a", ""),
        ("a", "a", ""),
        ("a=1", "b", None),
        ("q=caf%C3%A9+au%20lait", "q", "café au lait"),
        ("h%20i=x", "h i", "x"),
        ("n=%00", "n", "\0"),
        ("", "a", None),
    ],
)
def test_a_query_parameter_is_decoded(asking: Asking, query: str, name: str, value: Any) -> None:
    assert asking.about(get(f"/?{query}"), lambda m: m.query_var(name)) == value


def test_a_malformed_escape_is_a_value_error(asking: Asking) -> None:
    answer = asking.about(get("/?a=%zz"), lambda m: m.query_var("a"))
    assert isinstance(answer, ValueError)
    assert "%zz" in str(answer)


def test_a_query_value_may_be_long(asking: Asking) -> None:
    long = "x" * 7000
    assert asking.about(get(f"/?a=1&q={long}"), lambda m: m.query_var("q")) == long


UNICODE = st.characters(exclude_categories=["Cs"])


@settings(max_examples=60)
@given(
    st.text(UNICODE, max_size=40),
    st.text(UNICODE, min_size=1, max_size=20).filter(lambda name: "\0" not in name),
)
@example("\0", "a")
def test_whatever_was_quoted_is_read_back(value: str, name: str) -> None:
    query = f"{quote(name, safe='')}={quote(value, safe='')}"
    with Manager() as manager:
        asking = Asking(manager)
        assert asking.about(get(f"/?{query}&x=1"), lambda m: m.query_var(name)) == value


# -- targets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "http://h/path"), ("OPTIONS", "*"), ("CONNECT", "host:443")],
)
def test_other_forms_of_target_are_given_as_they_came(
    asking: Asking, method: str, target: str
) -> None:
    request = f"{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    assert asking.about(request, lambda m: m.uri) == target


# -- responses ------------------------------------------------------------------------


def test_a_response_has_protocol_status_and_reason(make_manager: MakeManager) -> None:
    got: list[Any] = []

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            got.append((data.method, data.uri, data.proto, data.query, data.status()))
            got.append((data.header("x-custom"), data.body_text))

    manager = make_manager()
    server = manager.listen(
        "http://127.0.0.1:0",
        lambda conn, ev, data: ev == MG_EV_HTTP_MSG and conn.reply(404, "gone", {"X-Custom": "é"}),
    )
    assert server.local_addr is not None
    manager.connect(f"http://127.0.0.1:{server.local_addr[1]}", client).request("GET")
    pump(manager, lambda: got)
    assert got == [("HTTP/1.1", "404", "Not Found", "", 404), ("é", "gone")]


# -- stale ----------------------------------------------------------------------------


def assert_stale(message: HttpMessage) -> None:
    assert not message
    assert bool(message) is False
    assert (message.method, message.uri, message.query, message.proto) == ("",) * 4
    assert (message.body_text, message.body_bytes) == ("", b"")
    assert message.headers() == []
    assert message.header("Host") is None
    assert message.header("Cookie") is None
    assert message.header("Host", "default") == "default"
    assert message.header_var("Content-Type", "charset") is None
    assert message.query_var("a") is None
    assert message.status() is None


def test_a_message_is_empty_once_its_handler_has_returned(asking: Asking) -> None:
    kept: list[HttpMessage] = []
    asking.about(get("/?a=1", "Cookie: a=1"), kept.append)
    assert_stale(kept[0])


@pytest.mark.parametrize("make", [HttpMessage, lambda: HttpMessage.__new__(HttpMessage)])
def test_a_message_made_by_hand_is_stale(make: Callable[[], HttpMessage]) -> None:
    assert_stale(make())


def test_both_modules_name_the_same_class() -> None:
    assert SameHttpMessage is HttpMessage


def test_a_message_stays_whole_while_its_handler_waits_for_another_thread(
    make_manager: MakeManager,
) -> None:
    """The other thread sends on the same manager meanwhile, so buffers are at work."""
    bodies: list[bytes] = []

    def handle(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            worker = threading.Thread(target=lambda: [conn.send_len for _ in range(200)])
            other = threading.Thread(target=manager.connect, args=(url,))
            for thread in (worker, other):
                thread.start()
            for thread in (worker, other):
                thread.join(DEADLINE)
            bodies.append(data.body_bytes)
            conn.reply(200, "ok")

    manager = make_manager(handle)
    listener = manager.listen("http://127.0.0.1:0")
    assert listener.local_addr is not None
    url = f"http://127.0.0.1:{listener.local_addr[1]}"
    body = b"0123456789" * 1000
    with running(manager), dial(listener) as client:
        client.sendall(post(body))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert bodies == [body]
