"""JSON-RPC 2.0: texts in, answers out, over whatever carries them.

A frame is checked by the JSON reader of the C core, which bounds its nesting, and decoded
by Python's ``json``. The two must not read different things: numbers that Python would
take a second for, and objects with a name twice, are no valid requests.
"""

from __future__ import annotations

import re
from operator import index
from threading import Lock
from typing import Any, Callable, Union

from mongoose_py import logs
from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import Error
from mongoose_py.json import json_get
from mongoose_py.match import match

Params = Union["list[Any]", "dict[str, Any]", None]
RpcHandler = Callable[["RpcReq"], object]

_MAX_DIGITS = 4300  # as many as int() takes; the time grows with their square
_BLANKS = b" \t\r\n"  # RFC 8259 section 2
_WILDCARDS = frozenset("*?#")
_PARSE_ERROR, _INVALID, _NOT_FOUND, _INTERNAL = -32700, -32600, -32601, -32603
_MESSAGES = {
    _PARSE_ERROR: "Parse error",
    _INVALID: "Invalid Request",
    _NOT_FOUND: "Method not found",
    _INTERNAL: "Internal error",
}


class RpcReq:
    """A request, as the handler of its method gets it; good until that returns.

    Any thread may answer it until then.

    Attributes:
        method: Name of the method that was called; ``""`` for a response, see :class:`Rpc`.
        params: Its arguments, decoded: a list, a dict, or ``None`` when there are none.
    """

    __slots__ = ("_answer", "_id", "_lock", "_open", "_text", "method", "params")

    def __init__(self, text: str, method: str, params: Params, id_json: str | None) -> None:
        self.method: str = method
        self.params: Params = params
        self._text = text
        self._id = id_json  # None: a notification
        self._answer = ""
        self._open = True
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<RpcReq method={self.method!r} id={self._id}>"

    @property
    def frame(self) -> str:
        """The request's own text, also when it came in a batch; ``""`` when it is over."""
        return self._text

    @property
    def is_notification(self) -> bool:
        """It has no ``id``: nobody will be told the answer."""
        return self._id is None

    def ok(self, result_json: Data) -> None:
        """Answer with a result.

        Args:
            result_json: JSON text, put into the answer as it stands. ``json.dumps()``
                makes it.

        Raises:
            ValueError: If it is no JSON; NaN and Infinity are none (:rfc:`8259`).
            Error: If an answer was given already, or the handler has returned.
        """
        self._put(f'"result":{_checked_result(result_json, "result_json")}')

    def err(self, code: int, message: str, *, data_json: Data | None = None) -> None:
        """Answer with an error.

        Args:
            code: Any number; -32768 to -32000 have a meaning or are reserved (section 5.1).
            message: A sentence, as plain text.
            data_json: JSON text with more about it.

        Raises:
            ValueError: If *data_json* is no JSON.
            Error: If an answer was given already, or the handler has returned.
        """
        if not isinstance(message, str):
            raise TypeError(f"message must be str, not {type(message).__name__}")
        data = None if data_json is None else _checked_result(data_json, "data_json")
        self._put(_error_member(index(code), message, data))

    def _put(self, member: str) -> None:
        with self._lock:
            if not self._open:
                raise Error(f"{self.method}: the handler has returned, nothing can be answered")
            if self._answer:
                raise Error(f"{self.method}: the answer was already sent")
            self._answer = member

    def _end(self) -> str:
        """Return the answer's last member, ``""``: none; from now on none can be given."""
        with self._lock:
            self._open = False
            self._text = ""
            return self._answer


