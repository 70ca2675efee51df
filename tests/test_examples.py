"""Every small example does what its docstring says, and ends cleanly.

The gateway has files of its own: test_gateway.py and test_gateway_demo.py.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dnsserver import Server as NameServer
from dnsserver import zone
from programs import DEADLINE, EXAMPLES, Program
from sntppackets import Packet, Server


@contextmanager
def serving(name: str) -> Iterator[tuple[Program, int]]:
    """Start a server example on a free port; give the program and the port."""
    with Program(name, "--port", "0") as program:
        yield program, int(program.line(r"listening on \w+://127\.0\.0\.1:(\d+)")[1])


def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Make one HTTP request with the standard library's client."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as client:
        client.request(method, path, body=body)  # type: ignore[arg-type]
        response = client.getresponse()
        return response.status, response.read(), response.headers


@contextmanager
def library_server(status: int, body: bytes) -> Iterator[int]:
    """Run an HTTP server that is not ours; give its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def fetch(url: str) -> tuple[int, str, str]:
    """Run http_client.py; return its exit code, output and errors."""
    with Program("http_client.py", url) as program:
        return program.finish()


def test_the_index_names_every_file_and_nothing_else() -> None:
    linked = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert linked == {path.name for path in EXAMPLES.glob("*.py")}


def test_ws_chat_and_ws_client_talk_to_each_other() -> None:
    with serving("ws_chat.py") as (chat, port):
        assert ask(port, "GET", "/")[2]["Content-Type"].startswith("text/html")
        url = f"ws://127.0.0.1:{port}/chat"
        with Program("ws_client.py", url, "first") as first:
            first.line("^1 here$")
            first.line(r"^#\d+: first$")
            with Program("ws_client.py", url, "second") as second:
                first.line("^2 here$")
                first.line(r"^#\d+: second$")
                second.line("^2 here$")
                second.stop()
            first.stop()
        assert ask(port, "GET", "/chat")[0] == 426
        chat.stop()


def test_ws_client_shows_why_it_was_refused() -> None:
    with (
        library_server(404, b"") as port,
        Program("ws_client.py", f"ws://127.0.0.1:{port}/", "x") as program,
    ):
        code, _, errors = program.finish()
    assert code == 1
    assert "404" in errors


def test_http_hello_answers_its_page_and_knows_no_other() -> None:
    with serving("http_hello.py") as (program, port):
        assert ask(port, "GET", "/")[:2] == (200, b"hello, world\n")
        assert ask(port, "GET", "/nowhere")[0] == 404
        program.stop()


def test_http_hello_ends_on_sigterm_too() -> None:
    with serving("http_hello.py") as (program, port):
        ask(port, "GET", "/")
        program.stop(signal.SIGTERM)


def test_a_second_server_on_the_same_port_says_so_and_fails() -> None:
    with serving("http_hello.py") as (program, port):
        ask(port, "GET", "/")
        with Program("http_hello.py", "--port", str(port)) as second:
            code, _, errors = second.finish()
            assert code == 1
            assert str(port) in errors
        program.stop()


