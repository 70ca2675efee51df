"""Random bytes and characters from the operating system's generator: fit for secrets."""

from __future__ import annotations

import os
from operator import index

_CHARACTERS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FAIR = 256 - 256 % len(_CHARACTERS)  # bytes below it give every character equally often
_TO_CHARACTER = bytes([_CHARACTERS[byte % len(_CHARACTERS)] for byte in range(256)])
_UNFAIR = bytes(range(_FAIR, 256))


def random_bytes(n: int) -> bytes:
    """Return *n* random bytes.

    Raises:
        OverflowError: If *n* is negative.
        OSError: If the system has none to give; there is no weaker source.
    """
    return os.urandom(_checked(n))


def random_str(n: int) -> str:
    """Return *n* random characters out of ``0-9a-zA-Z``, 5.95 bits each.

    Raises:
        OverflowError: If *n* is negative.
        OSError: If the system has no random bytes to give.
    """
    missing = _checked(n)
    text = b""
    while missing:
        more = os.urandom(missing + missing // 16 + 8)
        text += more.translate(_TO_CHARACTER, _UNFAIR)[:missing]
        missing = n - len(text)
    return text.decode("ascii")


def _checked(n: int) -> int:
    if index(n) < 0:
        raise OverflowError(f"n must be 0 or more, not {n}")
    return index(n)
