"""The examples about HTTP do what their docstrings say, with clients and servers of others."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from certificates import localhost, root
from exampletalk import (
    ask,
    library_server,
    listening,
    run,
    serving,
    serving_on_a_thread,
)
from programs import DEADLINE, Program, load_example


def test_http_hello_answers_its_page_and_knows_no_other() -> None:
    with serving("http/http_hello.py") as (program, port):
        assert ask(port, "GET", "/")[:2] == (200, b"hello, world\n")
        assert ask(port, "GET", "/nowhere")[0] == 404
        program.stop()


# -- http_server ------------------------------------------------------------


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the programs start in a folder of their own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_http_server_serves_the_pages_it_has_made(empty_folder: Path) -> None:
    with serving("http/http_server.py", "--root", "site") as (program, port):
        status, body, headers = ask(port, "GET", "/")
        assert (status, b"It works" in body) == (200, True)
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Content-Type"].startswith("text/html")
        assert b"<form" in ask(port, "GET", "/upload.html")[1]
        assert ask(port, "GET", "/nothing")[0] == 404
        assert program.line("^GET /$")
        program.stop()
    (empty_folder / "site" / "index.html").write_text("mine")
    with serving("http/http_server.py", "--root", "site") as (program, port):
        assert ask(port, "GET", "/")[1] == b"mine"  # what is there is left alone
        assert program.stop().endswith("stopped\n")


def test_http_server_has_an_api(empty_folder: Path) -> None:
    with serving("http/http_server.py") as (program, port):
        about = json.loads(ask(port, "GET", "/api/info")[1])
        assert about["server"] == "mongoose_py"
        assert about["protocol"] == "HTTP/1.1"
        status, body, _ = ask(port, "GET", "/api/else")
        assert (status, json.loads(body)) == (404, {"error": "no such page"})
        program.stop()


def test_http_server_keeps_uploads_in_their_folder(empty_folder: Path) -> None:
    with serving("http/http_server.py", "--root", "site") as (program, port):
        url = f"http://127.0.0.1:{port}/upload"
        files = [
            ("file", ("plain.txt", b"one")),
            ("file", ("../evil.txt", b"two")),
            ("file", ("C:\\docs\\three.txt", b"three")),
        ]
        answer = requests.post(url, files=files, timeout=DEADLINE)
        assert answer.json() == {"saved": ["plain.txt", "evil.txt", "three.txt"]}
        for nothing in ({"file": ("..", b"x")}, {"file": ("", b"x")}, {"text": (None, b"x")}):
            assert requests.post(url, files=nothing, timeout=DEADLINE).status_code == 400
        assert requests.post(url, data=b"no form", timeout=DEADLINE).status_code == 400
        program.stop()
    uploads = {path.name: path.read_bytes() for path in (empty_folder / "uploads").iterdir()}
    assert uploads == {"plain.txt": b"one", "evil.txt": b"two", "three.txt": b"three"}
    assert sorted(path.name for path in empty_folder.iterdir()) == ["site", "uploads"]


def test_http_server_speaks_tls(empty_folder: Path) -> None:
    localhost()  # skips where there is no openssl command
    with serving("http/http_server.py", "--tls") as (program, port):
        url = f"https://127.0.0.1:{port}/api/info"
        with pytest.warns(Warning, match="Unverified"):
            answer = requests.get(url, verify=False, timeout=DEADLINE)
        assert answer.json()["server"] == "mongoose_py"
        program.stop()


# -- http_client ------------------------------------------------------------


class Mirror(BaseHTTPRequestHandler):
    """Tells what it was asked."""

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        asked = [self.command, self.path, self.rfile.read(size).decode(), self.headers["X-Why"]]
        body = json.dumps(asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_http_client_sends_what_it_is_told(method: str) -> None:
    with serving_on_a_thread(Mirror) as port:
        url = f"http://127.0.0.1:{port}/path?q=1"
        data = [] if method == "GET" else ["--data", "text"]
        words = [url, "--method", method, "--header", "X-Why: to see", *data]
        code, output, errors = run("http/http_client.py", *words)
    head, _, body = output.partition("\n\n")
    assert (code, head, errors) == (0, "HTTP 200", "")
    assert json.loads(body) == [method, "/path?q=1", "text" if data else "", "to see"]


def test_http_client_fails_on_a_status_that_is_an_error() -> None:
    with library_server(404, b"none\n") as port:
        answer = run("http/http_client.py", f"http://127.0.0.1:{port}")
    assert answer == (1, "HTTP 404\n\nnone\n", "")


def test_http_client_shows_the_header_when_asked() -> None:
    with library_server(200, b"") as port:
        errors = run("http/http_client.py", f"http://127.0.0.1:{port}", "-v")[2]
    assert "* Content-Length: 0\n" in errors


def test_http_client_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        missing = str(tmp_path / "none.pem")
        for words in (
            [url],
            ["http://"],
            [f"{url}/a b"],
            [url, "--header", "no colon"],
            [url.replace("http", "https"), "--ca-cert", missing],
        ):
            code, output, errors = run("http/http_client.py", *words)
            assert (code, output) == (1, "")
            assert re.fullmatch("error: .*\n", errors), errors


def test_http_client_does_not_send_what_is_malformed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("http/http_client.py", "http/http_streaming_client.py"):
            code, output, errors = run(name, f"{url}/a b")
            assert (code, output) == (1, "")
            assert re.fullmatch("error: .*/a b.*\n", errors), errors
        assert run("http/http_client.py", url, "--header", "no colon")[2].startswith("error: ")


def test_http_client_waits_no_longer_than_it_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = run("http/http_client.py", url, "--timeout", "0.2")
    assert answer == (1, "", "error: no answer within 0.2 s\n")


def test_http_client_ends_on_ctrl_c_without_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Program("http/http_client.py", url) as program, silent.accept()[0]:
            program.process.send_signal(signal.SIGINT)
            assert program.finish() == (130, "", "")


def test_http_client_verifies_whom_it_talks_to() -> None:
    pair = localhost()
    words = ["--cert", str(pair.cert), "--key", str(pair.key)]
    with listening("advanced/tls_https_server.py", *words, scheme="https") as (server, port):
        url = f"https://localhost:{port}/"
        code, output, _ = run("http/http_client.py", url, "--ca-cert", str(root().cert))
        assert (code, "It works" in output) == (0, True)
        code, output, errors = run("http/http_client.py", url)
        assert (code, output) == (1, "")
        assert "certificate" in errors
        server.process.terminate()
        assert server.finish()[0] == 0


def test_the_client_class_can_be_used_by_other_programs(capfd: Any) -> None:
    module = load_example("http/http_client")
    with library_server(204, b"") as port:
        client = module.HttpClient(f"http://127.0.0.1:{port}")
        assert (client.method, client.data, client.timeout) == ("GET", None, 10)
        assert (client.done, client.response_code) == (False, None)
        assert client.execute()
    assert (client.done, client.response_code) == (True, 204)
    assert capfd.readouterr().out == "HTTP 204\n\n"


# -- http_streaming_client --------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://host", ("http", "host", 80, "/")),
        ("https://host/a?b", ("https", "host", 443, "/a?b")),
        ("host:8000/a", ("http", "host", 8000, "/a")),
        ("HTTP://[::1]:81/", ("http", "[::1]", 81, "/")),
    ],
)
@pytest.mark.parametrize("name", ["http/http_streaming_client", "advanced/http_proxy_client"])
def test_parse_url_takes_a_url_apart(name: str, url: str, parts: tuple[object, ...]) -> None:
    assert load_example(name).parse_url(url) == parts


def test_http_streaming_client_prints_pieces_as_they_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        where = f"127.0.0.1:{server.getsockname()[1]}/path"
        with Program("http/http_streaming_client.py", where) as program:
            conn = server.accept()[0]
            with conn:
                assert conn.recv(1000).startswith(b"GET /path HTTP/1.1\r\n")
                conn.sendall(b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n")
                for line in (b"first\n", b"second\n"):
                    conn.sendall(b"%x\r\n%b\r\n" % (len(line), line))
                    program.line(f"^{line.decode()}$")  # and none of them again
                conn.sendall(b"0\r\n\r\n")
                code, rest, errors = program.finish()
    assert (code, rest) == (0, "")
    assert errors == "HTTP/1.1 200 OK\nX-A: b\nTransfer-Encoding: chunked\n\n"


def test_http_streaming_client_takes_more_than_any_buffer() -> None:
    with library_server(200, b"x" * 8_000_000) as port:
        code, output, _ = run("http/http_streaming_client.py", f"http://127.0.0.1:{port}")
    assert (code, len(output)) == (0, 8_000_000)


def test_http_streaming_client_fails_when_the_body_is_cut_short() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Program("http/http_streaming_client.py", url) as program:
            with server.accept()[0] as conn:
                conn.recv(1000)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            code, output, errors = program.finish()
    assert (code, output) == (1, "half")
    assert "error: " in errors


# -- http_file_upload -------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_http_file_upload_stores_a_body_above_every_buffer(chunked: bool, tmp_path: Path) -> None:
    pieces = [os.urandom(1 << 20) for _ in range(8)]
    body = b"".join(pieces)
    folder = tmp_path / "new" / "folder"
    with listening("http/http_file_upload.py", "--upload-dir", str(folder)) as (program, port):
        status, answer, _ = ask(port, "POST", "/upload/a%20file", iter(pieces) if chunked else body)
        assert (status, answer) == (200, b"%d bytes uploaded successfully\n" % len(body))
        assert (folder / "a file").read_bytes() == body
        assert ask(port, "POST", "/upload/a%20file", b"new")[0] == 200
        assert ask(port, "POST", "/upload/", b"nameless")[0] == 200
        assert b"POST a file" in ask(port, "GET", "/")[1]
        assert ask(port, "POST", "/else", b"x")[0] == 404
        program.stop()
    stored = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert stored == {"a file": b"new", "upload.bin": b"nameless"}


@pytest.mark.parametrize("name", ["..", ".", "../evil", "%2e%2e%2fevil", "%2fevil", "a%00b"])
def test_http_file_upload_stores_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with listening("http/http_file_upload.py", "--upload-dir", str(folder)) as (program, port):
        assert ask(port, "POST", f"/upload/{name}", b"x" * 100_000)[0] == 400
        program.stop()
    assert list(tmp_path.rglob("*")) == [folder]


def test_http_file_upload_leaves_nothing_of_what_was_cut_short(tmp_path: Path) -> None:
    head = b"POST /upload/name HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
    with listening("http/http_file_upload.py", "--upload-dir", str(tmp_path)) as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(head + b"x")
            wait_for(lambda: list(tmp_path.iterdir()))
        wait_for(lambda: not list(tmp_path.iterdir()))
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(head)
            wait_for(lambda: list(tmp_path.iterdir()))
            program.stop()  # in the middle of it
    assert list(tmp_path.iterdir()) == []


def wait_for(condition: Any) -> None:
    """Return when something has happened to files, of which nobody is told."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"


