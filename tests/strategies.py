"""What the property tests draw from, and the plain models they compare with.

The strategies make bytes as a peer would send them: requests, responses, ways to cut
a stream into pieces, ways to spoil one. The models read such bytes the way one would
on paper, a head at a time and a line at a time, with no thought for speed or for how
the bytes arrived; :func:`responses_in` accepts nothing that is not exactly right.
"""

from __future__ import annotations

import re
from functools import cache  # making a strategy costs more than drawing from it
from typing import NamedTuple

from hypothesis import strategies as st

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
PATH = "".join(c for c in VISIBLE if c not in "#?")
QUERY = "".join(c for c in VISIBLE if c != "#")
FIELD_BYTES = [0x09, *range(0x20, 0x7F), *range(0x80, 0x100)]
FRAMING_NAMES = {
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "expect",
}

Pair = tuple[str, str]


class Seen(NamedTuple):
    """A request as a handler sees it."""

    method: str
    uri: str
    query: str
    headers: list[Pair]
    body: bytes


class Response(NamedTuple):
    """A response as a client sees it."""

    status: int
    reason: str
    headers: list[Pair]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


# -- cutting and spoiling ----------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """Return *stream* in pieces, as a network may deliver it."""
    if len(stream) <= 1500 and draw(st.integers(0, 4)) == 0:
        return [stream[i : i + 1] for i in range(len(stream))]
    places = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    edges = [0, *sorted(places), len(stream)]
    return [stream[a:b] for a, b in zip(edges, edges[1:]) if a < b]


@st.composite
def spoiled(draw: st.DrawFn, stream: bytes) -> bytes:
    """Return *stream* with some bytes changed, taken out, doubled or put in."""
    data = bytearray(stream)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "cut", "double", "put"]))
        if kind == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 20))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 20))]
        else:
            data[at:at] = draw(
                st.binary(max_size=4)
                | st.sampled_from(
                    [b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b"0", b"\0"]
                )
            )
    return bytes(data)


# -- parts of messages ---------------------------------------------------------------


@cache
def tokens(max_size: int = 12) -> st.SearchStrategy[str]:
    return st.text(TOKEN, min_size=1, max_size=max_size)


@cache
def field_names() -> st.SearchStrategy[str]:
    """Names that decide nothing about framing."""
    return tokens().filter(lambda name: name.lower() not in FRAMING_NAMES)


@cache
def field_values() -> st.SearchStrategy[bytes]:
    """Values as they come over the wire, blanks around them included."""
    return st.lists(st.sampled_from(FIELD_BYTES), max_size=20).map(bytes)


@cache
def fields() -> st.SearchStrategy[list[tuple[str, bytes]]]:
    return st.lists(st.tuples(field_names(), field_values()), max_size=5)


@cache
def bodies() -> st.SearchStrategy[bytes]:
    """Mostly small; some around the sizes where buffers end."""
    large = st.builds(
        lambda size, byte: bytes([byte]) * size,
        st.sampled_from([4095, 16383, 16384, 16385, 40000]),
        st.integers(0, 255),
    )
    return st.binary(max_size=60) | st.binary(max_size=60) | st.binary(max_size=60) | large


