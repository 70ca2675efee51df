"""socketify: a cffi binding of a C++ server."""

from __future__ import annotations

import importlib
from typing import Any

from servers import common


def hello(res: Any, req: Any) -> None:
    res.write_header("Content-Type", "text/plain").end(common.HELLO)


def item(res: Any, req: Any) -> None:
    if (
        req.get_method() == "GET"
        and req.get_url() == common.PATH
        and req.get_header("accept") == common.ACCEPT
        and req.get_header("authorization") == common.AUTHORIZATION
        and req.get_header("x-request-id") == common.REQUEST_ID
        and req.get_query("name") == common.NAME
    ):
        res.write_header("Content-Type", "application/json").end(common.ITEM)
    else:
        res.write_status(400).end(b"")


def big(res: Any, req: Any) -> None:
    res.write_header("Content-Type", "text/plain").end(common.BIG)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    app = importlib.import_module("socketify").App()
    app.get("/*", {"hello": hello, "item": item, "big": big}[args.app])
    app.listen(args.port, lambda config: common.ready())
    app.run()


if __name__ == "__main__":
    main()