# -- http_restful_server ----------------------------------------------------


def test_http_restful_server_answers_its_api() -> None:
    with listening("http/http_restful_server.py") as (program, port):
        assert json.loads(ask(port, "GET", "/api/f2/x")[1]) == {"result": "/api/f2/x"}
        status, body, _ = ask(port, "POST", "/api/data", '{"a": [1, "\\ud800"]}')
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success")
        assert answer["received"] == {"a": [1, "\ud800"]}
        status, body, _ = ask(port, "GET", "/no/such")
        assert (status, json.loads(body)["path"]) == (404, "/no/such")
        assert b"<li>" in ask(port, "GET", "/")[1]
        program.stop()


@pytest.mark.parametrize("body", ["", "{", "NaN", "[1e999]", "[" * 100_000, b"\xff"])
def test_http_restful_server_takes_json_only(body: str | bytes) -> None:
    with listening("http/http_restful_server.py") as (program, port):
        status, answer, _ = ask(port, "POST", "/api/data", body)
        assert (status, json.loads(answer)) == (400, {"error": "Invalid JSON"})
        program.stop()


def test_http_restful_server_lists_every_connection() -> None:
    with listening("http/http_restful_server.py") as (program, port):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as idle:
            idle.request("GET", "/")
            idle.getresponse().read()
            status, body, headers = ask(port, "GET", "/api/stats")
        assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
        title, *lines = body.decode().splitlines()
        assert title.split() == ["ID", "PROTO", "TYPE", "LOCAL", "REMOTE"]
        assert [line.split()[2] for line in lines] == ["accepted", "accepted", "listener"]
        assert lines[-1].split()[3:] == [f"127.0.0.1:{port}", "-"]
        program.stop()


