"""HTTP messages as handlers see them, and the text that goes the other way.

The C core parses, frames and answers. Here is what touches Python objects: a
view on a received message that decodes a field when it is asked for, and the
header lines, events and request heads that a caller's strings become.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, Union, overload

from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._mongoose_cffi import ffi
from mongoose_py.params import parameter, query_value
from mongoose_py.url import url_host, url_is_ssl, url_port

Headers = Union[Mapping[str, object], Iterable[tuple[str, object]]]
_T = TypeVar("_T")

_unpack = ffi.unpack
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_ILLEGAL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5
_TARGET = re.compile(r"[!\"$-~]+")  # visible ASCII; a fragment is never sent
_FRAMING = ("content-length", "transfer-encoding")
_EXPECT_BODY = ("POST", "PUT", "PATCH")  # RFC 9110, 8.6: say so when it is empty
_MOST_BLOCKS = 256
_LARGEST_BLOCK = 1024  # bytes; so at most 256 KiB are remembered
_blocks: dict[tuple[object, ...], bytes] = {}  # header lines checked before
_LINE_BREAK = re.compile(rb"\r\n|\r|\n")  # as an event stream counts lines


def _text(data: bytes) -> str:
    """Decode so that any bytes can be had back: undecodable ones become surrogates."""
    try:
        return data.decode()  # without arguments a third faster
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


class HttpMessage:
    """A request or a response, as given to a handler.

    A view on the receive buffer: what is not asked for is not decoded. It is valid
    until the handler returns; after that ``bool(message)`` is ``False`` and everything
    in it is empty. Only the handler's thread may use it.

    Text is UTF-8; undecodable bytes become lone surrogates, so that
    ``text.encode("utf-8", "surrogateescape")`` gives the original bytes.
    """

    # An instance that no dispatcher has filled is a stale one: it finds these.
    if not TYPE_CHECKING:  # mypy wants slots to be where they are assigned to
        __slots__ = ()
    _raw: Any = None  # struct mgx_http_event, or None once stale
    _head: bytes | None = None  # from the start line to the empty line, when asked for
    _lower: bytes | None = None  # the same in lower case
    _start: tuple[str, str, str, str] | None = None  # method, uri, query, proto

    def _fetch_head(self) -> bytes:
        """Fetch the head from C, whole, to be cut here.

        The parser has seen to it that names, colons and line ends are where RFC 9112 wants
        them, and a search in bytes costs a fifth of a call into C.
        """
        raw = self._raw
        self._lower = self._start = None
        head: bytes = _unpack(raw.head, raw.head_len)
        self._head = head
        return head

    def _start_line(self) -> tuple[str, str, str, str]:
        head = self._head or self._fetch_head()
        start = self._start
        if start is None:
            start = self._start = _start_line(head)
        return start

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
        return "" if self._raw is None else self._start_line()[0]

    @property
    def uri(self) -> str:
        """Path, still percent-encoded, without query; of a response the status code.

        The absolute form ``http://host/path``, ``*`` and CONNECT's ``host:port`` are
        given as they came.
        """
        return "" if self._raw is None else self._start_line()[1]

    @property
    def query(self) -> str:
        """Text behind the first ``?``, still encoded; ``""`` when there is none."""
        return "" if self._raw is None else self._start_line()[2]

    @property
    def proto(self) -> str:
        """``"HTTP/1.1"``; of a response the reason phrase."""
        return "" if self._raw is None else self._start_line()[3]

    @property
    def body_bytes(self) -> bytes:
        """Body; in ``MG_EV_HTTP_HDRS`` what has arrived of it."""
        raw = self._raw
        if raw is None:
            return b""
        size = raw.body_len
        return _unpack(raw.body, size) if size else b""

    @property
    def body_text(self) -> str:
        """Body as text; give :attr:`body_bytes` to ``reply()`` to echo it unchanged."""
        return _text(self.body_bytes)

    def status(self) -> int | None:
        """Return the status code of a response, 0 for a request, ``None`` when stale."""
        if self._raw is None:
            return None
        first, second, _, _ = self._start_line()
        return int(second) if first.startswith("HTTP/") else 0  # no method has a slash

    def headers(self) -> list[tuple[str, str]]:
        """Return the header lines in order: names as sent, values without blanks around."""
        if self._raw is None:
            return []
        lines = (self._head or self._fetch_head()).split(b"\r\n")[1:-2]
        pairs = [line.partition(b":") for line in lines]
        return [(_text(name), _text(value.strip(b" \t"))) for name, _, value in pairs]

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
        before = _before_value(name)
        if self._raw is None:
            return default
        if before == b"\r\ncookie:":
            cookies = [value for key, value in self.headers() if key.lower() == "cookie"]
            return "; ".join(cookies) if cookies else default
        head = self._head or self._fetch_head()
        lower = self._lower
        if lower is None:
            lower = self._lower = head.lower()
        at = lower.find(before)
        if at < 0:
            return default
        at += len(before)
        return _text(head[at : head.index(b"\r\n", at)].strip(b" \t"))

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
        if self._raw is None:
            return None
        return query_value(self._start_line()[2].encode("utf-8", "surrogateescape"), name)


class ReceivedMessage(HttpMessage):
    """What the dispatcher makes: no ``__init__`` and no ``__getattr__``, which cost."""

    __slots__ = ("_head", "_lower", "_raw", "_start")


@lru_cache(maxsize=256)
def _before_value(name: str) -> bytes:
    """Return what stands in front of a header's value, in lower case."""
    wanted = as_text(name, "name").encode("utf-8", "surrogateescape").lower()
    return b"\0" if b":" in wanted else b"\r\n%b:" % wanted  # NUL is in no head


