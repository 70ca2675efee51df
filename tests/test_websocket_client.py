"""WebSocket clients: the handshake, and frames of their own."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from conftest import Recorder, pump, url_of
from wsecho import Echo
from wsframes import CLOSE, KEY, TEXT, accept, decode

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_ERROR,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    AddressError,
    Connection,
    Error,
    Handler,
    Limits,
    Manager,
)

Make = Callable[..., Manager]


def answering(
    make_manager: Make, *lines: str, status: str = "101 Switching Protocols", **options: Any
) -> tuple[Manager, Recorder, str]:
    """Connect to a raw server that answers the handshake with *lines*; return its request."""
    recorder = Recorder()
    manager = make_manager()
    heads: list[str] = []

    class Answering(Handler):
        def on_read(self, conn: Connection, data: bytes | None) -> None:
            head = (data or b"").decode()
            heads.append(head)
            key = next(line for line in head.split("\r\n") if "Key" in line).partition(": ")[2]
            fields = {
                "upgrade": "Upgrade: websocket",
                "connection": "Connection: Upgrade",
                "sec-websocket-accept": f"Sec-WebSocket-Accept: {accept(key)}",
            }
            for line in lines:
                fields[line.partition(":")[0].lower()] = line
            conn.send("\r\n".join([f"HTTP/1.1 {status}", *fields.values(), "", ""]))

    listener = manager.listen("tcp://127.0.0.1:0", Answering())
    url = url_of(listener, "ws") + "/room?id=7#part"
    conn = manager.ws_connect(url.replace("://", options.pop("user", "://")), recorder, **options)
    assert conn.is_client
    assert not conn.is_websocket
    with pytest.raises(Error, match="not a WebSocket"):
        conn.ws_send("too early")
    pump(manager, lambda: "WS_OPEN" in recorder.names() or conn.id == 0)
    return manager, recorder, heads[0]


def test_a_client_asks_as_the_rfc_says(make_manager: Make) -> None:
    _, recorder, head = answering(
        make_manager,
        "Sec-WebSocket-Protocol: b",
        user="://me:p%40ss@",
        headers={"X-Token": "t", "Origin": "http://a"},
        subprotocols=["a", "b"],
        compression=True,
    )
    lines = head.split("\r\n")
    assert lines[0] == "GET /room?id=7 HTTP/1.1"
    assert lines[1].startswith("Host: 127.0.0.1:")
    for line in (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Authorization: Basic bWU6cEBzcw==",
        "X-Token: t",
        "Origin: http://a",
    ):
        assert line in lines
    names = recorder.names()
    assert names[:5] == ["OPEN", "RESOLVE", "CONNECT", "WRITE", "WS_OPEN"]
    assert recorder.data(MG_EV_WS_OPEN) == [("HTTP/1.1", "101", b"")]


def test_keys_are_new_each_time(make_manager: Make) -> None:
    heads = [answering(make_manager)[2] for _ in range(2)]
    keys = [next(x for x in head.split("\r\n") if "Key" in x) for head in heads]
    assert keys[0] != keys[1]
    assert KEY not in "".join(keys)


@pytest.mark.parametrize(
    ("lines", "status", "why"),
    [
        ([], "403 Forbidden", "403 Forbidden"),
        ([], "200 OK", "200 OK"),
        ([], "302 Found", "302 Found"),
        (["Upgrade: x"], "101 Hm", "no Upgrade: websocket"),
        (["Connection: close"], "101 Hm", "no Connection: Upgrade"),
        (["Sec-WebSocket-Accept: " + accept(KEY)], "101 Hm", "Sec-WebSocket-Accept"),
        (["Sec-WebSocket-Protocol: c"], "101 Hm", "subprotocol"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], "101 Hm", "extension"),
    ],
)
def test_an_answer_that_is_no_handshake_is_an_error_that_says_why(
    make_manager: Make, lines: list[str], status: str, why: str
) -> None:
    _, recorder, _ = answering(make_manager, *lines, status=status, subprotocols=["a"])
    (error,) = recorder.data(MG_EV_ERROR)
    assert error.startswith("WebSocket handshake failed: ")
    assert why in error
    assert recorder.names()[-2:] == ["ERROR", "CLOSE"]


@pytest.mark.parametrize(
    "extension",
    [
        "x-other",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ],
)
def test_an_extension_that_was_not_offered_so_is_refused(
    make_manager: Make, extension: str
) -> None:
    line = f"Sec-WebSocket-Extensions: {extension}"
    manager, recorder, _ = answering(make_manager, line, compression=True)
    pump(manager, recorder.saw(MG_EV_ERROR))
    assert "WS_OPEN" not in recorder.names()


def test_a_server_that_never_answers_is_given_up(make_manager: Make) -> None:
    recorder = Recorder()
    manager = make_manager(limits=Limits(header_timeout=0.05))
    listener = manager.listen("tcp://127.0.0.1:0")
    manager.ws_connect(url_of(listener, "ws"), recorder)
    pump(manager, recorder.saw(MG_EV_CLOSE))
    assert "header_timeout" in recorder.data(MG_EV_ERROR)[0]


def test_a_server_that_hangs_up_or_speaks_something_else_is_an_error(make_manager: Make) -> None:
    for answer, why in ((None, "ended before"), (b"SSH-2.0-x\r\n\r\n", "not HTTP")):
        recorder = Recorder()
        manager = make_manager()

        def server(conn: Connection, ev: int, data: Any, answer: bytes | None = answer) -> None:
            if isinstance(data, bytes):
                conn.send(answer or b"")
                conn.drain()

        url = url_of(manager.listen("tcp://127.0.0.1:0", server), "ws")
        manager.ws_connect(url, recorder)
        pump(manager, recorder.saw(MG_EV_CLOSE))
        assert why in recorder.data(MG_EV_ERROR)[0]


def test_arguments_of_a_client_are_checked_before_anything_is_sent(make_manager: Make) -> None:
    manager = make_manager()
    url = "ws://127.0.0.1:1/"
    with pytest.raises(ValueError, match="Header name"):
        manager.ws_connect(url, headers={"a b": "c"})
    with pytest.raises(ValueError, match="handshake"):
        manager.ws_connect(url, headers={"Upgrade": "c"})
    with pytest.raises(ValueError):
        manager.ws_connect(url, subprotocols=["a b"])
    with pytest.raises(ValueError, match="repeat"):
        manager.ws_connect(url, subprotocols=["a", "a"])
    with pytest.raises(TypeError):
        manager.ws_connect(url, subprotocols="chat")
    with pytest.raises(TypeError):
        manager.ws_connect(None)  # type: ignore[arg-type]
    with pytest.raises(AddressError):
        manager.ws_connect("ws://127.0.0.1:99999/")
    with pytest.raises(AddressError):
        manager.ws_connect("udp://127.0.0.1:1")
    with pytest.raises(AddressError):
        manager.ws_connect("ws://a\0b/")
    assert manager.connections == ()


def test_client_and_server_talk_over_a_unix_socket(make_manager: Make, tmp_path: Any) -> None:
    echo = Echo()
    manager = make_manager()
    manager.listen(f"unix://{tmp_path}/s", echo, http=True)
    seen: list[str] = []

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            conn.ws_send("x" * 1000)
        elif ev == MG_EV_WS_MSG:
            seen.append(data.text)
            conn.ws_close(1000)

    conn = manager.ws_connect(f"unix://{tmp_path}/s", client)
    pump(manager, lambda: conn.id == 0)
    assert seen == ["x" * 1000]
    assert echo.controls == [(CLOSE, b"\x03\xe8", 1000, "")]


def test_what_is_broadcast_to_a_client_connection_is_masked(make_manager: Make) -> None:
    echo, seen = Echo(), Recorder()
    manager = make_manager()
    url = url_of(manager.listen("http://127.0.0.1:0", echo), "ws")
    conns = [manager.ws_connect(url, seen) for _ in range(2)]
    pump(manager, seen.saw(MG_EV_WS_OPEN, 2))
    assert manager.ws_broadcast(conns, "news") == 2
    pump(manager, lambda: len(echo.messages) == 2)  # an unmasked frame would be refused
    assert echo.messages == [(TEXT, b"news")] * 2


def test_client_frames_are_masked_with_ever_new_keys(make_manager: Make) -> None:
    wires: list[bytes] = []

    def server(conn: Connection, ev: int, data: Any) -> None:
        if isinstance(data, bytes) and data.startswith(b"GET"):
            key = next(x for x in data.decode().split("\r\n") if "Key" in x).partition(": ")[2]
            conn.send(
                "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: a, UPGRADE\r\n"
                f"Sec-WebSocket-Accept: {accept(key)}\r\n\r\n"
            )
        elif isinstance(data, bytes):
            wires.append(data)

    def client(conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_WS_OPEN:
            for _ in range(200):
                conn.ws_send("same")

    manager = make_manager()
    url = url_of(manager.listen("tcp://127.0.0.1:0", server), "ws")
    manager.ws_connect(url, client)
    pump(manager, lambda: len(b"".join(wires)) == 200 * 10)
    wire, keys = b"".join(wires), set()
    while wire:
        found = decode(wire)
        assert found is not None
        frame, wire = found
        assert frame.payload == b"same"
        keys.add(frame.mask)
    assert len(keys) == 200