def test_http_restful_server_serves_files_when_told_which(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file")
    with listening("http/http_restful_server.py", "--root-dir", str(tmp_path)) as (program, port):
        assert ask(port, "GET", "/file.txt")[1] == b"a file"
        status, body, _ = ask(port, "GET", "/missing.txt")
        assert (status, json.loads(body)["path"]) == (404, "/missing.txt")
        program.stop()


# -- http_sse_server --------------------------------------------------------


def next_event(stream: http.client.HTTPResponse) -> tuple[str, Any]:
    """Return name and data of the next event of a stream."""
    name, data, end = (stream.readline().decode() for _ in range(3))
    assert (name[:7], data[:6], end) == ("event: ", "data: ", "\n")
    return name[7:-1], json.loads(data[6:])


def test_http_sse_server_tells_everyone_who_watches() -> None:
    with listening("http/http_sse_server.py", "--interval", "1") as (program, port):
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE) for _ in "ab"]
        streams = []
        for client in clients:
            client.request("GET", "/events")
            streams.append(client.getresponse())
            assert streams[-1].headers["Content-Type"] == "text/event-stream"
            assert next_event(streams[-1])[0] == "connected"
        assert ask(port, "GET", "/trigger")[:2] == (200, b"sent to 2\n")
        for stream in streams:
            numbers: list[int] = []
            manual = 0
            while manual == 0 or len(numbers) < 2:
                name, data = next_event(stream)
                assert name in ("update", "manual")
                manual += name == "manual"
                numbers += [data["number"]] if name == "update" else []
            assert manual == 1
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        stats = json.loads(ask(port, "GET", "/stats")[1])
        assert stats["active_connections"] == 2
        assert stats["events_sent"] >= 6
        program.stop()  # while both still watch
        for client in clients:
            client.close()


