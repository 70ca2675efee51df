"""HTTP messages as handlers see them, and the text that goes the other way.

The C core parses, frames and answers. Here is what touches Python objects: a
view on a received message that decodes a field when it is asked for, and the
header lines, events and request heads that a caller's strings become.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Union, overload

from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.params import parameter, query_value

Headers = Union[Mapping[str, object], Iterable[tuple[str, object]]]
_T = TypeVar("_T")

_unpack = ffi.unpack
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_ILLEGAL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5
_TARGET = re.compile(r"[!\"$-~]+")  # visible ASCII; a fragment is never sent
_FRAMING = ("content-length", "transfer-encoding")
_EXPECT_BODY = ("POST", "PUT", "PATCH")  # RFC 9110, 8.6: say so when it is empty
_LINE_BREAK = re.compile(rb"\r\n|\r|\n")  # as an event stream counts lines


def _bytes(s: Any) -> bytes:
    size = s.len
    return _unpack(s.buf, size) if size else b""


def _text(s: Any) -> str:
    """Decode so that any bytes can be had back: undecodable ones become surrogates."""
    size = s.len
    return _unpack(s.buf, size).decode("utf-8", "surrogateescape") if size else ""


class HttpMessage:
    """A request or a response, as given to a handler.

    A view on the receive buffer: fields are decoded when they are read, and again
    each time. It is valid until the handler returns; after that ``bool(message)``
    is ``False`` and everything in it is empty. Only the handler's thread may use it.

    Text is UTF-8; undecodable bytes become lone surrogates, so that
    ``text.encode("utf-8", "surrogateescape")`` gives the original bytes.
    """

    __slots__ = ("_raw",)
    _raw: Any  # struct mg_http_message *, or None once stale

    if not TYPE_CHECKING:  # hides from type checkers which attributes there are

        def __getattr__(self, name):
            """Take an instance that the dispatcher has not filled for a stale one.

            An ``__init__`` would cost each request more than all else in its creation.
            """
            if name != "_raw":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _switch_off(self) -> None:
        self._raw = None

    def __bool__(self) -> bool:
        return self._raw is not None

    def __repr__(self) -> str:
        if self._raw is None:
            return "<HttpMessage stale>"
        return f"<HttpMessage {self.method} {self.uri} {self.proto}>"

    @property
    def method(self) -> str:
        """Method as sent, ``"GET"``; of a response the version, ``"HTTP/1.1"``."""
        return "" if self._raw is None else _text(self._raw.method)

    @property
    def uri(self) -> str:
        """Path, still percent-encoded, without query; of a response the status code.

        The absolute form ``http://host/path``, ``*`` and CONNECT's ``host:port`` are
        given as they came.
        """
        return "" if self._raw is None else _text(self._raw.uri)

    @property
    def query(self) -> str:
        """Text behind the first ``?``, still encoded; ``""`` when there is none."""
        return "" if self._raw is None else _text(self._raw.query)

    @property
    def proto(self) -> str:
        """``"HTTP/1.1"``; of a response the reason phrase."""
        return "" if self._raw is None else _text(self._raw.proto)

    @property
    def body_bytes(self) -> bytes:
        """Body; in ``MG_EV_HTTP_HDRS`` what has arrived of it."""
        return b"" if self._raw is None else _bytes(self._raw.body)

    @property
    def body_text(self) -> str:
        """Body as text; give :attr:`body_bytes` to ``reply()`` to echo it unchanged."""
        return "" if self._raw is None else _text(self._raw.body)

    def status(self) -> int | None:
        """Return the status code of a response, 0 for a request, ``None`` when stale."""
        if self._raw is None:
            return None
        is_response = _bytes(self._raw.method).startswith(b"HTTP/")  # no token has a slash
        return int(_bytes(self._raw.uri)) if is_response else 0

    def headers(self) -> list[tuple[str, str]]:
        """Return the header lines in order: names as sent, values without blanks around."""
        raw = self._raw
        if raw is None:
            return []
        lines = raw.headers
        return [(_text(lines[i].name), _text(lines[i].value)) for i in range(raw.num_headers)]

    @overload
    def header(self, name: str) -> str | None: ...
    @overload
    def header(self, name: str, default: _T) -> str | _T: ...
    def header(self, name: str, default: Any = None) -> Any:
        """Return the value of the first header called *name*, or *default*.

        Letter case does not matter. The values of repeated ``Cookie`` lines are joined
        by ``"; "``, as one line would have them (:rfc:`9113`, section 8.2.3).

        Raises:
            ValueError: If *name* contains NUL.
        """
        wanted = as_text(name, "name").encode("utf-8", "surrogateescape")
        if self._raw is None:
            return default
        if wanted.lower() == b"cookie":
            cookies = [value for key, value in self.headers() if key.lower() == "cookie"]
            return "; ".join(cookies) if cookies else default
        value = lib.mg_http_get_header(self._raw, wanted, len(wanted))
        return _text(value) if value else default

    def ws_subprotocols(self) -> list[str]:
        """Return the WebSocket subprotocols that a request offers, the most wanted first."""
        found = [
            value for name, value in self.headers() if name.lower() == "sec-websocket-protocol"
        ]
        return [name.strip() for name in ",".join(found).split(",") if name.strip()]

    def header_var(self, header_name: str, var_name: str) -> str | None:
        """Return a parameter of a header, as ``charset`` of ``Content-Type``.

        Quotes are removed. ``None`` when the header or the parameter is missing.
        """
        var_name = as_text(var_name, "var_name")
        value = self.header(header_name)
        return None if value is None else parameter(value, var_name)

    def query_var(self, name: str) -> str | None:
        """Return the decoded value of the first query parameter called *name*.

        Names are compared decoded and without regard to case; ``+`` is a blank. ``""``
        for ``a=`` and for ``a``; ``None`` when there is no such parameter.

        Raises:
            ValueError: If the value has a malformed percent escape, or *name* contains NUL.
        """
        name = as_text(name, "name")
        return None if self._raw is None else query_value(_bytes(self._raw.query), name)


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Check *headers* and return them as text.

    Names must be tokens (:rfc:`9110`, section 5.6.2). Values are converted with
    ``str()`` and lose one CR LF at their end; other control characters are refused.

    Raises:
        TypeError: If a name is not a ``str``, or a value is ``None`` or bytes.
        ValueError: If a name or value holds a character that is not allowed there.
    """
    if isinstance(headers, (str, bytes)):
        raise TypeError(f"headers must be a mapping or pairs, not {type(headers).__name__}")
    items = headers.items() if isinstance(headers, (dict, Mapping)) else headers
    return [(_checked_name(name), _checked_value(name, value)) for name, value in items]


