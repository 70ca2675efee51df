"""Send one message to a WebSocket and print what comes back.

    python examples/websocket/ws_chat.py
    python examples/websocket/ws_client.py ws://127.0.0.1:8000/chat "hello, everybody"

Ctrl-C ends it, and so does the server when it closes.
"""

from __future__ import annotations

import argparse
import sys

from mongoose_py import Connection, Handler, HttpMessage, Manager, WsMessage


class Client(Handler):
    """Prints what it is told; the loop ends with the connection."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.failed = False

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        conn.ws_send(self.text)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        print(message.text, flush=True)

    def on_ws_control(self, conn: Connection, message: WsMessage) -> None:
        if message.close_code is not None:
            print(f"closed: {message.close_code} {message.close_reason}".rstrip(), flush=True)

    def on_error(self, conn: Connection, message: str) -> None:
        print(message, file=sys.stderr)
        self.failed = True

    def on_close(self, conn: Connection) -> None:
        conn.manager.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description="Talk to a WebSocket.")
    parser.add_argument("url")
    parser.add_argument("text")
    args = parser.parse_args()
    with Manager() as manager:
        client = Client(args.text)
        manager.ws_connect(args.url, client)
        manager.run()
    return 1 if client.failed else 0


if __name__ == "__main__":
    sys.exit(main())