def test_http_sse_server_goes_on_when_a_watcher_leaves() -> None:
    with listening("http/http_sse_server.py", "--interval", "1") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as leaver:
            leaver.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert leaver.recv(12) == b"HTTP/1.1 200"
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as stayer:
            stayer.request("GET", "/events")
            stream = stayer.getresponse()
            assert [next_event(stream)[0] for _ in range(3)] == ["connected", "update", "update"]
            assert json.loads(ask(port, "GET", "/stats")[1])["active_connections"] == 1
            assert ask(port, "HEAD", "/events")[0] == 404
            program.stop()


# -- graceful shutdown ------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_graceful_shutdown_closes_what_is_open_and_says_so(signum: int) -> None:
    with listening("http/graceful-shutdown.py") as (program, port):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        with closing(client):
            client.request("GET", "/")
            assert client.getresponse().read() == b"hello\n"
            assert program.stop(signum) == "closed a connection\nstopped\n"


def test_graceful_shutdown_drain_sends_what_was_begun_and_takes_nothing_new() -> None:
    with listening("http/graceful-shutdown-drain.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            got = len(slow.recv(1000))
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionError):
                while True:
                    ask(port, "GET", "/")
            while piece := slow.recv(1 << 20):
                got += len(piece)
        assert got > 20_000_000
        assert program.finish() == (0, "stopped\n", "")


