"""Echo WebSocket messages, beside files and a little JSON on the same port.

    python examples/websocket/websocket_server.py
    curl http://127.0.0.1:8000/api/stats
    curl -d 'to everybody' http://127.0.0.1:8000/api/broadcast

Open http://127.0.0.1:8000/ in a browser and write something.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_HTTP_MSG,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    WEBSOCKET_OP_TEXT,
    Connection,
    Error,
    HttpMessage,
    Manager,
)

PAGE = """<!doctype html>
<title>WebSocket echo</title>
<form><input autofocus autocomplete="off"> <button disabled>Send</button></form>
<ul></ul>
<script>
const socket = new WebSocket(`ws://${location.host}/ws`);
const input = document.querySelector("input");
socket.onopen = () => { document.querySelector("button").disabled = false; };
socket.onmessage = (event) => {
  const item = document.createElement("li");
  item.textContent = event.data;
  document.querySelector("ul").prepend(item);
};
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  socket.send(input.value);
  input.value = "";
};
</script>
"""
clients: set[Connection] = set()


def handler(conn: Connection, event: int, data: Any, root: Path = Path("ws_root")) -> None:
    """Get the events that ``main`` asks for, of all connections."""
    if event == MG_EV_HTTP_MSG:
        answer(conn, data, root)
    elif event == MG_EV_WS_OPEN:
        clients.add(conn)
    elif event == MG_EV_WS_MSG and data.flags == WEBSOCKET_OP_TEXT:
        conn.ws_send(f"Echo: {data.text}")
    elif event == MG_EV_WS_MSG:
        conn.ws_send(data.data, data.flags)
    elif event == MG_EV_CLOSE:
        clients.discard(conn)


def answer(conn: Connection, message: HttpMessage, root: Path) -> None:
    """Answer one HTTP request."""
    if message.uri == "/ws":
        conn.ws_upgrade(message)
    elif message.uri == "/api/stats":
        conn.reply_json({"websocket_clients": len(clients), "endpoint": "/ws"})
    elif (message.method, message.uri) == ("POST", "/api/broadcast"):
        conn.reply_json({"sent_to": broadcast(f"Broadcast: {message.body_text}")})
    elif message.uri.startswith("/api/"):
        conn.reply_json({"error": "no such page"}, 404)
    else:
        conn.serve_dir(message, root)


def broadcast(text: str) -> int:
    """Send *text* to everybody; return how many that are."""
    sent = 0
    for conn in clients:
        try:
            conn.ws_send(text.encode("utf-8", "replace"))
            sent += 1
        except Error:  # it is about to be closed, or does not read
            continue
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo WebSocket messages.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    parser.add_argument("--root", type=Path, default=Path("ws_root"), help="what to serve")
    args = parser.parse_args()
    args.root.mkdir(parents=True, exist_ok=True)
    if not (args.root / "index.html").exists():
        (args.root / "index.html").write_text(PAGE, encoding="utf-8")
    wanted = [MG_EV_HTTP_MSG, MG_EV_WS_OPEN, MG_EV_WS_MSG, MG_EV_CLOSE]
    with Manager(partial(handler, root=args.root), events=wanted) as manager:
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
