"""The measured servers: how each is started, and which of them can be.

A server is a process of its own, bound to one CPU. It says "ready" on standard output;
its errors go where ours go.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rig
from servers import common

HANDLER = "mongoose_py, `Handler`"
ONLY_HTTP = "mongoose_py, function, `events=`"
EVERY_EVENT = "mongoose_py, function, every event"
PYPY = "mongoose_py, `Handler`, PyPy"
LIMIT = "C limit"
CYMONGOOSE = "cymongoose"
SOCKETIFY = "socketify"
AIOHTTP = "aiohttp"
UVICORN = "uvicorn"

TYPES = {"hello": "text/plain", "item": "application/json", "big": "text/plain"}
BODIES = {"hello": common.HELLO, "item": common.ITEM, "big": common.BIG}
START_TIMEOUT = 30.0
"""Seconds a server has to say that it is ready."""
TARGET = f"{common.PATH}?{common.QUERY}"


@dataclass(frozen=True)
class Server:
    """A program that can be measured."""

    name: str
    """What the tables call it."""
    command: tuple[str, ...]
    """Its arguments, but for the application and the port."""
    canned: bool = False
    """It takes its answer on standard input, and a port as its only argument."""

    def arguments(self, app: str, port: int) -> list[str]:
        if self.canned:
            return [*self.command, str(port)]
        return [*self.command, "--app", app, "--port", str(port)]


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{TARGET}"


def canned_answer(app: str) -> bytes:
    """Return an answer as mongoose_py gives it, with a date that does not change."""
    body = BODIES[app]
    head = (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {TYPES[app]}\r\n"
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run on *cpu* alone for a while; so do the processes started meanwhile, for ever."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(server: Server, app: str, cpu: int) -> Iterator[Running]:
    """Run *server* with *app* on *cpu*; it has answered once when the body is entered.

    Raises:
        RuntimeError: If it ends early, or its answer is not what was asked for.
    """
    port = rig.free_port()
    with tempfile.TemporaryFile() as answer:
        if server.canned:
            answer.write(canned_answer(app))
            answer.seek(0)
        with pinned(cpu):
            process = subprocess.Popen(
                server.arguments(app, port), stdin=answer, stdout=subprocess.PIPE, cwd=rig.HERE
            )
    try:
        wait_until_ready(server, process)
        check(server, app, port)
        yield Running(server, process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Read the server's output up to the line that says it can be asked."""
    assert process.stdout is not None
    deadline = threading.Timer(START_TIMEOUT, process.kill)
    deadline.start()
    try:
        for line in process.stdout:
            if line.strip() == b"ready":
                return
    finally:
        deadline.cancel()
    raise RuntimeError(f"{server.name} ended with status {process.wait()} before it was ready")


def check(server: Server, app: str, port: int) -> None:
    """Ask once and compare the answer with what the application has to give."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", TARGET, headers=common.REQUEST_HEADERS)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200 or body != BODIES[app]:
        raise RuntimeError(f"{server.name} answers {response.status} with {len(body)} bytes")


def trouble(server: Server, cpu: int) -> str | None:
    """Start *server* and ask it once; return what went wrong, or None."""
    try:
        with running(server, "hello", cpu):
            return None
    except (RuntimeError, OSError) as exc:
        return str(exc)


def request() -> bytes:
    """Return the request that the `item` application wants; the others take any."""
    lines = [f"GET {TARGET} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in common.REQUEST_HEADERS.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer_bytes(port: int) -> int:
    """Return how long the whole answer is on the wire, head included."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        return ask(sock)


def read_answers(port: int, seconds: float) -> int:
    """Ask on one connection, again and again; return how many answers came.

    For answers that take long: at least one is waited for, and none is left half read.
    """
    answers = 0
    deadline = time.perf_counter() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        while answers == 0 or time.perf_counter() < deadline:
            ask(sock)
            answers += 1
    return answers


def ask(sock: socket.socket) -> int:
    """Send a request, read its answer, and return how long that was, head included."""
    sock.sendall(request())
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(sock.recv(1 << 20))
    head = data.partition(b"\r\n\r\n")[0]
    match = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
    if match is None:
        raise RuntimeError("an answer without Content-Length")
    length = len(head) + 4 + int(match[1])
    missing = length - len(data)
    while missing > 0:
        missing -= len(received(sock.recv(1 << 20)))
    return length


def received(data: bytes) -> bytes:
    """Return *data*, which a socket gave, unless the connection has ended."""
    if not data:
        raise RuntimeError("the connection was closed within an answer")
    return data


def can_import(python: str, module: str) -> bool:
    """Say whether the interpreter *python* finds *module*, installed or on its path."""
    command = [python, "-c", f"import {module}"]
    # Not from here: the folder of the sources is no installed package.
    done = subprocess.run(command, stderr=subprocess.DEVNULL, cwd=rig.HERE, check=False)
    return done.returncode == 0


def program(name: str, *args: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command line of a module in servers/, to be run from here."""
    return (python, "-m", f"servers.{name}", *args)


def build_limit(directory: Path) -> Server:
    """Compile limit_epoll.c into *directory*."""
    binary = directory / "limit_epoll"
    source = rig.HERE / "limit_epoll.c"
    command = [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-o", str(binary), str(source)]
    subprocess.run(command, check=True)
    return Server(LIMIT, (str(binary),), canned=True)


def candidates(pypy: str | None) -> Iterator[tuple[Server, str]]:
    """Yield the Python servers, each with the modules it needs; *pypy*: a PyPy to use too."""
    ours, function = "mongoose_handler", "mongoose_callable"
    yield Server(HANDLER, program(ours)), "mongoose_py"
    yield Server(ONLY_HTTP, program(function, "--only-http")), "mongoose_py"
    yield Server(EVERY_EVENT, program(function)), "mongoose_py"
    if pypy is not None:
        yield Server(PYPY, program(ours, python=pypy)), "mongoose_py"
    yield Server(CYMONGOOSE, program(function, "--module", "cymongoose")), "cymongoose"
    yield Server(SOCKETIFY, program("socketify_app")), "socketify"
    yield Server(AIOHTTP, program("aiohttp_app")), "aiohttp.web"
    yield Server(UVICORN, program("uvicorn_app")), "uvicorn, httptools, uvloop"


def pypy_with_package(pypy: str, directory: Path) -> tuple[str | None, str]:
    """Return a PyPy that has mongoose_py, building the package for it if need be.

    Returns:
        Its path and "", or None and the reason.
    """
    found = shutil.which(pypy)
    if found is None:
        return None, f"there is no {pypy}"
    if can_import(found, "mongoose_py"):
        return found, ""
    environment = directory / "pypy"
    python = str(environment / "bin" / "python")
    steps = (
        [found, "-m", "venv", str(environment)],
        [python, "-m", "pip", "install", "-q", str(rig.HERE.parent)],
    )
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            return None, done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return python, ""
