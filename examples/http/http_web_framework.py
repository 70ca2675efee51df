"""A web framework in a hundred lines: routes, hooks and answers.

    python examples/http/http_web_framework.py
    curl http://127.0.0.1:8000/greet/you
    curl -d '{"name": "lamp"}' http://127.0.0.1:8000/items
    curl http://127.0.0.1:8000/items/1

``App`` is the framework; what stands below it is a program that uses it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable, TypeVar, Union
from urllib.parse import unquote

from mongoose_py import MG_EV_HTTP_MSG, Connection, HttpMessage, Manager

F = TypeVar("F", bound=Callable[..., Any])
KINDS = {"": "[^/]+", "int:": "[0-9]+", "path:": ".+"}


class Response:
    """What a view may return; so may ``None``, text, a dict, or a pair of those and a status."""

    def __init__(
        self, body: str | bytes = "", status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.body, self.status, self.headers = body, status, dict(headers or {})


def json_response(data: object, status: int = 200) -> Response:
    return Response(json.dumps(data, allow_nan=False), status, {"Content-Type": "application/json"})


class Request:
    """What a view gets first; good for as long as the view runs."""

    def __init__(self, message: HttpMessage, path_params: dict[str, Any]) -> None:
        self._message = message
        self.method, self.uri, self.query = message.method, message.uri, message.query
        self.body_bytes, self.body_text = message.body_bytes, message.body_text
        self.path_params = path_params
        self.extras: dict[str, Any] = {}  # for hooks to leave something for views

    @property
    def headers_raw(self) -> list[tuple[str, str]]:
        return self._message.headers()

    def header(self, name: str, default: str | None = None) -> str | None:
        return self._message.header(name, default)

    def json(self) -> Any:
        """Return the body as JSON, or ``None`` when it is none."""
        try:
            data = json.loads(self.body_bytes)
            json.dumps(data, allow_nan=False)  # what can't be sent back is none: NaN, 1e999
            return data
        except (ValueError, RecursionError):
            return None

    def query_var(self, name: str, default: str | None = None) -> str | None:
        try:
            value = self._message.query_var(name)
        except ValueError:  # a malformed escape
            value = None
        return default if value is None else value


Answer = Union[None, str, "dict[str, Any]", "tuple[Any, int]", Response]


def as_response(answer: Answer) -> Response:
    """Make a response of whatever a view has returned."""
    body, status = answer if isinstance(answer, tuple) else (answer, 200)
    if isinstance(body, Response):
        return body
    return json_response(body, status) if isinstance(body, dict) else Response(body or "", status)


class App:
    def __init__(self) -> None:
        self.routes: list[tuple[re.Pattern[str], set[str], set[str], Callable[..., Answer]]] = []
        self.before: list[Callable[[Request], object]] = []
        self.after: list[Callable[[Request, Response], Response]] = []
        self.missing: Callable[[Request], Answer] = lambda request: ("Not Found", 404)

    def route(self, pattern: str, methods: Iterable[str] = ("GET",)) -> Callable[[F], F]:
        """Have a view called for a path with ``<name>``, ``<int:name>`` or ``<path:name>``."""
        parts = re.split(r"<(int:|path:|)(\w+)>", pattern)  # text, kind, name, text, ...
        found = re.escape(parts[0])
        for kind, name, text in zip(parts[1::3], parts[2::3], parts[3::3]):
            found += f"(?P<{name}>{KINDS[kind]})" + re.escape(text)
        numbers = {name for kind, name in zip(parts[1::3], parts[2::3]) if kind == "int:"}

        def add(view: F) -> F:
            self.routes.append((re.compile(found), set(methods), numbers, view))
            return view

        return add

    def get(self, pattern: str) -> Callable[[F], F]:
        return self.route(pattern, ["GET"])

    def post(self, pattern: str) -> Callable[[F], F]:
        return self.route(pattern, ["POST"])

    def put(self, pattern: str) -> Callable[[F], F]:
        return self.route(pattern, ["PUT"])

    def delete(self, pattern: str) -> Callable[[F], F]:
        return self.route(pattern, ["DELETE"])

    def not_found(self, view: F) -> F:
        self.missing = view
        return view

    def before_request(self, hook: F) -> F:
        self.before.append(hook)
        return hook

    def after_request(self, hook: F) -> F:
        self.after.append(hook)
        return hook

    def find(self, message: HttpMessage) -> tuple[Callable[..., Answer], dict[str, Any]]:
        """Return the view for a request and what the path says; the first route wins."""
        path = unquote(message.uri, errors="surrogateescape")
        for pattern, methods, numbers, view in self.routes:
            found = pattern.fullmatch(path)
            if found and message.method in methods:
                params = found.groupdict()
                if all(len(params[name]) < 100 for name in numbers):  # int() takes no endless ones
                    return view, {k: int(v) if k in numbers else v for k, v in params.items()}
        return self.missing, {}

    def handler(self, conn: Connection, ev: int, data: Any) -> None:
        """Answer one request; an exception here is answered 500 by the manager."""
        if ev != MG_EV_HTTP_MSG:
            return
        view, params = self.find(data)
        request = Request(data, params)
        for before in self.before:
            before(request)
        response = as_response(view(request, **params))
        for after in self.after:
            response = after(request, response)
        conn.reply(response.status, response.body, response.headers)

    def run(self, listen: str = "http://127.0.0.1:8000", poll_ms: float = 100) -> None:
        with Manager(self.handler, events=[MG_EV_HTTP_MSG]) as manager:
            listener = manager.listen(listen)
            print(f"listening on {listener.url}/", flush=True)
            manager.run(poll_ms)
        print("stopped")


app = App()
items: dict[int, dict[str, Any]] = {}
MOST_ITEMS, MOST_BYTES = 1000, 10_000


@app.get("/")
def index(request: Request) -> str:
    return "GET /greet/NAME, GET and POST /items, GET and DELETE /items/ID\n"


@app.get("/greet/<name>")
def greet(request: Request, name: str) -> str:
    return f"Hello, {name.encode('utf-8', 'replace').decode()}!\n"


@app.route("/items", methods=["GET", "POST"])
def all_items(request: Request) -> Answer:
    if request.method == "GET":
        return {"items": list(items.values())}
    data = request.json()
    if not isinstance(data, dict):
        return {"error": "the body must be a JSON object"}, 400
    if len(items) >= MOST_ITEMS or len(request.body_bytes) > MOST_BYTES:
        return {"error": "there is no room for it"}, 507
    number = max(items, default=0) + 1
    items[number] = {**data, "id": number}
    return items[number], 201


@app.route("/items/<int:number>", methods=["GET", "DELETE"])
def one_item(request: Request, number: int) -> Answer:
    if number not in items:
        return {"error": "no such item"}, 404
    return items.pop(number) if request.method == "DELETE" else items[number]


def main() -> None:
    parser = argparse.ArgumentParser(description="A web framework, with a demo.")
    parser.add_argument("-l", "--listen", default="http://127.0.0.1:8000", metavar="URL")
    app.run(parser.parse_args().listen)


if __name__ == "__main__":
    main()
