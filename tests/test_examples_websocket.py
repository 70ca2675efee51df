"""The examples about WebSocket do what their docstrings say, with a library and a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import Page
from exampletalk import ask, library_server, needs_browser, page, serving
from programs import DEADLINE, Program, load_example

websockets = pytest.importorskip("websockets", minversion="12")
from websockets.sync.client import connect  # noqa: E402

__all__ = ["page"]


def open_socket(port: int) -> Any:
    # No pings: on PyPy 3.9 their thread and close() get into each other's way.
    return connect(f"ws://127.0.0.1:{port}/ws", open_timeout=DEADLINE, ping_interval=None)


def test_ws_chat_and_ws_client_talk_to_each_other() -> None:
    with serving("websocket/ws_chat.py") as (chat, port):
        assert ask(port, "GET", "/")[2]["Content-Type"].startswith("text/html")
        url = f"ws://127.0.0.1:{port}/chat"
        with Program("websocket/ws_client.py", url, "first") as first:
            first.line("^1 here$")
            first.line(r"^#\d+: first$")
            with Program("websocket/ws_client.py", url, "second") as second:
                first.line("^2 here$")
                first.line(r"^#\d+: second$")
                second.line("^2 here$")
                second.stop()
            first.stop()
        assert ask(port, "GET", "/chat")[0] == 426
        chat.stop()


@needs_browser
def test_ws_chat_works_in_a_browser(page: Page) -> None:
    with serving("websocket/ws_chat.py") as (chat, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.body && document.body.textContent.includes('1 here')")
        page.evaluate("document.querySelector('input').value = '<b>hello</b>'")
        page.evaluate("document.querySelector('button').click()")
        page.wait_for("document.querySelector('li')?.textContent?.endsWith(': <b>hello</b>')")
        chat.stop()


def test_ws_client_shows_why_it_was_refused() -> None:
    with (
        library_server(404, b"") as port,
        Program("websocket/ws_client.py", f"ws://127.0.0.1:{port}/", "x") as program,
    ):
        code, _, errors = program.finish()
    assert code == 1
    assert "404" in errors


# -- websocket_server -------------------------------------------------------


def test_websocket_server_echoes_text_and_bytes(tmp_path: Path) -> None:
    root = str(tmp_path / "site")
    with serving("websocket/websocket_server.py", "--root", root) as (program, port):
        with open_socket(port) as one:
            one.send("grüße")
            assert one.recv(DEADLINE) == "Echo: grüße"
            one.send([b"in ", b"pieces"])
            assert one.recv(DEADLINE) == b"in pieces"
            one.send(["in ", "pieces"])
            assert one.recv(DEADLINE) == "Echo: in pieces"
        program.stop()


def test_websocket_server_counts_and_tells_its_clients(tmp_path: Path) -> None:
    root = str(tmp_path / "site")

    def count(port: int) -> int:
        stats = json.loads(ask(port, "GET", "/api/stats")[1])
        assert stats["endpoint"] == "/ws"
        return int(stats["websocket_clients"])

    with serving("websocket/websocket_server.py", "--root", root) as (program, port):
        with open_socket(port) as one:
            with open_socket(port) as two:
                for conn in (one, two):  # both are there when both are answered
                    conn.send("x")
                    conn.recv(DEADLINE)
                assert count(port) == 2
                status, body, _ = ask(port, "POST", "/api/broadcast", b"news")
                assert (status, json.loads(body)) == (200, {"sent_to": 2})
                assert ask(port, "POST", "/api/broadcast", b"\xff")[0] == 200
                for conn in (one, two):
                    assert conn.recv(DEADLINE) == "Broadcast: news"
                    assert conn.recv(DEADLINE).startswith("Broadcast: ")
            while count(port) != 1:
                pass  # until the end of the other has got about
        while count(port) != 0:
            pass
        assert ask(port, "GET", "/api/else")[0] == 404
        assert ask(port, "GET", "/nothing")[0] == 404
        assert program.stop() == "stopped\n"


@needs_browser
def test_websocket_server_works_in_a_browser(page: Page, tmp_path: Path) -> None:
    root = str(tmp_path / "site")
    with serving("websocket/websocket_server.py", "--root", root) as (program, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.querySelector('button:enabled')")
        page.evaluate("document.querySelector('input').value = 'hello'")
        page.evaluate("document.querySelector('button').click()")
        page.wait_for("document.querySelector('li')?.textContent === 'Echo: hello'")
        program.stop()


# -- websocket_broadcast ----------------------------------------------------


def test_websocket_broadcast_greets_echoes_and_pushes() -> None:
    name = "websocket/websocket_broadcast.py"
    with serving(name, "--interval", "0.2") as (program, port):
        with open_socket(port) as one, open_socket(port) as two:
            assert [one.recv(DEADLINE), two.recv(DEADLINE)][1].startswith("Welcome! You are client")
            two.send("hello")
            seen = [two.recv(DEADLINE) for _ in range(4)]
            assert "Echo: hello" in seen
            pushed = [text for text in seen if "Broadcast #" in text]
            assert len(pushed) == 3
            assert all(text.endswith(" to 2 clients") for text in pushed)
        tick = r"^\[\d\d:\d\d:\d\d\] Broadcast #\d+ to (\d) clients$"
        while program.line(tick)[1] != "0":
            pass  # until both have been forgotten
        assert program.stop().endswith("stopped\n")


@needs_browser
def test_websocket_broadcast_counts_in_a_browser(page: Page) -> None:
    name = "websocket/websocket_broadcast.py"
    with serving(name, "--interval", "0.2") as (program, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.title === 'WebSocket Broadcast Demo'")
        page.wait_for("document.body && document.body.textContent.includes('Broadcast #')")
        page.evaluate("document.querySelector('button').click()")
        page.wait_for("document.body.textContent.includes('Echo: hello')")
        page.wait_for("Number(document.getElementById('count').textContent) > 3")
        program.stop()
        page.wait_for("document.getElementById('state').textContent === 'disconnected'")


def test_the_broadcast_server_counts_without_clients(capsys: Any) -> None:
    server = load_example("websocket/websocket_broadcast").BroadcastServer()
    assert (server.port, server.interval, server.manager) == (8000, 1, None)
    assert (server.ws_clients, server.broadcast_count) == (set(), 0)
    server.broadcast_timer()
    assert server.broadcast_count == 1
    assert capsys.readouterr().out.endswith("Broadcast #1 to 0 clients\n")
