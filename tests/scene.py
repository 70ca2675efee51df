"""A request and its answer on one manager, where at one chosen event something happens.

Our own client asks our own server. Afterwards every connection must have had its
MG_EV_CLOSE, once and last, and the next request must be served.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any, Callable

from conftest import dial, exchange, url_of

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_HTTP_HDRS,
    MG_EV_HTTP_MSG,
    MG_EV_OPEN,
    MG_EV_POLL,
    MG_EV_READ,
    MG_EV_RESOLVE,
    MG_EV_WAKEUP,
    MG_EV_WRITE,
    Connection,
    Error,
    Manager,
    event_name,
)

MakeManager = Callable[..., Manager]
EVENTS = range(MG_EV_WAKEUP + 1)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SCENE = [
    *[("server", ev) for ev in (MG_EV_OPEN, MG_EV_ACCEPT, MG_EV_WAKEUP, MG_EV_POLL)],
    *[("server", ev) for ev in (MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG, MG_EV_READ, MG_EV_WRITE)],
    *[("server", ev) for ev in (MG_EV_CLOSE,)],
    *[("client", ev) for ev in (MG_EV_OPEN, MG_EV_RESOLVE, MG_EV_CONNECT, MG_EV_POLL)],
    *[("client", ev) for ev in (MG_EV_WRITE, MG_EV_HTTP_HDRS, MG_EV_HTTP_MSG, MG_EV_READ)],
    *[("client", ev) for ev in (MG_EV_CLOSE,)],
]
ORDER = ["OPEN", "RESOLVE", "CONNECT", "ACCEPT", "HTTP_HDRS", "HTTP_MSG", "ERROR", "CLOSE"]
IDS = [f"{side} {event_name(ev)[6:]}" for side, ev in SCENE]


class Scene:
    """One request from our client to our server; *act* is called once, at one event."""

    def __init__(
        self, manager: MakeManager, side: str, ev: int, act: Callable[[Scene, Connection], object]
    ) -> None:
        self.at, self.act = (side, ev), act
        self.names: dict[Connection, list[str]] = {}
        self.raised: list[BaseException] = []
        self.manager = manager(
            self.handle,
            enable_wakeup=True,
            events=EVENTS,
            error_handler=self.raised.append,
            answer_500=False,  # an exception then changes nothing in the order of events
        )
        self.listener = self.manager.listen("http://127.0.0.1:0")

    def handle(self, conn: Connection, ev: int, data: Any) -> None:
        side = "listener" if conn.is_listening else "client" if conn.is_client else "server"
        if ev != MG_EV_POLL:
            self.names.setdefault(conn, []).append(event_name(ev)[6:])
        self.play(side, conn, ev)
        if self.at == (side, ev):
            self.at = ("", -1)
            self.act(self, conn)

    def play(self, side: str, conn: Connection, ev: int) -> None:
        with suppress(Error):  # it may be closed already: that is what is tried here
            if (side, ev) == ("client", MG_EV_CONNECT):
                conn.request("GET")
            elif (side, ev) == ("client", MG_EV_HTTP_MSG):
                conn.drain()
            elif (side, ev) == ("server", MG_EV_ACCEPT):
                self.manager.wakeup(conn.id, b"x")
            elif (side, ev) == ("server", MG_EV_HTTP_MSG):
                conn.reply(200, "hello")

    def run(self) -> list[BaseException]:
        """Play it to the end; return what came out of the calls into the loop."""
        out: list[BaseException] = []

        def attempt(call: Callable[[], object]) -> None:
            try:
                call()
            except BaseException as exc:
                out.append(exc)

        def over() -> bool:
            there = [conn for conn in self.manager.connections if conn is not self.listener]
            return self.at == ("", -1) and not there

        attempt(lambda: self.manager.connect(url_of(self.listener, "http")))
        for _ in range(200):
            attempt(lambda: self.manager.poll(20))
            if over():
                return out
        raise AssertionError(f"it does not end: {self.names}")

    def ended_in_order(self) -> None:
        for conn, names in self.names.items():
            if conn is not self.listener:
                assert names[0] == "OPEN", names
                assert [name for name in names if name in ORDER] == sorted(
                    {*names} & {*ORDER}, key=ORDER.index
                ), names
                assert names.count("CLOSE") == 1, names
                assert names[-1] == "CLOSE", names
                assert names.count("ERROR") <= 1, names
                assert conn.id == 0

    def still_serves(self) -> None:
        with closing(dial(self.listener)) as sock:
            answer = exchange(self.manager, sock, GET, b"hello")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
