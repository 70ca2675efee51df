"""mongoose_py with a Handler object, which takes on_http and nothing else."""

from __future__ import annotations

from mongoose_py import Connection, Handler, HttpMessage, Manager
from servers import common


class Hello(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, common.HELLO)


class Item(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        if (
            message.method == "GET"
            and message.uri == common.PATH
            and message.header("Accept") == common.ACCEPT
            and message.header("Authorization") == common.AUTHORIZATION
            and message.header("X-Request-Id") == common.REQUEST_ID
            and message.query_var("name") == common.NAME
        ):
            conn.reply(200, common.ITEM, common.JSON_HEADERS)
        else:
            conn.reply(400)


class Big(Handler):
    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, common.BIG)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    handlers: dict[str, type[Handler]] = {"hello": Hello, "item": Item, "big": Big}
    with Manager(handlers[args.app]()) as manager:
        manager.listen(f"http://127.0.0.1:{args.port}")
        common.ready()
        manager.run()


if __name__ == "__main__":
    main()
