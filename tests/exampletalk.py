"""Examples that serve, and what talks to them: HTTP clients, HTTP servers, browsers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import Page, browser_page, find_chromium
from programs import DEADLINE, Program

CHROMIUM = find_chromium()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@contextmanager
def serving(name: str, *args: str) -> Iterator[tuple[Program, int]]:
    """Start a server example on a free port; give the program and the port."""
    where = () if "--listen" in args else ("--port", "0")
    with Program(name, *where, *args) as program:
        yield program, int(program.line(r"listening on \w+://127\.0\.0\.1:(\d+)")[1])


@contextmanager
def listening(name: str, *args: str, scheme: str = "http") -> Iterator[tuple[Program, int]]:
    """Do the same for an example that takes a URL to listen at."""
    with serving(name, "--listen", f"{scheme}://127.0.0.1:0", *args) as started:
        yield started


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


def run(name: str, *args: str) -> tuple[int, str, str]:
    """Run an example to its end; return its exit code, output and errors."""
    with Program(name, *args) as program:
        return program.finish()


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

    with serving_on_a_thread(Answer) as port:
        yield port


@contextmanager
def serving_on_a_thread(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run the standard library's HTTP server; give its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """Give a page of a browser; it must not complain, but of an icon that is not there."""
    assert CHROMIUM is not None
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        yield page
        assert [text for text in page.complaints if "/favicon.ico" not in text] == []
