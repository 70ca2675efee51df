"""Arguments: what may stand where bytes or a text are asked for.

``bytes(5)`` is five zero bytes and ``bytes([1, 2])`` is two, so nothing is ever
passed to ``bytes()`` before it is known to be bytes-like.
"""

from __future__ import annotations

from typing import Union

Data = Union[str, bytes, bytearray, memoryview]
"""A text, taken as UTF-8, or anything that offers its bytes by the buffer protocol."""


def as_bytes(data: Data, name: str = "data") -> bytes:
    """Return *data* as bytes; bytes themselves are not copied.

    A lone surrogate in a text that stands for an undecodable byte (:pep:`383`)
    becomes that byte again, so what was received can be sent back unharmed.

    Args:
        data: A text or a bytes-like object.
        name: What to call it in the error.

    Raises:
        TypeError: If *data* is anything else.
        UnicodeEncodeError: If the text holds any other surrogate.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8", "surrogateescape")
    try:
        return memoryview(data).tobytes()
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"{name} must be str or a bytes-like object, not {kind}") from None


def as_text(value: str, name: str) -> str:
    """Return *value* if it is a text without a NUL character.

    Args:
        value: Text that C will see, or that names something on the wire.
        name: What to call it in the error.

    Raises:
        TypeError: If *value* is not a ``str``.
        ValueError: If it holds a NUL character.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{name} must not contain a NUL character: {value!r}")
    return value
