"""A chat in a browser: everybody gets what anybody writes.

    python examples/websocket/ws_chat.py

Open http://127.0.0.1:8000/ in two windows and write something.
"""

from __future__ import annotations

import argparse

from mongoose_py import Connection, Handler, HttpMessage, Manager, WsMessage

PAGE = """<!doctype html>
<title>Chat</title>
<form><input autofocus autocomplete="off"> <button>Send</button></form>
<ul></ul>
<script>
const socket = new WebSocket(`ws://${location.host}/chat`);
const input = document.querySelector("input");
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


class Chat(Handler):
    """Knows who is there and passes messages on."""

    def __init__(self) -> None:
        self.members: set[Connection] = set()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Serve the page, and let it in by the same port."""
        if message.uri == "/chat":
            conn.ws_upgrade(message, origins=["same", None])  # no other site's pages
        else:
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """Greet the others."""
        self.members.add(conn)
        conn.manager.ws_broadcast(self.members, f"{len(self.members)} here")

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Pass it on, to its writer too."""
        conn.manager.ws_broadcast(self.members, f"#{conn.id}: {message.text}")

    def on_close(self, conn: Connection) -> None:
        """Forget who has left."""
        self.members.discard(conn)


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat in a browser.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    args = parser.parse_args()
    with Manager(Chat()) as manager:
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        print(f"listening on {listener.url}/", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