@cache
def plain_headers() -> st.SearchStrategy[list[Pair]]:
    """Header pairs that a caller may hand over."""
    values = st.text(VISIBLE + " \téß水", max_size=20).map(lambda text: text.strip(" \t"))
    return st.lists(st.tuples(field_names(), values), max_size=5)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Return *body* in the chunked coding, extensions and trailers included."""
    ends = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
    edges = [0, *ends, len(body)]
    wire = b""
    for a, b in zip(edges, edges[1:]):
        if a < b:
            size = draw(st.sampled_from(["%x", "%X", "%04x"])) % (b - a)
            wire += size.encode() + draw(extensions()) + b"\r\n" + body[a:b] + b"\r\n"
    wire += draw(st.sampled_from([b"0", b"000"])) + draw(extensions()) + b"\r\n"
    for name, value in draw(st.lists(st.tuples(tokens(), field_values()), max_size=2)):
        wire += name.encode() + b":" + value + b"\r\n"
    return wire + b"\r\n"


@cache
def extensions() -> st.SearchStrategy[bytes]:
    return st.sampled_from([b"", b"", b";a", b";a=b", b';q="x y;z"', b" ; n=v"])


# -- requests ---------------------------------------------------------------------------


@cache
def methods() -> st.SearchStrategy[str]:
    return st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]) | tokens(8).filter(
        lambda name: name not in ("CONNECT", "HEAD", "OPTIONS")
    )


@cache
def targets() -> st.SearchStrategy[str]:
    path = st.text(PATH, max_size=20).map(lambda text: "/" + text)
    query = st.none() | st.text(QUERY, max_size=20)
    origin = st.builds(lambda p, q: p if q is None else f"{p}?{q}", path, query)
    return origin | origin.map(lambda text: f"http://example.org:80{text}")


@cache
@st.composite
def requests(draw: st.DrawFn, ends: bool = False) -> bytes:
    """Return one valid request; *ends*: it is the last of its connection."""
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    target = draw(targets())
    lines = [name.encode() + b":" + value for name, value in draw(fields())]
    if version == "HTTP/1.1" or draw(st.booleans()):
        lines.append(draw(st.sampled_from([b"Host: example.org", b"host:", b"HOST:\t[::1]:80 "])))
    if (version == "HTTP/1.0") != ends:
        token = "close" if ends else "keep-alive"
        form = draw(st.sampled_from(["Connection: {}", "connection:{}", "Connection: x, {} ,y"]))
        lines.append(form.format(draw(st.sampled_from([token, token.upper()]))).encode())
    framing, wire_body = draw(framed_bodies(version))
    if wire_body and version == "HTTP/1.1" and draw(st.integers(0, 3)) == 0:
        framing.append(b"Expect: 100-continue")
    lines = draw(st.permutations(lines + framing))
    head = f"{draw(methods())} {target} {version}\r\n".encode()
    empty_line = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))  # RFC 9112, section 2.2
    return empty_line + head + b"".join([line + b"\r\n" for line in lines]) + b"\r\n" + wire_body


@cache
@st.composite
def framed_bodies(draw: st.DrawFn, version: str = "HTTP/1.1") -> tuple[list[bytes], bytes]:
    """Return header lines that announce a body, and the body as they do."""
    kinds = ["none", "length", "chunked"] if version == "HTTP/1.1" else ["none", "length"]
    kind = draw(st.sampled_from(kinds))
    if kind == "none":
        return [], b""
    body = draw(bodies())
    if kind == "length":
        form = draw(
            st.sampled_from(["Content-Length: {}", "content-length:{} ", "Content-Length: 0{}"])
        )
        return [form.format(len(body)).encode()], body
    return [
        draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED"]))
    ], draw(chunked(body))


@cache
@st.composite
def pipelines(draw: st.DrawFn) -> bytes:
    """Return requests behind each other; an early one may end the connection."""
    stream = b"".join(draw(st.lists(requests(), min_size=1, max_size=4)))
    if draw(st.integers(0, 2)) == 0:
        stream += draw(requests(ends=True))
        stream += b"".join(draw(st.lists(requests(), max_size=1)))
    return stream


@cache
def malformed() -> st.SearchStrategy[bytes]:
    """Bytes that no further byte could make a request."""
    return st.sampled_from(
        [
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nb: \0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
    ) | st.tuples(
        st.sampled_from([b"\0", b"\n", b" ", b"\x16\x03\x01", b"\x80", b"{", b"/", b":"]),
        st.binary(max_size=40),
    ).map(b"".join)


# -- responses ------------------------------------------------------------------------------


class Exchange(NamedTuple):
    """A request's method, the bytes that answer it, and what the answer means."""

    method: str
    wire: bytes
    response: Response


