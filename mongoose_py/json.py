"""Single values out of a JSON text (:rfc:`8259`), without building the rest.

A path is ``$``, the whole text, followed by ``.key`` and ``[index]`` steps:
``$.users[0].name``. A key is compared as it stands in the text and unescaped; the
first of equal keys counts; a key that holds dots can be reached too. A text is
checked strictly as far as it is read, which is up to the end of the value, and
may be 30 brackets deep. Whatever is malformed, the text or the path, has no values.

Texts may be given as ``str`` or bytes-like; anything else is a ``TypeError``. A path that
holds a NUL character is a ``ValueError``.
"""

from __future__ import annotations

from typing import TypeVar, overload

from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._mongoose_cffi import ffi, lib

T = TypeVar("T")

_MAX_DIGITS = 4300  # as many as int() takes; the time grows with their square


def json_get(data: Data, path: str) -> str | None:
    """Return the JSON text of the value at *path* as it stands, or ``None``."""
    token = _token(data, path)
    return None if token is None else token.decode()


@overload
def json_get_num(data: Data, path: str) -> float | None: ...
@overload
def json_get_num(data: Data, path: str, default: T) -> float | T: ...
def json_get_num(data: Data, path: str, default: object = None) -> object:
    """Return the number at *path* as the nearest float, or *default* if there is none.

    Beyond the range of floats that is infinity.
    """
    token = _token(data, path)
    return float(token) if token is not None and _is_number(token) else default


@overload
def json_get_bool(data: Data, path: str) -> bool | None: ...
@overload
def json_get_bool(data: Data, path: str, default: T) -> bool | T: ...
def json_get_bool(data: Data, path: str, default: object = None) -> object:
    """Return the ``true`` or ``false`` at *path*, or *default* for anything else."""
    token = _token(data, path)
    if token == b"true":
        return True
    return False if token == b"false" else default


@overload
def json_get_long(data: Data, path: str) -> int: ...
@overload
def json_get_long(data: Data, path: str, default: T) -> int | T: ...
def json_get_long(data: Data, path: str, default: object = 0) -> object:
    """Return the number at *path* as an int, or *default* if there is none.

    Exact, whatever its size, and cut towards zero: ``-2.9`` gives -2, ``1.5e3``
    gives 1500. Numbers of more than 4300 digits count as missing.
    """
    token = _token(data, path)
    if token is None or not _is_number(token):
        return default
    number = _truncated(token)
    return default if number is None else number


def json_get_str(data: Data, path: str) -> str | None:
    r"""Return the string at *path* unescaped, or ``None`` if there is no string.

    A pair of ``\u`` surrogates is one character; a lone one becomes U+FFFD.
    """
    token = _token(data, path)
    if token is None or token[0] != 34:  # a quote
        return None
    if 92 not in token:  # no backslash, nothing to unescape
        return token[1:-1].decode()
    to = ffi.new("char[]", len(token))
    return str(ffi.buffer(to, lib.mg_json_unescape(token, len(token), to, len(token))), "utf-8")


def _token(data: Data, path: str) -> bytes | None:
    """Return the value's text. It is valid UTF-8: the search has checked it."""
    text = as_bytes(data)
    steps = as_text(path, "path").encode("utf-8", "surrogateescape")
    length = ffi.new("size_t *")
    at = lib.mg_json_get(text, len(text), steps, len(steps), length)
    return None if at < 0 else text[at : at + length[0]]


def _is_number(token: bytes) -> bool:
    return token[0] in b"-0123456789"


def _truncated(token: bytes) -> int | None:
    """Return the integer part of a JSON number exactly; ``None``: too many digits."""
    mantissa, _, exponent = token.lower().partition(b"e")
    whole, _, fraction = mantissa.lstrip(b"-").partition(b".")
    digits = (whole + fraction).lstrip(b"0")
    point = len(digits) - len(fraction) + _exponent(exponent)  # the number is 0.digits * 10**point
    if not digits or point <= 0:
        return 0
    if point > _MAX_DIGITS:
        return None
    number = int(digits[:point].ljust(point, b"0"))
    return -number if token.startswith(b"-") else number


def _exponent(text: bytes) -> int:
    """Return what stands behind the ``e``; 18 digits are more than any text has room for."""
    size = int(text.lstrip(b"+-0")[:19] or b"0")
    return -size if text.startswith(b"-") else size
