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
        self.manager: Manager | None = None

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Serve the page, and let it in by the same port."""
        origin = message.header("Origin", "")
        if message.uri != "/chat":
            conn.reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        elif origin and origin != f"http://{message.header('Host')}":
            conn.reply(403, "from another site\n")
        else:
            conn.ws_upgrade(message)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """Greet the others."""
        self.members.add(conn)
        self.tell(f"{len(self.members)} here")

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Pass it on, to its writer too."""
        self.tell(f"#{conn.id}: {message.text}")

    def on_close(self, conn: Connection) -> None:
        """Forget who has left."""
        self.members.discard(conn)

    def tell(self, text: str) -> None:
        """Send *text* to everybody."""
        if self.manager is not None:
            self.manager.ws_broadcast(self.members, text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat in a browser.")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    args = parser.parse_args()
    chat = Chat()
    with Manager(chat) as manager:
        chat.manager = manager
        listener = manager.listen(f"http://127.0.0.1:{args.port}")
        assert listener.local_addr is not None  # it listens, so it has an address
        print(f"listening on http://127.0.0.1:{listener.local_addr[1]}/", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
