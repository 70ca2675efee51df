"""mongoose_py, or a module with the same interface, with a plain function as handler."""

from __future__ import annotations

import importlib
from typing import Any

from servers import common


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--module", default="mongoose_py")
    parser.add_argument("--only-http", action="store_true", help="ask for MG_EV_HTTP_MSG alone")
    args = parser.parse_args()
    module = importlib.import_module(args.module)
    http_message = module.MG_EV_HTTP_MSG

    def hello(conn: Any, event: int, data: Any) -> None:
        if event == http_message:
            conn.reply(200, common.HELLO)

    def item(conn: Any, event: int, data: Any) -> None:
        if event != http_message:
            return
        if (
            data.method == "GET"
            and data.uri == common.PATH
            and data.header("Accept") == common.ACCEPT
            and data.header("Authorization") == common.AUTHORIZATION
            and data.header("X-Request-Id") == common.REQUEST_ID
            and data.query_var("name") == common.NAME
        ):
            conn.reply(200, common.ITEM, common.JSON_HEADERS)
        else:
            conn.reply(400)

    def big(conn: Any, event: int, data: Any) -> None:
        if event == http_message:
            conn.reply(200, common.BIG)

    handler = {"hello": hello, "item": item, "big": big}[args.app]
    options = {"events": [http_message]} if args.only_http else {}
    with module.Manager(handler, **options) as manager:
        manager.listen(f"http://127.0.0.1:{args.port}")
        common.ready()
        manager.run()


if __name__ == "__main__":
    main()