def test_tcp_line_server_answers_lines_wherever_the_reads_end() -> None:
    with serving("tcp_line_server.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            replies = client.makefile("rb")
            client.sendall(b"one\ntw")
            assert replies.readline() == b"ONE\n"  # so "tw" has been read and kept
            client.sendall(b"o\n\nlast\n")
            assert [replies.readline() for _ in range(3)] == [b"TWO\n", b"\n", b"LAST\n"]
            replies.close()
        program.stop()


def test_tcp_line_server_sends_an_endless_line_away() -> None:
    with serving("tcp_line_server.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(b"x" * 1025)
            replies = client.makefile("rb")
            assert replies.read() == b"LINE TOO LONG\n"
            replies.close()
        program.stop()


def test_udp_listener_prints_and_acknowledges_each_datagram() -> None:
    with serving("udp_listener.py") as (program, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            client.connect(("127.0.0.1", port))
            for datagram in (b"hello\n", b"", b"\xff\0"):
                client.send(datagram)
                assert client.recv(100) == b"%d bytes\n" % len(datagram)
                address = f"127.0.0.1:{client.getsockname()[1]}"
                program.line(re.escape(f"{address} {datagram!r}"))
        program.stop()


def test_sntp_clock_prints_the_time_and_how_far_this_machine_is_off() -> None:
    with Server() as server, Program("sntp_clock.py", server.url) as program:
        server.tell(server.asked(), 1_704_067_200)
        program.line(
            r"^2024-01-01T00:00:0\d\.\d{3}\+00:00 this clock is \d+\.\d{3} s fast, within "
        )
        assert program.finish() == (0, "", "")


def test_sntp_clock_goes_on_after_an_answer_that_is_of_no_use() -> None:
    with Server() as server, Program("sntp_clock.py", server.url, "--interval", "0.05") as program:
        server.say(Packet(server.asked(), 1, 1, leap=3))
        for day in range(3):
            server.tell(server.asked(), 1_704_067_200 + day * 86400)
            program.line(f"^2024-01-0{day + 1}T")
        program.process.send_signal(signal.SIGINT)
        assert program.finish()[::2] == (0, "SNTP: the server's clock is not synchronized\n")


def test_sntp_clock_fails_when_the_server_refuses() -> None:
    with Server() as server, Program("sntp_clock.py", server.url) as program:
        server.say(Packet(server.asked(), 0, 0, stratum=0, reference=b"DENY", leap=3))
        code, output, errors = program.finish()
    assert (code, output) == (1, "")
    assert "DENY" in errors


ADDRESSES = {"one.test": ["10.0.0.1"], "two.test": ["10.0.0.2", "::2"]}


def test_dns_client_prints_the_addresses_of_all_names_and_fails_if_one_has_none() -> None:
    with NameServer(zone(ADDRESSES)) as server:
        with Program("dns_client.py", "one.test", "two.test", "--server", server.url) as program:
            code, output, errors = program.finish()
        assert (code, errors) == (0, "")
        assert sorted(output.splitlines()) in (
            ["one.test 10.0.0.1", "two.test 10.0.0.2 ::2"],
            ["one.test 10.0.0.1", "two.test ::2 10.0.0.2"],
        )
        with Program("dns_client.py", "no.test", "one.test", "--server", server.url) as program:
            assert program.finish() == (
                1,
                "one.test 10.0.0.1\n",
                "no.test DNS lookup failed: there is no such name\n",
            )


def test_dns_client_asks_again_and_again_when_told_to() -> None:
    server = NameServer(zone(ADDRESSES))
    args = ["one.test", "localhost", "--interval", "0.05", "--server", server.url]
    with server, Program("dns_client.py", *args) as program:
        lines = {program.line(r"^(\w+)")[1] for _ in range(8)}
        program.stop()
    assert lines == {"one", "localhost"}


def test_dns_client_says_what_is_no_name_and_no_server() -> None:
    for args, text in (
        (["a..b"], "'a..b' is neither an address nor a host name"),
        (["a", "--server", "dns.test"], "'dns.test' is not a numeric address"),
    ):
        with Program("dns_client.py", *args) as program:
            code, output, errors = program.finish()
        assert (code, output) == (2, "")
        assert text in errors


def test_http_client_prints_the_body_that_another_server_sends() -> None:
    with library_server(200, b"some body\n") as port:
        assert fetch(f"http://127.0.0.1:{port}/") == (0, "some body\n", "200 OK\n")


def test_http_client_fails_on_a_status_that_is_an_error() -> None:
    with library_server(404, b"none\n") as port:
        assert fetch(f"http://127.0.0.1:{port}/") == (1, "none\n", "404 Not Found\n")


def test_http_client_asks_for_the_path_and_query_of_its_url() -> None:
    with serving("http_hello.py") as (server, port):
        assert fetch(f"http://127.0.0.1:{port}/nowhere?x=1") == (
            1,
            "no such page\n",
            "404 Not Found\n",
        )
        server.stop()


def test_http_client_says_why_it_could_not_connect() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = unused.getsockname()[1]
        code, output, errors = fetch(f"http://127.0.0.1:{port}/")
    assert (code, output) == (1, "")
    assert errors.startswith("error: ")


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_streaming_upload_hashes_a_body_above_every_buffer(chunked: bool) -> None:
    pieces = [os.urandom(1 << 20) for _ in range(8)]
    body = b"".join(pieces)
    with serving("streaming_upload.py") as (program, port):
        status, answer, _ = ask(port, "PUT", "/big", iter(pieces) if chunked else body)
        assert (status, answer) == (200, f"{hashlib.sha256(body).hexdigest()}  -\n".encode())
        program.stop()


def test_streaming_upload_takes_put_only() -> None:
    with serving("streaming_upload.py") as (program, port):
        status, _, headers = ask(port, "POST", "/", b"body")
        assert (status, headers["Allow"]) == (405, "PUT")
        program.stop()


def test_sse_clock_ticks_for_everyone_who_watches() -> None:
    with serving("sse_clock.py") as (program, port):
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE) for _ in "ab"]
        streams = []
        for client in clients:
            client.request("GET", "/time")
            streams.append(client.getresponse())
            assert streams[-1].headers["Content-Type"] == "text/event-stream"
        for stream in streams:
            for _ in range(2):
                assert stream.readline() == b"event: tick\n"
                assert re.fullmatch(rb"data: \d\d:\d\d:\d\d\n", stream.readline())
                assert stream.readline() == b"\n"
        program.stop()  # while both still watch
        for client in clients:
            client.close()


def test_sse_clock_goes_on_when_a_watcher_leaves() -> None:
    with serving("sse_clock.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as leaver:
            leaver.sendall(b"GET /time HTTP/1.1\r\nHost: x\r\n\r\n")
            assert leaver.recv(12) == b"HTTP/1.1 200"
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as stayer:
            stayer.request("GET", "/time")
            stream = stayer.getresponse()
            ticks = [stream.readline() for _ in range(6)]
            assert ticks.count(b"event: tick\n") == 2
            program.stop()
