"""URLs (:rfc:`3986`): their parts, and percent-encoding.

The functions take ``[scheme://][user[:password]@]host[:port][/path][?query]`` and
never fail on what a part holds: a part that is absent is ``""``.
"""

from __future__ import annotations

from typing import Any

from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._mongoose_cffi import ffi, lib


def url_encode(data: Data) -> str:
    """Return *data* percent-encoded, all but letters, digits and ``-._~``.

    Texts are encoded as UTF-8 first. The hex digits are lower-case.

    Raises:
        TypeError: If *data* is neither text nor bytes-like.
    """
    raw = as_bytes(data)
    room = 3 * len(raw)
    to = ffi.new("char[]", room)
    return str(ffi.buffer(to, lib.mg_url_encode(raw, len(raw), to, room)), "ascii")


def url_port(url: str) -> int:
    """Return the port: the one that is given, else the scheme's, else 0.

    http and ws have 80, https and wss 443, mqtt 1883, mqtts 8883. A port that
    is no number from 0 to 65535 gives 0.
    """
    port: int = _parse(url)[1].port
    return max(port, 0)


def url_host(url: str) -> str:
    """Return the host without port and credentials; an IPv6 address keeps its brackets."""
    return _text(_parse(url), "host").decode("utf-8", "surrogateescape")


def url_user(url: str) -> str:
    """Return the user name, ``""`` when there is none.

    Percent-decoded, so that it can be used as it is; text that holds a malformed
    percent sequence comes undecoded.
    """
    return _decoded(_text(_parse(url), "user"))


def url_pass(url: str) -> str:
    """Return the password, ``""`` when there is none; decoded like :func:`url_user`.

    It begins behind the first colon and may hold more of them.
    """
    return _decoded(_text(_parse(url), "pass"))


def url_uri(url: str) -> str:
    """Return path and query as a request needs them, ``/`` when there are none.

    Still percent-encoded; without the fragment, which is not sent.
    """
    uri = _text(_parse(url), "uri").partition(b"#")[0].decode("utf-8", "surrogateescape")
    return uri if uri.startswith("/") else "/" + uri


def url_is_ssl(url: str) -> bool:
    """Tell whether the scheme, in any case, asks for TLS: https, wss, mqtts, ssl, tls, tcps."""
    return bool(_parse(url)[1].is_tls)


def _parse(url: str) -> tuple[Any, Any]:
    """Return the text and its parts; the parts aim into the text, so keep both."""
    text = ffi.from_buffer(as_text(url, "url").encode("utf-8", "surrogateescape"))
    parts = ffi.new("struct mgx_url *")
    lib.mgx_url_parse(text, len(text), parts)
    return text, parts


def _text(parsed: tuple[Any, Any], name: str) -> bytes:
    view = getattr(parsed[1], name)
    return bytes(ffi.buffer(view.buf, view.len))


def _decoded(raw: bytes) -> str:
    to = ffi.new("char[]", len(raw))
    n = lib.mg_url_decode(raw, len(raw), to, len(raw), False)
    return (raw if n < 0 else bytes(ffi.buffer(to, n))).decode("utf-8", "surrogateescape")
