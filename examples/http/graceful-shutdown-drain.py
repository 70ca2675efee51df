"""End a server without cutting anybody off: on a signal, send what waits first.

    python examples/http/graceful-shutdown-drain.py
    curl --limit-rate 10M http://127.0.0.1:8000/ > answer

Press Ctrl-C meanwhile: new connections are refused at once, and the answer has
five seconds more to get to its end.
"""

from __future__ import annotations

import argparse

from mongoose_py import Connection, Handler, HttpMessage, Manager

ANSWER = b"x" * 20_000_000
PATIENCE = 5.0  # seconds


class Server(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        """Answer with more than the network takes at once."""
        conn.reply(200, ANSWER)


def main() -> None:
    parser = argparse.ArgumentParser(description="End without cutting anybody off.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    args = parser.parse_args()
    with Manager(Server()) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        manager.run(drain=PATIENCE)
    print("stopped")


if __name__ == "__main__":
    main()