def _start_line(head: bytes) -> tuple[str, str, str, str]:
    """Return method, uri, query and proto; of a response version, code, "", reason."""
    line = head[: head.index(b"\r")].decode("utf-8", "surrogateescape")
    first, _, rest = line.partition(" ")
    second, _, third = rest.partition(" ")
    uri, _, query = second.partition("?")  # a status code has none
    return first, uri, query, third


def header_lines(headers: Headers) -> list[tuple[str, str]]:
    """Check *headers* and return of each its name in lower case and its line, CR LF included.

    Names must be tokens (:rfc:`9110`, section 5.6.2). Values are converted with
    ``str()`` and lose one CR LF at their end; other control characters are refused.

    Raises:
        TypeError: If a name is not a ``str``, or a value is ``None`` or bytes.
        ValueError: If a name or value holds a character that is not allowed there.
    """
    if isinstance(headers, (dict, Mapping)):
        headers = headers.items()  # pyright: ignore[reportAssignmentType]
    elif isinstance(headers, (str, bytes)):
        raise TypeError(f"headers must be a mapping or pairs, not {type(headers).__name__}")
    lines = []
    for name, value in headers:
        lower_name = _lower_name(name)
        # Printable: no control character is in it, which is told faster than by a pattern.
        text = value if type(value) is str and value.isprintable() else _text_value(name, value)
        lines.append((lower_name, f"{name}: {text}\r\n"))
    return lines


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Check *headers* like :func:`header_lines` and return names and values as text."""
    lines = header_lines(headers)
    return [(line[: len(name)], line[len(name) + 2 : -2]) for name, line in lines]


def header_bytes(headers: Headers) -> bytes:
    """Check *headers* like :func:`header_lines` and return them as they go on the wire."""
    return _wire(header_lines(headers))


@lru_cache(maxsize=256)  # programs send few names, and those again and again
def _lower_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Header name must be str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"Header name {name!r} is empty or contains an illegal character")
    return name.lower()


def _text_value(name: str, value: object) -> str:
    if value is None or isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"Header value of {name!r} must be text, not {type(value).__name__}")
    text = str(value)
    if text.endswith("\r\n"):
        text = text[:-2]
    if _ILLEGAL.search(text):
        raise ValueError(f"Header value {text!r} of {name!r} contains an illegal character")
    return text


def _wire(lines: list[tuple[str, str]]) -> bytes:
    return "".join([line for _, line in lines]).encode("utf-8", "surrogateescape")


def reply_headers(headers: Headers, content_type: str, *, replace: bool = False) -> bytes:
    """Return the header lines of an answer, *content_type* among them.

    It is added when *headers* have none (``""``: not even then), and wins over theirs
    when *replace* is set.
    """
    if type(headers) is not dict:
        return _reply_headers(headers, content_type, replace)
    # Most programs answer with the same few headers again and again.
    key = (content_type, replace, *headers, *headers.values())
    try:
        return _blocks[key]
    except KeyError:
        block = _reply_headers(headers, content_type, replace)
    except TypeError:  # a value that can't be hashed
        return _reply_headers(headers, content_type, replace)
    if len(block) <= _LARGEST_BLOCK and all(type(value) is str for value in headers.values()):
        if len(_blocks) >= _MOST_BLOCKS:
            _blocks.clear()
        _blocks[key] = block
    return block


def _reply_headers(headers: Headers, content_type: str, replace: bool) -> bytes:
    lines = header_lines(headers)
    if replace:
        lines = [line for line in lines if line[0] != "content-type"]
    if content_type and "content-type" not in dict(lines):
        lines.insert(0, ("content-type", f"Content-Type: {content_type}\r\n"))
    return _wire(lines)


def raw_header_lines(text: str) -> bytes:
    """Check lines that a caller wrote by hand; the last may lack its CR LF."""
    if not isinstance(text, str):
        raise TypeError(f"extra_headers must be str, not {type(text).__name__}")
    pairs = []
    for line in filter(None, text.split("\r\n")):
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"Header line {line!r} has no colon")
        pairs.append((name, value.strip(" \t")))
    return _wire(header_lines(pairs))


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
    method: str, path: str, host: str, lines: list[tuple[str, str]], body: bytes
) -> bytes:
    """Return a request as it goes on the wire, :rfc:`9112` sections 3 and 6.

    Raises:
        ValueError: If *method* is not a token; *path* has a blank, a control character,
            ``#`` or a character beyond ASCII; or *lines* announce another body.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method must be a token, not {method!r}")
    if not _TARGET.fullmatch(path):
        raise ValueError(f"path must be percent-encoded and without a fragment, not {path!r}")
    if "host" not in dict(lines):
        lines = [("host", f"Host: {host}\r\n"), *lines]
    framing = [line for line in lines if line[0] in _FRAMING]
    if framing:
        body = _framed(framing, body)
    elif body or method in _EXPECT_BODY:
        lines = [*lines, ("content-length", f"Content-Length: {len(body)}\r\n")]
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method.encode(), path.encode(), _wire(lines), body)


