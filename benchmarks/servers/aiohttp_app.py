"""aiohttp on asyncio's own loop."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from servers import common

web: Any = importlib.import_module("aiohttp.web")


async def hello(request: Any) -> Any:
    return web.Response(body=common.HELLO, content_type="text/plain")


async def item(request: Any) -> Any:
    if (
        request.method == "GET"
        and request.path == common.PATH
        and request.headers.get("Accept") == common.ACCEPT
        and request.headers.get("Authorization") == common.AUTHORIZATION
        and request.headers.get("X-Request-Id") == common.REQUEST_ID
        and request.query.get("name") == common.NAME
    ):
        return web.Response(body=common.ITEM, content_type="application/json")
    return web.Response(status=400)


async def big(request: Any) -> Any:
    return web.Response(body=common.BIG, content_type="text/plain")


async def serve(app: str, port: int) -> None:
    application = web.Application()
    application.router.add_get("/{tail:.*}", {"hello": hello, "item": item, "big": big}[app])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    common.ready()
    await asyncio.Event().wait()


def main() -> None:
    args = common.parser(__doc__).parse_args()
    asyncio.run(serve(args.app, args.port))


if __name__ == "__main__":
    main()