def test_graceful_shutdown_drain_does_not_wait_for_ever() -> None:
    with (
        listening("http/graceful-shutdown-drain.py") as (program, port),
        socket.create_connection(("127.0.0.1", port), DEADLINE) as idle,
    ):
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(1000)  # and no more
        assert program.stop() == "stopped\n"


# -- http_web_framework -----------------------------------------------------


def test_http_web_framework_runs_its_demo() -> None:
    with listening("http/http_web_framework.py") as (program, port):

        def api(method: str, path: str, body: str | None = None) -> tuple[int, Any]:
            status, answer, headers = ask(port, method, path, body)
            assert headers["Content-Type"] == "application/json"
            return status, json.loads(answer)

        assert ask(port, "GET", "/greet/J%C3%B6rg")[1].decode() == "Hello, Jörg!\n"
        assert ask(port, "GET", "/greet/%ff")[0] == 200
        assert api("POST", "/items", '{"name": "lamp"}') == (201, {"name": "lamp", "id": 1})
        assert api("POST", "/items", "{")[0] == 400
        assert api("POST", "/items", json.dumps({"name": "x" * 10_000}))[0] == 507
        assert api("POST", "/items", '{"name": 1e999}')[0] == 400
        assert api("GET", "/items") == (200, {"items": [{"name": "lamp", "id": 1}]})
        assert api("GET", "/items/1") == (200, {"name": "lamp", "id": 1})
        assert api("DELETE", "/items/1") == (200, {"name": "lamp", "id": 1})
        assert api("GET", "/items/1")[0] == 404
        assert ask(port, "GET", f"/items/{'9' * 5000}")[0] == 404
        assert ask(port, "GET", "/items/one")[0] == 404
        assert ask(port, "PUT", "/items")[0] == 404
        assert program.stop() == "stopped\n"


FRAMEWORK_APP = """
import sys
sys.path.insert(0, {folder!r})
from http_web_framework import App, Response, json_response

app = App()

@app.before_request
def before(request):
    request.extras["seen"] = request.header("X-A", "none")

@app.after_request
def after(request, response):
    response.headers["X-Seen"] = request.extras["seen"]
    return response

@app.not_found
def missing(request):
    return json_response({{"missing": request.uri}}, 404)

@app.get("/nothing")
def nothing(request):
    return None

@app.put("/files/<path:name>")
def put(request, name):
    return Response(f"{{name}} {{request.body_text}}", 201, {{"Content-Type": "text/x"}})

@app.delete("/a.c/<int:number>")
def delete(request, number):
    return {{"next": number + 1, "q": request.query_var("q", "-")}}, 202

app.run("http://127.0.0.1:0", 20)
"""


def test_http_web_framework_carries_other_programs(tmp_path: Path) -> None:
    from programs import EXAMPLES

    program_text = FRAMEWORK_APP.format(folder=str(EXAMPLES / "http"))
    (tmp_path / "app.py").write_text(program_text)
    with Program(str(tmp_path / "app.py")) as program:
        port = int(program.line(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        status, body, headers = ask(port, "GET", "/nothing")
        assert (status, body, headers["X-Seen"]) == (200, b"", "none")
        status, body, headers = ask(port, "PUT", "/files/a/b", "text")
        assert (status, body, headers["Content-Type"]) == (201, b"a/b text", "text/x")
        status, body, _ = ask(port, "DELETE", "/a.c/41?q=%41")
        assert (status, json.loads(body)) == (202, {"next": 42, "q": "A"})
        assert json.loads(ask(port, "DELETE", "/a.c/41?q=%4")[1])["q"] == "-"
        for method, path in (("DELETE", "/abc/41"), ("GET", "/files/x"), ("PUT", "/files/")):
            status, body, _ = ask(port, method, path)
            assert (status, json.loads(body)) == (404, {"missing": path})
        program.stop()
