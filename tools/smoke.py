"""Does the installed package work here? Serve HTTP, WebSocket and UDP, and talk to each.

python -I tools/smoke.py

Takes nothing but the package and the standard library, and says on one line what it ran on.
"""

from __future__ import annotations

import platform
import socket
import sys
import threading
import urllib.request

import mongoose_py
from mongoose_py import Connection, Handler, HttpMessage, Manager, WsMessage

SECONDS = 10  # for each answer: there to fail by


class Server(Handler):
    """Answers HTTP, echoes WebSocket messages and datagrams."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        if message.uri == "/ws":
            conn.ws_upgrade(message)
        else:
            conn.reply(200, b"hello, " + message.query.encode())

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        conn.ws_send(message.text)

    def on_read(self, conn: Connection, data: bytes) -> None:
        conn.send(data)


class Client(Handler):
    """Says one thing and keeps what comes back."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.answer = ""

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        conn.ws_send("echo \u2713")

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        self.answer = message.text
        conn.ws_close()

    def on_error(self, conn: Connection, message: str) -> None:
        self.answer = f"error: {message}"

    def on_close(self, conn: Connection) -> None:
        self.manager.stop()


def websocket(url: str) -> str:
    """Return what the server echoes."""
    with Manager() as manager:
        client = Client(manager)
        manager.ws_connect(url, client)
        manager.timer_add(SECONDS * 1000, manager.stop)
        manager.run()
    return client.answer


def datagram(port: int) -> bytes:
    """Return what the server sends back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(SECONDS)
        peer.sendto(b"\x00ping\xff", ("127.0.0.1", port))
        return peer.recvfrom(100)[0]


def main() -> None:
    """Exit with what went wrong, if anything."""
    with Manager(Server()) as manager:
        http = manager.listen("http://127.0.0.1:0").local_addr
        udp = manager.listen("udp://127.0.0.1:0").local_addr
        if http is None or udp is None:
            sys.exit("a listener has no address")
        thread = threading.Thread(target=manager.run, daemon=True)
        thread.start()
        address = f"127.0.0.1:{http[1]}"
        with urllib.request.urlopen(f"http://{address}/?wheel", timeout=SECONDS) as answer:
            got: tuple[object, ...] = (answer.status, answer.read())
        got += (websocket(f"ws://{address}/ws"), datagram(udp[1]))
        manager.stop()
        thread.join(SECONDS)
        if thread.is_alive():
            sys.exit("the loop does not stop")
    wanted = (200, b"hello, wheel", "echo \u2713", b"\x00ping\xff")
    if got != wanted:
        sys.exit(f"got {got}, not {wanted}")
    print(
        f"mongoose_py {mongoose_py.__version__} on {platform.python_implementation()} "
        f"{platform.python_version()}: HTTP, WebSocket and UDP work"
    )


if __name__ == "__main__":
    main()
