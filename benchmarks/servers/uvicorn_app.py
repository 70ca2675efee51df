"""uvicorn with httptools and uvloop, and an ASGI application without a framework."""

from __future__ import annotations

import importlib
import socket
from typing import Any
from urllib.parse import parse_qs

from servers import common

TEXT = [(b"content-type", b"text/plain")]
JSON = [(b"content-type", b"application/json")]


async def answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, length]},
    )
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, 200, TEXT, common.HELLO)


async def item(scope: Any, receive: Any, send: Any) -> None:
    headers = dict(scope["headers"])
    if (
        scope["method"] == "GET"
        and scope["path"] == common.PATH
        and headers[b"accept"].decode() == common.ACCEPT
        and headers[b"authorization"].decode() == common.AUTHORIZATION
        and headers[b"x-request-id"].decode() == common.REQUEST_ID
        and parse_qs(scope["query_string"].decode())["name"] == [common.NAME]
    ):
        await answer(send, 200, JSON, common.ITEM)
    else:
        await answer(send, 400, TEXT, b"")


async def big(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, 200, TEXT, common.BIG)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    uvicorn: Any = importlib.import_module("uvicorn")
    config = uvicorn.Config(
        {"hello": hello, "item": item, "big": big}[args.app],
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )
    with socket.create_server(("127.0.0.1", args.port), backlog=4096) as listener:
        common.ready()
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
