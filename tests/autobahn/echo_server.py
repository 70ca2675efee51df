"""The server that the Autobahn suite tests: echoes every message.

python tests/autobahn/echo_server.py 9001
"""

from __future__ import annotations

import sys

from mongoose_py import Connection, Handler, HttpMessage, Limits, Manager, WsMessage


class Echo(Handler):
    """Agrees to compression and gives each message back."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Become a WebSocket, whatever the path."""
        conn.ws_upgrade(message, compression=True)

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Send it back as it came."""
        conn.ws_send(message.data, message.flags)


def main() -> None:
    """Serve until SIGTERM."""
    with Manager(Echo(), limits=Limits(ws_message=64 * 1024 * 1024)) as manager:
        manager.listen(f"http://127.0.0.1:{sys.argv[1]}")
        print("ready", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