class Rpc:
    r"""Methods by name, and the way from a request to its answer: JSON-RPC 2.0.

    ::

        rpc = Rpc()
        rpc.add("sum", lambda req: req.ok(str(sum(req.params))))
        answer = rpc.process('{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": 7}')

    A member ``jsonrpc`` may be missing in a request. A *response* is never answered; it goes
    to the handler added for the method ``""``, if there is one.

    Any thread may call any method; handlers run on the thread that calls :meth:`process`.

    Args:
        max_batch: Requests in a batch; a larger one is refused as a whole. 0: any number.
        on_exception: Called with each ``Exception`` that a handler raises, and with its
            request. Default: logged, with its traceback, on the logger ``mongoose_py``.

    Raises:
        ValueError: If *max_batch* is negative.
    """

    def __init__(
        self,
        *,
        max_batch: int = 1000,
        on_exception: Callable[[Exception, RpcReq], object] | None = None,
    ) -> None:
        if index(max_batch) < 0:
            raise ValueError(f"max_batch must be 0 or more, not {max_batch}")
        if on_exception is not None and not callable(on_exception):
            raise TypeError(f"on_exception must be callable, not {type(on_exception).__name__}")
        self._max_batch = max_batch
        self._on_exception = on_exception
        self._lock = Lock()
        # Replaced as a whole, so that process() needs no lock: names, the newest first; by
        # name; and patterns, the newest first. The number tells what came later.
        self._names: tuple[str, ...] = ()
        self._exact: dict[str, tuple[int, RpcHandler]] = {}
        self._patterns: tuple[tuple[int, str, RpcHandler], ...] = ()
        self._count = 0

    @property
    def methods(self) -> list[str]:
        """Names and patterns that were added, the newest first."""
        return list(self._names)

    def add(self, method: str, handler: RpcHandler) -> None:
        """Have *handler* called with an :class:`RpcReq` for each request of *method*.

        Args:
            method: A name, or a pattern as in :func:`~mongoose_py.match`. Of several that
                fit the newest is called; adding the same one again replaces it.
            handler: It answers by ``ok()`` or ``err()`` before it returns. An ``Exception``
                that it raises becomes an error -32603 with the exception's text.

        Raises:
            TypeError: If *method* is no ``str`` or *handler* not callable.
        """
        if not isinstance(method, str):
            raise TypeError(f"method must be str, not {type(method).__name__}")
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        with self._lock:
            self._count += 1
            others = [name for name in self._names if name != method]
            self._names = (method, *others)
            if _WILDCARDS.isdisjoint(method):
                self._exact = {**self._exact, method: (self._count, handler)}
            else:
                kept = [entry for entry in self._patterns if entry[1] != method]
                self._patterns = ((self._count, method, handler), *kept)

    def process(self, frame: Data) -> str:
        """Call what a request or a batch asks for, and return the text of the answer.

        What is wrong with *frame* is answered too, as section 5.1 says.

        Args:
            frame: What came in; at most 30 brackets deep.

        Returns:
            A response, or an array of them; ``""`` when nothing is to be answered.

        Raises:
            TypeError: If *frame* is neither text nor bytes-like.
            BaseException: What is not an ``Exception``, from a handler.
        """
        text, problem = _checked_frame(frame)
        if not text:
            return _error_text("null", _PARSE_ERROR, problem)
        reader = _Reader()
        if not text.startswith("["):
            return self._one(text, reader.read(text, 0)[0], reader.problem)
        answers = []
        requests = _elements(text, reader, self._max_batch or len(text))
        if requests is None:
            return _error_text("null", _INVALID, f"more than {self._max_batch} in a batch")
        if not requests:
            return _error_text("null", _INVALID)
        for part, value, problem in requests:
            answer = self._one(part, value, problem)
            if answer:
                answers.append(answer)
        return f"[{','.join(answers)}]" if answers else ""

    def _one(self, text: str, value: object, problem: str) -> str:
        """Return the answer to one request."""
        if problem or not isinstance(value, dict):
            return _error_text("null", _INVALID, problem)
        has_id = "id" in value and isinstance(value["id"], (str, int, float, type(None)))
        has_id = has_id and not isinstance(value["id"], bool)
        id_json = json_get(text, "$.id") if has_id else None
        if "method" not in value and ("result" in value or "error" in value):
            handler = self._exact.get("", (0, None))[1]
            if handler is not None:
                self._call(handler, RpcReq(text, "", None, None))
            return ""  # or two that answer each other's answers would never end
        if not _is_request(value) or has_id != ("id" in value):
            return _error_text(id_json or "null", _INVALID)
        method = value["method"]
        handler = self._find(method)
        if handler is not None:
            return self._call(handler, RpcReq(text, method, value.get("params"), id_json))
        return "" if id_json is None else _error_text(id_json, _NOT_FOUND)

    def _find(self, method: str) -> RpcHandler | None:
        order, handler = self._exact.get(method, (0, None))
        for newer, pattern, candidate in self._patterns:
            if newer < order:
                break
            try:
                if match(method, pattern)[0]:
                    return candidate
            except UnicodeEncodeError:  # half of a surrogate pair: no text, so no pattern fits
                break
        return handler

    def _call(self, handler: RpcHandler, req: RpcReq) -> str:
        failure = "the handler gave no answer"
        try:
            handler(req)
        except Exception as exc:
            failure = str(exc) or type(exc).__name__
            self._report(exc, req)
        finally:
            member = req._end()
        if req._id is None:
            return ""
        return _response(req._id, member or _error_member(_INTERNAL, failure))

    def _report(self, exc: Exception, req: RpcReq) -> None:
        if self._on_exception is not None:
            self._on_exception(exc, req)
        else:
            logs.log_exception(f"JSON-RPC method {req.method!r}", exc)


