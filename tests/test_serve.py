"""``python -m mongoose_py serve``, started and ended as from a shell."""

from __future__ import annotations

import http.client
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import localhost
from conftest import DEADLINE
from tlskit import client_context

from mongoose_py.serve import escaped


class Server:
    """The program in a process of its own, and what it prints."""

    def __init__(self, *args: str, cwd: Path | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "mongoose_py", "serve", *args],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.banner = self.line()
        self.port = int(re.findall(r":(\d+)/", self.banner)[0])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self) -> str:
        """Return the next line it prints."""
        return self._lines.get(timeout=DEADLINE)

    def get(self, target: str, method: str = "GET") -> tuple[int, bytes]:
        """Make one request."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        client.request(method, target)
        response = client.getresponse()
        body = response.read()
        client.close()
        return response.status, body

    def raw(self, wire: bytes) -> bytes:
        """Send bytes and return all that comes back until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as sock:
            sock.sendall(wire)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def end(self, signum: int = signal.SIGINT) -> tuple[int, str]:
        """End it with a signal; return exit code and errors."""
        self.process.send_signal(signum)
        code = self.process.wait(DEADLINE)
        self._errors.seek(0)
        return code, self._errors.read().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(b"hello\n")
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    server = Server(str(folder), "--port", "0")
    yield server
    server.close()


def refused(*args: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command that is to fail; return exit code and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "mongoose_py", *args],
        cwd=cwd,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def test_it_says_where_it_serves_what(server: Server, folder: Path) -> None:
    assert server.banner == (
        f"Serving {str(folder)!r} at http://127.0.0.1:{server.port}/ (stop with Ctrl-C)\n"
    )
    assert server.get("/a.txt") == (200, b"hello\n")


def test_the_current_directory_is_served_by_default(folder: Path) -> None:
    server = Server("--port", "0", cwd=folder)
    try:
        assert server.get("/a.txt") == (200, b"hello\n")
    finally:
        server.close()


def test_each_request_is_a_line_of_the_log(server: Server) -> None:
    for target, method, status in (
        ("/a.txt?x=%20y", "GET", 200),
        ("/missing", "GET", 404),
        ("/sub", "HEAD", 301),
        ("/sub/", "GET", 403),
        ("/a.txt", "DELETE", 405),
        ("/%2e%2e/a.txt", "GET", 400),
    ):
        assert server.get(target, method)[0] == status
        when = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        request = re.escape(f'"{method} {target} HTTP/1.1"')
        line = server.line()
        assert re.fullmatch(rf"127\.0\.0\.1 - - {when} {request} {status} \d+\n", line)


@pytest.mark.parametrize("size", [0, 6, 16384, 16385, 1000000])
def test_the_log_counts_the_bytes_of_the_answer(server: Server, folder: Path, size: int) -> None:
    (folder / "big").write_bytes(b"x" * size)
    answer = server.raw(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert server.line().endswith(f" 200 {len(answer)}\n")


def test_a_request_cannot_forge_a_line_of_the_log(server: Server) -> None:
    server.raw(b'GET /"200\\n?" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
    assert '"GET /\\x22200\\x5cn?\\x22 HTTP/1.1" 400 ' in server.line()


def test_only_plain_ascii_reaches_the_terminal() -> None:
    assert escaped("GET /a%20b?c=d HTTP/1.1") == "GET /a%20b?c=d HTTP/1.1"
    assert escaped('\x1b[2J\r\n"\\\x7f') == r"\x1b[2J\x0d\x0a\x22\x5c\x7f"
    assert escaped("é\udcff\u202e") == r"\xc3\xa9\xff\xe2\x80\xae"


def test_directories_are_listed_only_when_asked_for(server: Server, folder: Path) -> None:
    assert server.get("/")[0] == 403
    listing = Server(str(folder), "--port", "0", "--listing")
    try:
        status, page = listing.get("/")
        assert status == 200
        assert b'<a href="a.txt">' in page
    finally:
        listing.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(server: Server, signum: int) -> None:
    assert server.get("/a.txt")[0] == 200
    assert server.end(signum) == (0, "")


def test_a_signal_ends_it_cleanly_in_the_middle_of_a_download(server: Server, folder: Path) -> None:
    with (folder / "big").open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(100)
        assert server.end(signal.SIGTERM) == (0, "")


def test_a_reader_of_the_log_may_go_away(folder: Path) -> None:
    command = [sys.executable, "-m", "mongoose_py", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        port = int(re.findall(rb":(\d+)/", process.stdout.readline())[0])
        process.stdout.close()
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        for _ in range(3):
            client.request("GET", "/a.txt")
            assert client.getresponse().read() == b"hello\n"
        client.close()
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_told(server: Server, folder: Path) -> None:
    code, errors = refused("serve", str(folder), "--port", str(server.port))
    assert code == 1
    assert errors.count("\n") == 1
    assert str(server.port) in errors
    assert "Address already in use" in errors


def test_an_address_that_is_none_is_told(folder: Path) -> None:
    code, errors = refused("serve", str(folder), "--bind", "no address", "--port", "0")
    assert code == 1
    assert "no address" in errors


@pytest.mark.parametrize("name", ["missing", "a.txt"])
def test_a_directory_that_is_not_there_is_told(folder: Path, name: str) -> None:
    code, errors = refused("serve", str(folder / name))
    assert code == 2
    assert "there is no directory" in errors
    assert name in errors


@pytest.mark.parametrize("port", ["65536", "-1", "http", "", "٣"])
def test_a_port_out_of_range_is_told(folder: Path, port: str) -> None:
    code, errors = refused("serve", str(folder), f"--port={port}")
    assert code == 2
    assert "a port is 0 to 65535" in errors


def test_without_a_command_the_usage_is_shown() -> None:
    code, errors = refused()
    assert code == 2
    assert "usage: python -m mongoose_py" in errors


def test_an_ipv6_address_is_shown_in_brackets(folder: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    server = Server(str(folder), "--bind", "::1", "--port", "0")
    try:
        assert f"http://[::1]:{server.port}/" in server.banner
        client = http.client.HTTPConnection("::1", server.port, timeout=DEADLINE)
        client.request("GET", "/a.txt")
        assert client.getresponse().read() == b"hello\n"
        client.close()
        assert server.line().startswith("::1 - - [")
    finally:
        server.close()


def test_it_serves_over_tls_with_a_certificate(folder: Path) -> None:
    cert, key = localhost()
    server = Server(str(folder), "--port=0", f"--tls-cert={cert}", f"--tls-key={key}")
    try:
        assert f"https://127.0.0.1:{server.port}/" in server.banner
        client = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=DEADLINE, context=client_context()
        )
        client.request("GET", "/a.txt")
        assert client.getresponse().read() == b"hello\n"
        client.close()
        assert '"GET /a.txt HTTP/1.1" 200' in server.line()
        assert server.end() == (0, "")
    finally:
        server.close()


def test_certificates_that_cannot_be_used_are_told(folder: Path) -> None:
    key = localhost().key
    code, errors = refused("serve", str(folder), "--port=0", f"--tls-cert={key}")
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith("mongoose_py serve: tls: ")
    code, errors = refused("serve", str(folder), "--port=0", f"--tls-cert={folder}/none")
    assert code == 1
    assert "none" in errors
    assert refused("serve", str(folder), f"--tls-key={key}")[0] == 2
