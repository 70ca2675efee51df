"""The HTTP server and its clients: kept-alive connections, refusals, limits.

RFC 9110 and 9112. What any input does is tested in test_http_properties.py.
"""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from contextlib import closing
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest
import requests
from conftest import DEADLINE, Recorder, dial, exchange, pump, receive_all, turns
from httptalk import GET, Talk, on_request

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    Connection,
    ConnectionClosed,
    Error,
    HttpMessage,
    Limits,
    Manager,
)

MakeManager = Callable[..., Manager]
Serve = Callable[..., str]


# -- real clients --------------------------------------------------------------


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


# -- keeping alive or not ------------------------------------------------------


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


# -- refusing ------------------------------------------------------------------


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


# -- HTTP or not ---------------------------------------------------------------


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


# -- authentication ------------------------------------------------------------


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


# -- back pressure -------------------------------------------------------------


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
