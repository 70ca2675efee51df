"""Other people's WebSockets: the `websockets` library, Node's `ws`, a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
from browser import browser_page, find_chromium
from conftest import DEADLINE, pump

from mongoose_py import (
    Connection,
    Handler,
    HttpMessage,
    Manager,
    WsMessage,
)

websockets = pytest.importorskip("websockets", minversion="12")
from websockets.exceptions import ConnectionClosedOK, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402
from websockets.sync.server import ServerConnection, serve  # noqa: E402

SIZES = (0, 1, 125, 126, 65535, 65536, 300_000)
CHROMIUM = find_chromium()
# Thread.join() of PyPy 3.9 raises now and then when that library closes.
library_closes = pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="the library's threads and PyPy's do not get on"
)
NODE, NPM = shutil.which("node"), shutil.which("npm")


class Echo(Handler):
    """Echoes on every path but one, and says goodbye when asked to."""

    def __init__(self, compression: bool = True) -> None:
        self.compression = compression

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        if message.uri == "/forbidden":
            conn.reply(403)
        elif message.header("Upgrade"):
            conn.ws_upgrade(message, subprotocol=("b", "a"), compression=self.compression)
        else:
            conn.reply(200, "<!doctype html><title>t</title>", {"Content-Type": "text/html"})

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        if message.data == b"goodbye":
            conn.ws_close(4001, "as you wish")
        else:
            conn.ws_send(message.data, message.flags)


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def compression(request: pytest.FixtureRequest) -> Any:
    return "deflate" if request.param else None


# -- the websockets library -------------------------------------------------


@library_closes
def test_the_websockets_client_gets_its_messages_back(
    serve: Callable[..., str], compression: Any
) -> None:
    url = serve(Echo()).replace("http", "ws")
    with connect(
        url, compression=compression, subprotocols=["a", "b"], max_size=None, ping_interval=None
    ) as ws:
        assert ws.subprotocol == "b"
        for size in SIZES:
            text = "é" * (size // 2)
            ws.send(text)
            assert ws.recv(DEADLINE) == text
            data = bytes(range(256)) * (size // 256 + 1)
            ws.send(data)
            assert ws.recv(DEADLINE) == data
        ws.send(["in ", "three ", "pieces"])
        assert ws.recv(DEADLINE) == "in three pieces"
        assert ws.ping(b"there?").wait(DEADLINE)
        ws.close(1000)
    assert (ws.close_code, ws.close_reason) == (1000, "")


@library_closes
def test_the_websockets_client_sees_our_code_and_reason(serve: Callable[..., str]) -> None:
    url = serve(Echo()).replace("http", "ws")
    with connect(url, ping_interval=None) as ws:
        ws.send(b"goodbye")
        with pytest.raises(websockets.ConnectionClosed):
            ws.recv(DEADLINE)
    assert (ws.close_code, ws.close_reason) == (4001, "as you wish")


@library_closes
def test_the_websockets_client_sees_a_refusal(serve: Callable[..., str]) -> None:
    url = serve(Echo()).replace("http", "ws")
    with pytest.raises(InvalidStatus, match="403"):
        connect(url + "/forbidden")


@contextmanager
def library_server(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(DEADLINE)


def test_our_client_talks_to_the_websockets_server(
    make_manager: Callable[..., Manager], compression: Any
) -> None:
    paths: list[str] = []

    def server(ws: ServerConnection) -> None:
        assert ws.request is not None
        paths.append(ws.request.path + " " + ws.request.headers["X-Token"])
        for message in ws:
            ws.send(message)

    class Client(Handler):
        def __init__(self) -> None:
            self.got: list[bytes] = []
            self.chosen: list[str | None] = []
            self.closed: list[int | None] = []

        def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
            self.chosen.append(message.header("Sec-WebSocket-Protocol"))
            for size in SIZES:
                conn.ws_send("é" * (size // 2))

        def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
            self.got.append(message.data)
            if len(self.got) == len(SIZES):
                conn.ws_close(1000, "thanks")

        def on_ws_control(self, conn: Connection, message: WsMessage) -> None:
            self.closed.append(message.close_code)

    client = Client()
    manager = make_manager(client)
    options = {"compression": compression, "subprotocols": ["y"], "max_size": None}
    with library_server(server, **options) as url:
        conn = manager.ws_connect(
            url + "/a?b=c", headers={"X-Token": "t"}, subprotocols=["x", "y"], compression=True
        )
        pump(manager, lambda: conn.id == 0)
    assert paths == ["/a?b=c t"]
    assert client.chosen == ["y"]
    assert client.got == [("é" * (size // 2)).encode() for size in SIZES]
    assert client.closed == [1000]


@library_closes
def test_our_client_answers_the_pings_and_the_close_of_the_websockets_server(
    make_manager: Callable[..., Manager],
) -> None:
    outcomes: list[object] = []
    done = threading.Event()

    def server(ws: ServerConnection) -> None:
        outcomes.append(ws.ping(b"there?").wait(DEADLINE))
        ws.close(1001, "restart")
        with pytest.raises(ConnectionClosedOK):
            ws.recv()
        outcomes.append(ws.close_code)
        done.set()

    manager = make_manager()
    with library_server(server) as url:
        conn = manager.ws_connect(url)
        pump(manager, lambda: conn.id == 0)
        assert done.wait(DEADLINE)
    assert outcomes == [True, 1001]


# -- Node -------------------------------------------------------------------


@pytest.fixture(scope="session")
def node_ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where Node finds the package `ws`, in NODE_PATH or put there."""
    if NODE is None or NPM is None:
        pytest.skip("Node is not installed")
    folder = tmp_path_factory.mktemp("node")
    asked = subprocess.run([NODE, "-e", "require('ws')"], cwd=folder, stderr=subprocess.DEVNULL)
    if asked.returncode == 0:
        return folder
    done = subprocess.run(
        [NPM, "install", "--silent", "--no-audit", "--no-fund", "ws@8"],
        cwd=folder,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("npm cannot install the package ws here")
    return folder


NODE_CLIENT = """
const WebSocket = require('ws');
const ws = new WebSocket(process.argv[2], ['a', 'z'], {perMessageDeflate: process.argv[3] === '1'});
const sizes = [0, 1, 125, 126, 65535, 65536, 300000], got = [];
let pongs = 0;
ws.on('open', () => {
  for (const n of sizes) { ws.send('x'.repeat(n)); ws.send(Buffer.alloc(n, 255)); }
  ws.send('first ', {fin: false}); ws.ping('there?'); ws.send('and last', {fin: true});
});
ws.on('pong', (data) => { pongs += data.toString() === 'there?' });
ws.on('message', (data, binary) => {
  got.push([binary, data.length]);
  if (got.length === 2 * sizes.length + 1) ws.send('goodbye');
});
ws.on('close', (code, reason) => console.log(JSON.stringify(
  {got, pongs, code, reason: reason.toString(), protocol: ws.protocol,
   extensions: ws.extensions})));
"""
NODE_SERVER = """
const {WebSocketServer} = require('ws');
const server = new WebSocketServer({port: 0, host: '127.0.0.1', perMessageDeflate: true});
server.on('listening', () => console.log(server.address().port));
server.on('connection', (ws) => {
  ws.on('message', (data, binary) => ws.send(data, {binary}));
  ws.on('close', (code, reason) => { console.log(code, reason.toString()); server.close(); });
});
"""


@pytest.mark.parametrize("deflate", ["0", "1"])
def test_the_ws_client_of_node_gets_its_messages_back(
    serve: Callable[..., str], node_ws: Path, deflate: str
) -> None:
    url = serve(Echo()).replace("http", "ws")
    (node_ws / "client.js").write_text(NODE_CLIENT)
    done = subprocess.run(
        [str(NODE), "client.js", url, deflate],
        cwd=node_ws,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    report = json.loads(done.stdout)
    sizes = [(binary, size) for size in SIZES for binary in (False, True)]
    assert [tuple(one) for one in report["got"]] == [*sizes, (False, 14)]
    assert (report["pongs"], report["code"], report["reason"]) == (1, 4001, "as you wish")
    assert report["protocol"] == "a"
    assert ("permessage-deflate" in report["extensions"]) == (deflate == "1")


def test_our_client_talks_to_the_ws_server_of_node(
    make_manager: Callable[..., Manager], node_ws: Path
) -> None:
    got: list[str] = []

    class Client(Handler):
        def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
            assert "permessage-deflate" in message.header("Sec-WebSocket-Extensions", "")
            for size in SIZES:
                conn.ws_send("y" * size)

        def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
            got.append(message.text)
            if len(got) == len(SIZES):
                conn.ws_close(4002, "done")

    (node_ws / "server.js").write_text(NODE_SERVER)
    with subprocess.Popen(
        [str(NODE), "server.js"], cwd=node_ws, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        manager = make_manager(Client())
        port = int(node.stdout.readline())
        conn = manager.ws_connect(f"ws://127.0.0.1:{port}", compression=True)
        pump(manager, lambda: conn.id == 0)
        assert node.stdout.readline() == "4002 done\n"
    assert got == ["y" * size for size in SIZES]


# -- a browser --------------------------------------------------------------

PAGE = """
new Promise((done) => {
  const ws = new WebSocket('%s', ['z', 'b']);
  const got = [];
  ws.binaryType = 'arraybuffer';
  ws.onopen = () => { ws.send('grüße'); ws.send(new Uint8Array(70000).fill(200)); };
  ws.onmessage = (event) => {
    got.push(typeof event.data === 'string' ? event.data : event.data.byteLength);
    if (got.length === 2) ws.send('goodbye');
  };
  ws.onclose = (event) => done(
    {got, code: event.code, reason: event.reason, clean: event.wasClean,
     protocol: ws.protocol, extensions: ws.extensions});
})
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_page_in_chromium_talks_to_us(serve: Callable[..., str], tmp_path: Path) -> None:
    assert CHROMIUM is not None
    url = serve(Echo())
    with browser_page(CHROMIUM, tmp_path / "profile") as page:
        page.open(url)
        page.wait_for("document.title === 't'")
        report = page.evaluate(PAGE % url.replace("http", "ws"))
    assert report == {
        "got": ["grüße", 70000],
        "code": 4001,
        "reason": "as you wish",
        "clean": True,
        "protocol": "b",
        "extensions": "permessage-deflate",
    }