def _is_request(value: dict[str, Any]) -> bool:
    """Tell whether this is a Request object, section 4, its ``id`` aside."""
    return (
        value.get("jsonrpc", "2.0") == "2.0"
        and isinstance(value.get("method"), str)
        and isinstance(value.get("params", []), (list, dict))
    )


def _response(id_json: str, member: str) -> str:
    return f'{{"jsonrpc":"2.0","id":{id_json},{member}}}'


def _error_member(code: int, message: str, data_json: str | None = None) -> str:
    from json import dumps  # costs milliseconds that most programs need not pay at start

    data = "" if data_json is None else f',"data":{data_json}'
    return f'"error":{{"code":{code:d},"message":{dumps(message)}{data}}}'


def _error_text(id_json: str, code: int, why: str = "") -> str:
    """Return the answer to what is no good request; *why*: what the code does not tell."""
    data = f'"{why}"' if why else None
    return _response(id_json, _error_member(code, _MESSAGES[code], data))


# -- reading ------------------------------------------------------------------------


def _checked_frame(frame: Data) -> tuple[str, str]:
    """Return the JSON text that *frame* is, or ``""`` and what the error does not tell."""
    try:
        data = as_bytes(frame, "frame")
    except UnicodeEncodeError:
        return "", ""
    length = ffi.new("size_t *")
    at = lib.mg_json_get(data, len(data), b"$", 1, length)
    if at == lib.MG_JSON_TOO_DEEP:
        return "", "more than 30 brackets deep"
    end = at + length[0]
    if at < 0 or data[end:].strip(_BLANKS):
        return "", ""
    return data[at:end].decode(), ""


class _Reader:
    """Python's decoder for valid JSON; notes what it would pass over."""

    def __init__(self) -> None:
        from json import JSONDecoder  # as above

        self.problem = ""
        decoder = JSONDecoder(object_pairs_hook=self._object, parse_int=self._int)
        self._decode = decoder.raw_decode

    def read(self, text: str, at: int) -> tuple[Any, int]:
        """Return the value at a place in the text, and where it ends."""
        self.problem = ""
        return self._decode(text, at)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.problem = "a name twice in an object"
        return found

    def _int(self, digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            self.problem = f"a number of more than {_MAX_DIGITS} digits"
            return 0
        return int(digits)


def _elements(text: str, reader: _Reader, most: int) -> list[tuple[str, Any, str]] | None:
    """Return text, value and problem of each element of an array; ``None``: too many."""
    blanks = re.compile("[ \t\r\n]*")  # here, so that an import does not pay for it
    found: list[tuple[str, Any, str]] = []
    at = _behind(blanks, text, 1)
    while text[at] != "]":
        if len(found) == most:
            return None
        value, end = reader.read(text, at)
        found.append((text[at:end], value, reader.problem))
        at = _behind(blanks, text, end)
        if text[at] == ",":
            at = _behind(blanks, text, at + 1)
    return found


def _behind(blanks: re.Pattern[str], text: str, at: int) -> int:
    found = blanks.match(text, at)
    return at if found is None else found.end()


def _checked_result(value: Data, name: str) -> str:
    """Return *value* as a text if it is JSON."""
    from json import JSONDecoder  # as above

    data = as_bytes(value, name)
    try:
        text = data.decode()
        JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_number).decode(text)
    except (ValueError, RecursionError) as exc:
        shown = data if len(data) <= 60 else data[:60] + b"..."
        raise ValueError(f"{name} must be JSON, not {shown!r}: {exc}") from None
    return text


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")
