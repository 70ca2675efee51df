"""A directory with everything in it that a request may ask for, and clients of it.

One of the plugins that conftest.py names, for the fixtures ``root``, ``site`` and ``listed``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE

from mongoose_py import Connection, Handler, HttpMessage, Manager

INLINE = 16384  # bytes; longer files go out by sendfile
MODIFIED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
MODIFIED_TEXT = "Sun, 06 Nov 1994 08:49:37 GMT"
CANARY = b"CANARY"  # in the name and the content of everything outside of the root
AT_EDGES = [0, 1, 10, INLINE - 1, INLINE, INLINE + 1, 5 * INLINE + 3]


class Files(Handler):
    """Answers every request the same way, and keeps what that returned or raised."""

    def __init__(self, how: str, path: Any, options: dict[str, Any]) -> None:
        self.how = how
        self.path = path
        self.options = options
        self.errors: list[Exception] = []

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        try:
            getattr(conn, self.how)(message, self.path, **self.options)
        except Exception as exc:
            self.errors.append(exc)
            conn.reply(500, "raised")


@dataclasses.dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.headers[name]


class Client:
    """A browser's view of a site: one kept-alive connection, one answer at a time."""

    def __init__(self, port: int, files: Files) -> None:
        self.port = port
        self.files = files
        self.url = f"http://127.0.0.1:{port}"
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)

    def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for *target*; ``if_match="x"`` is the header ``If-Match: x``."""
        try:
            self.http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"host": "h", **headers}.items():
                self.http.putheader(name.replace("_", "-"), value)
            self.http.endheaders()
            response = self.http.getresponse()
            return Answer(response.status, response.headers, response.read())
        except BaseException:
            self.http.close()  # the next one starts afresh
            raise

    def raw(self, wire: bytes) -> bytes:
        """Send *wire*, which closes at its end, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as sock:
            sock.sendall(wire)
            return b"".join(iter(lambda: sock.recv(65536), b""))


@contextlib.contextmanager
def serving(how: str, path: Any, **options: Any) -> Iterator[Client]:
    """Run a site in a thread of its own and give a client of it."""
    files = Files(how, path, options)
    with Manager(files) as manager:
        address = manager.listen("http://127.0.0.1:0").local_addr
        assert address is not None
        thread = threading.Thread(target=manager.run)
        thread.start()
        client = Client(address[1], files)
        try:
            yield client
        finally:
            client.http.close()
            manager.stop()
            thread.join()


def pattern(size: int) -> bytes:
    """Return *size* bytes in which no two places look alike."""
    return b"".join(b"%07d\n" % i for i in range(size // 8 + 1))[:size]


def write(path: Path, content: bytes, mtime: float = MODIFIED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site, with files outside of it that no request may reach."""
    base = tmp_path_factory.mktemp("static")
    top = base / "root"
    write(top / "a.txt", b"hello\n")
    write(top / "all.bin", bytes(range(256)))
    write(top / "sub" / "deep" / "b.html", b"<p>deep\n")
    write(top / "index" / "index.html", b"<p>index\n")
    write(top / "packed" / "index.html.gz", gzip.compress(b"<p>packed index\n"))
    write(top / "page.html", b"<p>plain\n")
    write(top / "page.html.gz", gzip.compress(b"<p>plain\n"))
    write(top / "lone.css.gz", gzip.compress(b"p {}\n"))
    write(top / "blank name, with comma.txt", b"odd\n")
    for size in AT_EDGES:
        write(top / "sizes" / f"{size}", pattern(size))
    (top / "link-in").symlink_to("a.txt")
    (top / "link-dir").symlink_to("sub/deep")
    (top / "sub" / "link-up").symlink_to("../a.txt")
    write(base / "CANARY.txt", CANARY)
    write(base / "outside" / "CANARY.txt", CANARY)
    write(base / "rootCANARY" / "CANARY.txt", CANARY)
    (top / "link-out").symlink_to("../CANARY.txt")
    (top / "link-out-dir").symlink_to("../outside")
    (top / "link-abs").symlink_to(base / "CANARY.txt")
    (top / "link-abs-in").symlink_to(top / "a.txt")
    (top / "link-chain").symlink_to("link-out")
    (top / "link-loop").symlink_to("link-loop")
    (top / "sub" / "link-out").symlink_to("../../outside/CANARY.txt")
    os.mkfifo(top / "pipe")
    return top


@pytest.fixture(scope="module")
def site(root: Path) -> Iterator[Client]:
    with serving("serve_dir", str(root)) as client:
        yield client


@pytest.fixture(scope="module")
def listed(root: Path) -> Iterator[Client]:
    with serving("serve_dir", str(root), listing=True) as client:
        yield client