def _framed(framing: list[tuple[str, str]], body: bytes) -> bytes:
    """Return *body* as the caller's own framing header announces it."""
    (name, line), *others = framing
    if others:
        raise ValueError(f"headers must announce one body, not {[line for _, line in framing]}")
    value = line[len(name) + 1 :].strip()
    if name == "transfer-encoding":
        if value.lower() != "chunked":
            raise ValueError(f"Transfer-Encoding must be chunked, not {value!r}")
        return b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    if not value.isascii() or not value.isdigit() or (body and int(value) != len(body)):
        raise ValueError(f"Content-Length must be the body's, {len(body)}, not {value!r}")
    return body


def host_line(url: str, http: bool | None) -> str:
    """Return the value of ``Host`` for requests to *url*, RFC 9110 section 7.2.

    ``""`` when it will not speak HTTP, or is no URL at all: C says what is wrong with it.
    """
    if http is False or not isinstance(url, str) or "\0" in url:
        return ""
    scheme = url.partition("://")[0].lower()
    if http is None and scheme not in ("http", "https", "ws", "wss"):
        return ""
    if scheme == "unix":
        return "localhost"
    host, port = url_host(url), url_port(url)
    host = host.partition("%")[0] + "]" if "%" in host else host  # a zone is not for the wire
    usual = 443 if url_is_ssl(url) else 80
    return host if port in (0, usual) else f"{host}:{port}"
