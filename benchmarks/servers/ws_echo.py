"""WebSocket echo servers of the same shape: ws_echo.py NAME PORT."""

from __future__ import annotations

import sys
from typing import Any


def mongoose_handler(port: int) -> None:
    """Run ours, with a Handler object."""
    from mongoose_py import Connection, Handler, HttpMessage, Manager, WsMessage

    class Echo(Handler):
        def on_http(self, conn: Connection, message: HttpMessage) -> None:
            conn.ws_upgrade(message)

        def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
            conn.ws_send(message.data, message.flags)

    with Manager(Echo()) as manager:
        manager.listen(f"http://127.0.0.1:{port}")
        print("ready", flush=True)
        manager.run()


def mongoose_callable(port: int) -> None:
    """Run ours, with the script of the next one."""
    script(port, "mongoose_py")


def cymongoose(port: int) -> None:
    """Run a Cython binding of the Mongoose C library."""
    script(port, "cymongoose")


def script(port: int, module: str) -> None:
    library = __import__(module)
    http, message = library.MG_EV_HTTP_MSG, library.MG_EV_WS_MSG

    def handle(conn: Any, ev: int, data: Any) -> None:
        if ev == message:
            conn.ws_send(data.data)
        elif ev == http:
            conn.ws_upgrade(data)

    manager = library.Manager(handle)
    manager.listen(f"http://127.0.0.1:{port}")
    print("ready", flush=True)
    while True:
        manager.poll(100)


def picows(port: int) -> None:
    """Run a Cython server on uvloop; the payload is made bytes, as ours is."""
    import picows as library
    import uvloop

    class Echo(library.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    async def main() -> None:
        server = await library.ws_create_server(lambda _: Echo(), "127.0.0.1", port)
        print("ready", flush=True)
        await server.serve_forever()

    uvloop.run(main())


def websockets(port: int) -> None:
    """Run the websockets library on uvloop."""
    import uvloop
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(message)

    async def main() -> None:
        async with serve(echo, "127.0.0.1", port, compression=None) as server:
            print("ready", flush=True)
            await server.serve_forever()

    uvloop.run(main())


SERVERS = {f.__name__: f for f in (mongoose_handler, mongoose_callable, cymongoose, picows)}
SERVERS["websockets"] = websockets

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
