"""A server in a process of its own, that tells by HTTP how it is.

For tests of what would disturb the process they run in: ``GET /rss`` answers with its
memory, ``GET /cpu`` with its time, ``GET /quit`` ends it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from conftest import DEADLINE

import mongoose_py

PRELUDE = """
import gc, os, resource, sys, time
from mongoose_py import *

def memory(field):  # KiB; VmHWM is the most there was, VmRSS what there is
    gc.collect()
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith(field))

def say_how_it_is(conn, message):
    if message.uri == "/rss":
        conn.reply(200, memory("VmRSS"))
    elif message.uri == "/peak":
        conn.reply(200, memory("VmHWM"))
    elif message.uri == "/cpu":  # seconds of work in 300 ms
        before = time.process_time()
        manager.timer_add(300, lambda: conn.reply(200, str(time.process_time() - before)))
    elif message.uri == "/quit":
        conn.reply(200)
        manager.stop()
    else:
        return False
    return True

def handle(conn, ev, data):
    if ev == MG_EV_HTTP_MSG and not say_how_it_is(conn, data):
        conn.reply(200, "hello")

def serve():
    print(manager.listen("http://127.0.0.1:0").local_addr[1], flush=True)
    manager.run(1000)
"""


class Child:
    """A server in another process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def ask(self, uri: str, sock: socket.socket | None = None) -> str:
        """Return the body of the answer to a GET, on a connection of its own unless given."""
        with ExitStack() as stack:
            if sock is None:
                sock = stack.enter_context(closing(self.dial()))
            sock.sendall(f"GET {uri} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            return answer_of(sock).decode()

    def finish(self, sock: socket.socket | None = None) -> None:
        """Have it end by itself, and see that it had nothing to complain about."""
        self.ask("/quit", sock)
        _, errors = self.process.communicate(timeout=DEADLINE)
        assert errors == "", errors
        assert self.process.returncode == 0


def answer_of(sock: socket.socket) -> bytes:
    """Return the body of one answer, framed by its length."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        assert piece, f"the connection ended after {got!r}"
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < size:
        body += sock.recv(65536)
    return body


@contextmanager
def child(program: str) -> Iterator[Child]:
    """Run PRELUDE and *program*, which calls ``serve()``."""
    package = str(Path(mongoose_py.__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program],
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    watchdog = threading.Timer(6 * DEADLINE, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        yield Child(process, int(line))
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