def _checked_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Header name must be str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"Header name {name!r} is empty or contains an illegal character")
    return name


def _checked_value(name: str, value: object) -> str:
    if value is None or isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"Header value of {name!r} must be text, not {type(value).__name__}")
    text = str(value)
    if text.endswith("\r\n"):
        text = text[:-2]
    if _ILLEGAL.search(text):
        raise ValueError(f"Header value {text!r} of {name!r} contains an illegal character")
    return text


def header_lines(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return checked *pairs* as they go on the wire."""
    text = "".join([f"{name}: {value}\r\n" for name, value in pairs])
    return text.encode("utf-8", "surrogateescape")


def reply_headers(headers: Headers, content_type: str, *, replace: bool = False) -> bytes:
    """Return the header lines of an answer, *content_type* among them.

    It is added when *headers* have none (``""``: not even then), and wins over theirs
    when *replace* is set.
    """
    pairs = header_pairs(headers)
    if replace:
        pairs = [pair for pair in pairs if pair[0].lower() != "content-type"]
    if content_type and all(name.lower() != "content-type" for name, _ in pairs):
        pairs.insert(0, ("Content-Type", content_type))
    return header_lines(pairs)


def raw_header_lines(text: str) -> bytes:
    """Check lines that a caller wrote by hand; the last may lack its CR LF."""
    if not isinstance(text, str):
        raise TypeError(f"extra_headers must be str, not {type(text).__name__}")
    pairs = []
    for line in text.split("\r\n"):
        if line:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"Header line {line!r} has no colon")
            pairs.append((name, value.strip(" \t")))
    return header_lines(header_pairs(pairs))


def event_text(event_type: str, data: Data) -> bytes:
    """Return one event of an event stream: a ``data:`` line for each line of *data*.

    Raises:
        ValueError: If *event_type* has a line break.
    """
    name = as_text(event_type, "event_type").encode()
    if _LINE_BREAK.search(name):
        raise ValueError(f"event_type must be one line, not {event_type!r}")
    head = b"event: " + name + b"\n" if name else b""
    lines = [b"data: " + line + b"\n" for line in _LINE_BREAK.split(as_bytes(data))]
    return head + b"".join(lines) + b"\n"


def request_text(
    method: str, path: str, host: str, pairs: list[tuple[str, str]], body: bytes
) -> bytes:
    """Return a request as it goes on the wire, :rfc:`9112` sections 3 and 6.

    Raises:
        ValueError: If *method* is not a token; *path* has a blank, a control character,
            ``#`` or a character beyond ASCII; or *pairs* announce another body.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method must be a token, not {method!r}")
    if not _TARGET.fullmatch(path):
        raise ValueError(f"path must be percent-encoded and without a fragment, not {path!r}")
    if all(name.lower() != "host" for name, _ in pairs):
        pairs = [("Host", host), *pairs]
    framing = [(name.lower(), value) for name, value in pairs if name.lower() in _FRAMING]
    if not framing and (body or method in _EXPECT_BODY):
        pairs = [*pairs, ("Content-Length", str(len(body)))]
    head = f"{method} {path} HTTP/1.1\r\n".encode() + header_lines(pairs) + b"\r\n"
    return head + (_framed(framing, body) if framing else body)


def _framed(framing: list[tuple[str, str]], body: bytes) -> bytes:
    """Return *body* as the caller's own framing header announces it."""
    (name, value), *others = framing
    if others:
        raise ValueError(f"headers must announce one body, not {framing}")
    if name == "transfer-encoding":
        if value.lower() != "chunked":
            raise ValueError(f"Transfer-Encoding must be chunked, not {value!r}")
        return b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    if not value.isascii() or not value.isdigit() or (body and int(value) != len(body)):
        raise ValueError(f"Content-Length must be the body's, {len(body)}, not {value!r}")
    return body
