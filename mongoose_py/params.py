"""Parameters in text: ``a=1&b=2`` of queries and forms, ``; name="x"`` of headers.

Both kinds are looked up by name without regard to the case of ASCII letters, and
the first of that name counts.
"""

from __future__ import annotations

import re
from binascii import a2b_hex
from collections.abc import Iterator
from functools import lru_cache
from typing import Callable, Optional

from mongoose_py._args import Data, as_bytes, as_text

_Search = Callable[[bytes], Optional["re.Match[bytes]"]]


def http_var(buf: Data, name: str) -> str | None:
    """Return the decoded value of *name* in ``a=1&b=2`` text, or ``None``.

    The text is form data: ``+`` is a blank, ``%XX`` a byte; bytes that are not
    UTF-8 become lone surrogates (:pep:`383`). A name without ``=`` has the value
    ``""``. Names are compared decoded; the first one counts.

    Args:
        buf: A query string or the body of a form.
        name: The decoded name, in any case.

    Raises:
        ValueError: If the value holds a malformed percent sequence, or *name*
            a NUL character.
        TypeError: If *buf* is neither text nor bytes-like, or *name* no ``str``.
    """
    return query_value(as_bytes(buf, "buf"), as_text(name, "name"))


def query_value(query: bytes, name: str) -> str | None:
    """Return the decoded value of *name* in *query*, or ``None``: see :func:`http_var`."""
    found = _searcher(name)(b"&" + query)
    if found is None:
        return None
    value = found.group(1)
    if not value:
        return ""
    if 37 in value or 43 in value:  # "%", "+"; by number it costs a sixth
        value = _form_decoded(value, name)
    return value.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)
def _searcher(name: str) -> _Search:
    """Return what finds ``&name=value`` however the name is written.

    A pattern that allows each byte plain or escaped finds the pair in one
    pass, in half the time of a loop that splits and decodes.
    """
    wanted = as_text(name, "name").encode("utf-8", "surrogateescape")
    written = b"".join(_byte_as_written(byte) for byte in wanted) or b"(?==)"
    return re.compile(b"&" + written + b"(?:=([^&]*))?(?![^&])").search


def _byte_as_written(byte: int) -> bytes:
    """Return a pattern for the forms that *byte* may take in a name, in either case."""
    char = bytes((byte,))
    forms = [_any_case(b"%%%02x" % code) for code in {*char.lower(), *char.upper()}]
    if char == b" ":
        forms.append(rb"\+")
    if char not in b"&=+%":  # these mean something else when they stand for themselves
        forms.append(_any_case(char))
    return b"(?:" + b"|".join(forms) + b")"


def _any_case(text: bytes) -> bytes:
    """Return a pattern for *text*; plain classes compile faster than a flag in a group."""
    return b"".join(
        b"[%c%c]" % (code, code ^ 32) if chr(code).isalpha() else re.escape(bytes((code,)))
        for code in text
    )


def _form_decoded(value: bytes, name: str) -> bytes:
    first, *rest = value.replace(b"+", b" ").split(b"%")
    decoded = [first]
    for piece in rest:
        try:
            decoded += a2b_hex(piece[:2] or b"?"), piece[2:]  # two digits, or an error
        except ValueError:
            sequence = "%" + piece[:2].decode("ascii", "backslashreplace")
            raise ValueError(
                f"malformed percent sequence {sequence!r} in the value of {name!r}"
            ) from None
    return b"".join(decoded)


# A word, perhaps with "=" and a value behind it: quoted, quoted without an end, or
# bare; or a quoted text that belongs to no name. Every branch takes what it has
# looked at, so the search is linear.
_PARAMETER = re.compile(
    r'([^=;,\s"]+)(?:[ \t]*=[ \t]*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|(".*|[^;,\s]*)))?'
    r'|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)',
    re.DOTALL,
)


def parameter(value: str, name: str) -> str | None:
    """Return the parameter *name* of a header's value, or ``None``.

    :rfc:`9110`, section 5.6.6, and looser: parameters may be parted by semicolons,
    commas or blanks, and blanks may stand around ``=``. A quoted value comes
    without its quotes and backslashes; one whose closing quote is missing comes as it
    is, opening quote included.

    Args:
        value: Such as ``text/html; charset="utf-8"``, or cookies.
        name: The whole name, in any case.

    Raises:
        ValueError: If *name* holds a NUL character.
    """
    wanted = as_text(name, "name").lower()
    for found, text, escaped in parameters(value):
        if found == wanted:
            return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) if escaped else text
    return None


def parameters(value: str) -> Iterator[tuple[str, str, bool]]:
    """Yield each parameter of a header's value, as :func:`parameter` reads it.

    That is the name in lower case, the value, and whether backslashes in it are
    escapes, which are left in: it was quoted and has some.
    """
    for found in _PARAMETER.finditer(value):
        word, quoted, bare = found.groups()
        if quoted is not None:
            yield word.lower(), quoted, "\\" in quoted
        elif bare is not None:
            yield word.lower(), bare, False
