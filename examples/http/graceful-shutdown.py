"""End a server in good order on Ctrl-C or SIGTERM.

    python examples/http/graceful-shutdown.py
    curl http://127.0.0.1:8000/

``run()`` watches both signals: it lets the running handler finish, closes every
connection with its ``MG_EV_CLOSE``, and returns.
"""

from __future__ import annotations

import argparse

from mongoose_py import MG_EV_CLOSE, MG_EV_HTTP_MSG, Connection, Manager


def handler(conn: Connection, event: int, message: object) -> None:
    if event == MG_EV_HTTP_MSG:
        conn.reply(200, "hello\n")
    elif not conn.is_listening:  # MG_EV_CLOSE; nothing else was asked for
        print("closed a connection", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="End in good order.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    args = parser.parse_args()
    with Manager(handler, events=[MG_EV_HTTP_MSG, MG_EV_CLOSE]) as manager:
        listener = manager.listen(args.listen)
        print(f"listening on {listener.url}/", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
