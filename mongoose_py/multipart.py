"""Bodies of several parts: ``multipart/form-data`` (:rfc:`7578`)."""

from __future__ import annotations

import re
from typing import TypedDict

from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.params import parameters


class MultipartPart(TypedDict):
    """One part of a body."""

    name: str
    """Of the form's field; ``""`` when there is none."""
    filename: str
    """``""`` when there is none, or when no file was chosen; :attr:`headers` tells which."""
    body: bytes
    """The content, byte for byte."""
    headers: list[tuple[str, str]]
    """Names as sent and values, in order; undecodable bytes are lone surrogates."""


def http_parse_multipart(
    body: Data, offset: int = 0, *, boundary: Data | None = None
) -> tuple[int, MultipartPart | None]:
    """Return the part at *offset* of *body* and the offset to go on from.

    ``(0, None)`` says that there is no further complete part: what comes without the
    delimiter behind it was cut off. Parts whose header lines are malformed
    are passed over. Loop::

        offset, part = http_parse_multipart(body)
        while part is not None:
            ...
            offset, part = http_parse_multipart(body, offset)

    Names and file names are given as the client wrote them: a file name may hold
    slashes or be ``..``, and is nothing to open a file by. ``filename*`` (:rfc:`8187`)
    wins over ``filename``.

    Args:
        body: The whole body.
        offset: 0, then what the last call returned.
        boundary: As the request's Content-Type has it. By default the body's first
            line tells it.

    Raises:
        OverflowError: If *offset* is negative.
        TypeError: If *body* or *boundary* is neither text nor bytes-like, or
            *offset* no int.
    """
    text = ffi.from_buffer(as_bytes(body, "body"))
    found = ffi.new("struct mg_http_part *")
    if boundary is None:
        after = lib.mg_http_next_multipart(text, len(text), offset, ffi.NULL, 0, found)
    else:
        limit = as_bytes(boundary, "boundary")
        after = lib.mg_http_next_multipart(text, len(text), offset, limit, len(limit), found)
    if after == 0:
        return 0, None
    headers = _headers(bytes(ffi.buffer(found.head.buf, found.head.len)))
    disposition = next((v for n, v in headers if n.lower() == "content-disposition"), "")
    given = _parameters(disposition)
    filename = _ext_value(given.get("filename*", ""))
    return after, {
        "name": given.get("name", ""),
        "filename": given.get("filename", "") if filename is None else filename,
        "body": bytes(ffi.buffer(found.body.buf, found.body.len)),
        "headers": headers,
    }


def _headers(head: bytes) -> list[tuple[str, str]]:
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", head).decode("utf-8", "surrogateescape")
    lines = (line.partition(":") for line in unfolded.split("\r\n")[:-1])
    return [(name, value.strip(" \t")) for name, _, value in lines]


def _parameters(value: str) -> dict[str, str]:
    r"""Return the first parameter of each name, by its name in lower case.

    Only ``\"`` and ``\\`` are escapes here. Browsers send other backslashes as
    they are, as in ``C:\photo.jpg``, where :rfc:`9110` would drop them.
    """
    first: dict[str, str] = {}
    for name, text, escaped in parameters(value):
        first.setdefault(name, re.sub(r'\\(["\\])', r"\1", text) if escaped else text)
    return first


def _ext_value(raw: str) -> str | None:
    """Decode ``charset'language'percent-encoded``, :rfc:`8187`; ``None``: malformed."""
    charset, _, rest = raw.partition("'")
    _, tick, coded = rest.partition("'")
    if not tick or charset.lower() not in ("utf-8", "iso-8859-1"):
        return None
    text = coded.encode("utf-8", "surrogateescape")
    to = ffi.new("char[]", len(text))
    n = lib.mg_url_decode(text, len(text), to, len(text), False)
    try:
        return None if n < 0 else str(ffi.buffer(to, n), charset)
    except UnicodeDecodeError:
        return None
