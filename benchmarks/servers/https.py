"""An HTTPS server for measurements: ``https.py MODULE PORT FOLDER``.

MODULE is mongoose_py or cymongoose. FOLDER has cert.pem, key.pem and big.bin.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

HELLO = "hello, world\n"


def ours(port: str, folder: Path) -> None:
    from mongoose_py import Connection, Handler, HttpMessage, Manager, TlsOpts

    class Site(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            if message.uri == "/":
                conn.reply(200, HELLO)
            else:
                conn.serve_dir(message, folder)

        def on_error(self, conn: Connection, message: str) -> None:
            if "close_notify" not in message and "has ended" not in message:
                print(message, file=sys.stderr, flush=True)

    opts = TlsOpts(cert=folder / "cert.pem", key=folder / "key.pem")
    with Manager(Site()) as manager:
        manager.listen(f"https://127.0.0.1:{port}", tls=opts)
        print("ready", flush=True)
        manager.run()


def theirs(name: str, port: str, folder: Path) -> None:
    module: Any = importlib.import_module(name)
    cert, key = [(folder / file).read_bytes() for file in ("cert.pem", "key.pem")]

    def handle(conn: Any, event: int, data: Any) -> None:
        if event == module.MG_EV_ACCEPT:
            conn.tls_init(module.TlsOpts(cert=cert, key=key))
        elif event == module.MG_EV_HTTP_MSG:
            if data.uri == "/":
                conn.reply(200, HELLO)
            else:
                conn.serve_dir(data, str(folder))

    manager = module.Manager(handle)
    manager.listen(f"https://127.0.0.1:{port}")
    print("ready", flush=True)
    while True:
        manager.poll(1000)


if __name__ == "__main__":
    if sys.argv[1] == "mongoose_py":
        ours(sys.argv[2], Path(sys.argv[3]))
    else:
        theirs(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
