"""Time the steps of a request's way through Python, one against the other.

    python benchmarks/micro.py [WORD ...]     those with a WORD in the name

Server and clients share this process. The clients write a batch of requests at once,
several on each connection, and only the server's polls are timed: system calls are a
small fraction of each request then. Of many batches the fastest one counts, so a busy
machine does little harm. Every line says what its step costs more than a bare reply.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Callable

import fleet
from servers import common

from mongoose_py import MG_EV_HTTP_MSG, Connection, Handler, HttpMessage, Manager
from mongoose_py._mongoose_cffi import lib

CONNECTIONS = 16
DEPTH = 8
SECONDS = 0.5
REQUEST = "\r\n".join(
    [
        f"GET {fleet.TARGET} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in common.REQUEST_HEADERS.items()),
        "\r\n",
    ]
).encode()

Step = Callable[[Connection, HttpMessage], object]

STEPS: Mapping[str, Step] = {
    "nothing else": lambda conn, message: None,
    "message.method": lambda conn, message: message.method,
    "message.uri": lambda conn, message: message.uri,
    "message.body_bytes, empty": lambda conn, message: message.body_bytes,
    "message.header()": lambda conn, message: message.header("Authorization"),
    "message.header(), missing": lambda conn, message: message.header("Range"),
    "message.headers()": lambda conn, message: message.headers(),
    "message.query_var()": lambda conn, message: message.query_var("name"),
    "conn.id": lambda conn, message: conn.id,
    "conn.is_closing": lambda conn, message: conn.is_closing,
    "conn.remote_addr": lambda conn, message: conn.remote_addr,
}


def handler_object(step: Step) -> Any:
    """Return a Handler that does *step* and replies."""

    class Replies(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            step(conn, message)
            conn.reply(200, common.HELLO)

    return Replies()


class Bare(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, common.HELLO)


class WithHeaders(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, common.HELLO, common.JSON_HEADERS)


class Json(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply_json({"a": 1})


def function(conn: Connection, event: int, data: Any) -> None:
    """Reply as a plain function does."""
    if event == MG_EV_HTTP_MSG:
        conn.reply(200, common.HELLO)


def ns_per_request(handler: Any, **options: Any) -> float:
    """Return the nanoseconds of a request with *handler*, in the fastest batch."""
    with ExitStack() as stack:
        manager = stack.enter_context(Manager(handler, **options))
        address = manager.listen("http://127.0.0.1:0").local_addr
        assert address is not None
        clients = [
            stack.enter_context(socket.create_connection(address[:2])) for _ in range(CONNECTIONS)
        ]
        for client in clients:
            client.setblocking(False)
        length = _length_of_answer(manager, clients[0])
        end = time.perf_counter() + SECONDS
        best = float("inf")
        while time.perf_counter() < end:
            best = min(best, _batch(manager, clients, length))
    return best / (CONNECTIONS * DEPTH)


def _length_of_answer(manager: Manager, client: socket.socket) -> int:
    client.sendall(REQUEST)
    while True:
        manager.poll(10)
        length = _received(client)
        if length > 0:
            return length


def _batch(manager: Manager, clients: list[socket.socket], length: int) -> float:
    """Send a batch; return the nanoseconds that the polls took until it was answered."""
    for client in clients:
        client.sendall(REQUEST * DEPTH)
    taken, missing = 0, length * DEPTH * len(clients)
    while missing > 0:
        start = time.perf_counter_ns()
        manager.poll(0)
        taken += time.perf_counter_ns() - start
        missing -= sum(_received(client) for client in clients)
    return taken


def _received(client: socket.socket) -> int:
    """Take what has come, and return how much it was."""
    try:
        return len(client.recv(65536))
    except BlockingIOError:
        return 0


def ns_per_call(call: Callable[[], object]) -> float:
    """Return the nanoseconds of a call, the loop around it included."""
    best, calls = float("inf"), range(10_000)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        for _ in calls:
            call()
        best = min(best, (time.perf_counter_ns() - start) / len(calls))
    return best


def main() -> None:
    words = sys.argv[1:]
    cases: dict[str, Callable[[], float]] = {
        "bare reply": lambda: ns_per_request(Bare()),
        "function, events=": lambda: ns_per_request(function, events=[MG_EV_HTTP_MSG]),
        "function, every event": lambda: ns_per_request(function),
        "reply with headers": lambda: ns_per_request(WithHeaders()),
        "reply_json": lambda: ns_per_request(Json()),
    }
    for name, step in STEPS.items():
        cases[name] = lambda step=step: ns_per_request(handler_object(step))  # type: ignore[misc]
    bare = cases["bare reply"]()
    print(f"{'bare reply':28}{bare:8.0f} ns")
    for name, measure in cases.items():
        if name != "bare reply" and (not words or any(word in name for word in words)):
            value = measure()
            print(f"{name:28}{value:8.0f} ns {value - bare:+8.0f}")
    if not words:
        print(f"{'a Python call':28}{ns_per_call(lambda: None):8.0f} ns")
        print(f"{'a C call':28}{ns_per_call(lib.mg_log_get):8.0f} ns")


if __name__ == "__main__":
    main()
