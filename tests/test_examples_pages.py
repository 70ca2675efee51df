"""The pages of the examples, looked at with a browser; skipped where there is no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser_page, find_chromium
from exampletalk import ask, listening, serving

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """Give a page of a browser; it must not complain, but of an icon that is not there."""
    assert CHROMIUM is not None
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        yield page
        assert [text for text in page.complaints if "/favicon.ico" not in text] == []


def test_ws_chat_works_in_a_browser(page: Page) -> None:
    with serving("websocket/ws_chat.py") as (chat, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.body && document.body.textContent.includes('1 here')")
        page.evaluate("document.querySelector('input').value = '<b>hello</b>'")
        page.evaluate("document.querySelector('button').click()")
        page.wait_for("document.querySelector('li')?.textContent?.endsWith(': <b>hello</b>')")
        chat.stop()


def test_websocket_server_works_in_a_browser(page: Page, tmp_path: Path) -> None:
    root = str(tmp_path / "site")
    with serving("websocket/websocket_server.py", "--root", root) as (program, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.querySelector('button:enabled')")
        page.evaluate("document.querySelector('input').value = 'hello'")
        page.evaluate("document.querySelector('button').click()")
        page.wait_for("document.querySelector('li')?.textContent === 'Echo: hello'")
        program.stop()


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


def test_http_sse_server_shows_its_events_in_a_browser(page: Page) -> None:
    with listening("http/http_sse_server.py", "--interval", "1") as (program, port):
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.body && document.body.textContent.includes('update: ')")
        ask(port, "GET", "/trigger")
        page.wait_for("document.body.textContent.includes('manual: ')")
        page.open("about:blank")
        program.stop()
