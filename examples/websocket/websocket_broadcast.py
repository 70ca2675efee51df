"""Push something to all WebSocket clients, again and again, by a timer.

    python examples/websocket/websocket_broadcast.py --interval 0.5

Open http://127.0.0.1:8000/ in a browser, or in two.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from mongoose_py import (
    MG_EV_CLOSE,
    MG_EV_HTTP_MSG,
    MG_EV_WS_MSG,
    MG_EV_WS_OPEN,
    Connection,
    Manager,
)

PAGE = """<!doctype html>
<title>WebSocket Broadcast Demo</title>
<p><b id="count">0</b> messages, <span id="state">connecting</span>
<p><button>Say hello</button>
<ul></ul>
<script>
const socket = new WebSocket(`ws://${location.host}/ws`);
const show = (id, text) => { document.getElementById(id).textContent = text; };
let count = 0;
socket.onopen = () => show("state", "connected");
socket.onclose = () => show("state", "disconnected");
socket.onmessage = (event) => {
  const item = document.createElement("li");
  item.textContent = event.data;
  document.querySelector("ul").prepend(item);
  show("count", ++count);
};
document.querySelector("button").onclick = () => socket.send("hello");
</script>
"""


class BroadcastServer:
    def __init__(self, port: int = 8000, interval: float = 1) -> None:
        self.port = port
        self.interval = interval  # seconds
        self.manager: Manager | None = None
        self.ws_clients: set[Connection] = set()
        self.broadcast_count = 0

    def handler(self, conn: Connection, ev: int, data: Any) -> None:
        if ev == MG_EV_HTTP_MSG and data.uri == "/ws":
            conn.ws_upgrade(data, origins=["same", None])  # no other site's pages
        elif ev == MG_EV_HTTP_MSG:
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        elif ev == MG_EV_WS_OPEN:
            self.ws_clients.add(conn)
            conn.ws_send(f"Welcome! You are client #{len(self.ws_clients)}")
        elif ev == MG_EV_WS_MSG:
            conn.ws_send(f"Echo: {data.text}")
        elif ev == MG_EV_CLOSE:
            self.ws_clients.discard(conn)

    def broadcast_timer(self) -> None:
        """Send one message to everybody; who is gone or does not read misses it."""
        self.broadcast_count += 1
        number, there = self.broadcast_count, len(self.ws_clients)
        text = f"[{time.strftime('%H:%M:%S')}] Broadcast #{number} to {there} clients"
        print(text, flush=True)
        if self.manager is not None:
            self.manager.ws_broadcast(self.ws_clients, text)

    def run(self) -> None:
        wanted = [MG_EV_HTTP_MSG, MG_EV_WS_OPEN, MG_EV_WS_MSG, MG_EV_CLOSE]
        with Manager(self.handler, events=wanted) as manager:
            self.manager = manager
            listener = manager.listen(f"http://127.0.0.1:{self.port}")
            print(f"listening on {listener.url}/", flush=True)
            manager.timer_add(self.interval * 1000, self.broadcast_timer, repeat=True)
            manager.run()
        print("stopped")


def main() -> None:
    parser = argparse.ArgumentParser(description="Push messages to WebSocket clients.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    args = parser.parse_args()
    BroadcastServer(args.port, args.interval).run()


if __name__ == "__main__":
    main()
