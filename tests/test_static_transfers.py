"""Files while they are under way, and other people's clients that fetch them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from staticsite import AT_EDGES, DEADLINE, MODIFIED, Client, pattern, serving, write

curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


# -- while a file is under way -------------------------------------------------


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(size)
    with serving("serve_dir", tmp_path) as client, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(DEADLINE)
        sock.connect(("127.0.0.1", client.port))
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        got = len(sock.recv(1000))
        os.truncate(path, 1024 * 1024)
        with contextlib.suppress(ConnectionResetError):
            for piece in iter(lambda: sock.recv(1024 * 1024), b""):
                got += len(piece)
        assert got < size
        assert client.get("/missing").status == 404  # the others never noticed


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_clients_that_go_away_leave_no_descriptor_behind(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    for name in ("page", "page.gz", "index/index.html.gz", "sub/x"):
        write(tmp_path / name, b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("sub/x")
    with serving("serve_dir", tmp_path, listing=True, page404=tmp_path / "page") as client:
        client.get("/missing")
        before = open_descriptors()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", client.port), DEADLINE) as sock:
                sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
                assert sock.recv(100)
        for target in ("/", "/page", "/pipe", "/sub", "/index/", "/link", "/missing", "/x/../y"):
            for _ in range(5):
                client.get(target)
                client.get(target, "POST")
                client.get(target, "HEAD", accept_encoding="gzip")
                client.get(target, accept_encoding="gzip", if_none_match="*")
                client.get(target, range="bytes=-0")
        end = time.monotonic() + DEADLINE
        while open_descriptors() > before:  # the loop has yet to see the last one go
            assert time.monotonic() < end
            client.get("/missing")


# -- other people's clients ----------------------------------------------------


def run_curl(*args: str) -> bytes:
    command = ["curl", "-sS", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=DEADLINE).stdout


@curl
def test_curl_resumes_a_download(site: Client, tmp_path: Path) -> None:
    target = write(tmp_path / "part", pattern(81923)[:20000])
    run_curl("-C", "-", "-o", str(target), f"{site.url}/sizes/81923")
    assert target.read_bytes() == pattern(81923)


@curl
def test_curl_unpacks_and_follows_redirects(site: Client) -> None:
    assert run_curl("--compressed", f"{site.url}/page.html") == b"<p>plain\n"
    assert run_curl("-L", f"{site.url}/index") == b"<p>index\n"
    assert run_curl("--path-as-is", f"{site.url}/../CANARY.txt") == b"Invalid path"


@curl
def test_curl_fetches_only_what_is_newer_than_its_copy(site: Client, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run_curl("-R", "-o", str(copy), f"{site.url}/a.txt")
    assert copy.stat().st_mtime == MODIFIED
    code = run_curl("-z", str(copy), "-w", "%{http_code}", f"{site.url}/a.txt")
    assert code == b"304"


def test_requests_downloads_many_files_over_one_session(site: Client) -> None:
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        for size in AT_EDGES * 3:
            answer = session.get(f"{site.url}/sizes/{size}", timeout=DEADLINE)
            assert answer.content == pattern(size)
        assert session.get(f"{site.url}/page.html", timeout=DEADLINE).text == "<p>plain\n"