@cache
@st.composite
def exchanges(draw: st.DrawFn, to_end: bool = False) -> Exchange:
    """Return a request's method and a valid answer to it; *to_end*: without a length."""
    method = draw(st.sampled_from(["GET", "GET", "POST"] if to_end else ["GET", "HEAD", "POST"]))
    bodiless = [] if to_end else [204, 304]
    status = draw(st.sampled_from([200, 200, 200, 404, 500, 299, *bodiless]))
    reason = draw(st.text(VISIBLE + " \t", max_size=12))
    lines = draw(fields())
    pairs = [
        (name, value.strip(b" \t").decode("utf-8", "surrogateescape")) for name, value in lines
    ]
    wire_lines = [name.encode() + b":" + value for name, value in lines]
    body = draw(bodies())
    wire_body, framing = body, b""
    has_body = method != "HEAD" and status not in (204, 304)
    if not to_end and (has_body or (status != 204 and draw(st.booleans()))):
        if draw(st.booleans()):
            framing, wire_body = b"Transfer-Encoding: chunked", draw(chunked(body))
        else:
            framing = b"Content-Length: %d" % len(body)
    if framing:
        wire_lines.append(framing)
        name, _, value = framing.decode().partition(": ")
        pairs.append((name, value))
    interim = draw(st.sampled_from([b""] * 3 + [b"HTTP/1.1 100 Continue\r\n\r\n"]))
    interim += draw(st.sampled_from([b""] * 3 + [b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"]))
    head = b"HTTP/1.1 %d %s\r\n" % (status, reason.encode())
    wire = interim + head + b"".join([line + b"\r\n" for line in wire_lines]) + b"\r\n"
    meaning = Response(status, reason, pairs, body if has_body else b"")
    return Exchange(method, wire + (wire_body if has_body else b""), meaning)


# -- the models --------------------------------------------------------------------------------


def requests_in(stream: bytes) -> list[Seen]:
    """Read valid requests up to the one that ends the connection."""
    found: list[Seen] = []
    while stream:
        if stream.startswith(b"\r\n"):
            stream = stream[2:]
        head, _, stream = stream.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, target, version = first.decode().split(" ")
        path, _, query = target.partition("?")
        headers = []
        for line in lines:
            name, _, value = line.partition(b":")
            headers.append((name.decode(), value.strip(b" \t").decode("utf-8", "surrogateescape")))
        facts = {name.lower(): value.lower() for name, value in headers}
        if facts.get("transfer-encoding") == "chunked":
            body, stream = unchunked(stream)
        else:
            size = int(facts.get("content-length", 0))
            body, stream = stream[:size], stream[size:]
        found.append(Seen(method, path, query, headers, body))
        wishes = [wish.strip() for wish in facts.get("connection", "").split(",")]
        if "close" in wishes or (version == "HTTP/1.0" and "keep-alive" not in wishes):
            break
    return found


def unchunked(stream: bytes) -> tuple[bytes, bytes]:
    """Return a decoded body and what stands behind it."""
    body = b""
    while True:
        line, _, stream = stream.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        assert stream[size : size + 2] == b"\r\n", stream
        body, stream = body + stream[:size], stream[size + 2 :]
    while True:
        line, end, stream = stream.partition(b"\r\n")
        assert end, "the trailers end with an empty line"
        if not line:
            return body, stream


_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t -~]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)"
)
_LENGTH = re.compile(r"0|[1-9][0-9]*")


def responses_in(stream: bytes, asked: list[str]) -> list[Response]:
    """Read what a server sent up to the end of its stream, and insist on RFC 9112.

    Args:
        stream: All of it.
        asked: The methods of the requests that are answered, in order; an answer beyond
            them is taken for one to a GET. Interim answers are among the result.
    """
    found: list[Response] = []
    methods_left = list(asked)
    while stream:
        method = methods_left[0] if methods_left else "GET"
        response, stream, is_last = _response_in(stream, method)
        found.append(response)
        if response.status >= 200:
            del methods_left[:1]
        assert not (is_last and stream), f"bytes behind the last answer: {stream!r}"
    return found


def _response_in(stream: bytes, method: str) -> tuple[Response, bytes, bool]:
    head, end, rest = stream.partition(b"\r\n\r\n")
    assert end, f"no end of the head in {stream!r}"
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    assert status_line, first
    status = int(status_line[1])
    headers = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        assert field, line
        headers.append((field[1].decode(), field[2].decode("utf-8", "surrogateescape")))
    response = Response(status, status_line[2].decode(), headers, b"")
    lengths, codings = response.values("content-length"), response.values("transfer-encoding")
    closes = "close" in response.values("connection")
    assert len(lengths) + len(codings) <= 1, f"framed twice: {headers}"
    assert all(map(_LENGTH.fullmatch, lengths)), headers
    if status < 200 or status == 204:
        assert not lengths + codings, f"{status} has no body to frame"
    if method == "HEAD" or status < 200 or status in (204, 304):
        body = b""
    elif codings:
        assert codings == ["chunked"], headers
        body, rest = unchunked(rest)
    elif lengths:
        size = int(lengths[0])
        assert len(rest) >= size, f"the body is cut off: {len(rest)} of {size} bytes"
        body, rest = rest[:size], rest[size:]
    else:
        assert closes, f"the body ends with the connection, but nothing says so: {headers}"
        body, rest = rest, b""
    return response._replace(body=body), rest, closes
