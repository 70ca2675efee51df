"""Base64 with the standard alphabet and padding, :rfc:`4648`, section 4.

Decoding is strict, so that no two texts mean the same bytes, padding aside.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from mongoose_py._args import Data, as_bytes

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def base64_encode(data: Data) -> str:
    """Return *data* in Base64, with padding, on one line."""
    return b2a_base64(as_bytes(data), newline=False).decode("ascii")


def base64_decode(data: Data) -> bytes:
    """Return the bytes that the Base64 text *data* stands for.

    Padding may be missing as a whole. Refused are other characters, line breaks and
    blanks included (section 3.3), padding that is not complete or not at the end, and
    bits behind the last byte that are not zero (section 3.5).

    Raises:
        ValueError: If *data* is malformed.
    """
    text = as_bytes(data)
    digits = text.rstrip(b"=")
    strangers = digits.translate(None, _ALPHABET)
    if strangers:
        at = digits.index(strangers[:1])
        raise ValueError(f"data is not Base64: {strangers[:1]!r} at position {at}")
    missing = -len(digits) % 4
    if missing == 3:
        raise ValueError(f"data is not Base64: {len(digits)} digits are one too many or too few")
    padding = len(text) - len(digits)
    if padding not in (0, missing):
        raise ValueError(f"data is not Base64: {padding} '=' at the end, not {missing}")
    decoded = a2b_base64(digits + b"=" * missing)
    rest = decoded[len(decoded) - len(decoded) % 3 :]
    if missing and not b2a_base64(rest).startswith(digits[-(4 - missing) :]):
        last = digits[-1:].decode("ascii")
        raise ValueError(f"data is not Base64: the last digit, {last!r}, has bits too many")
    return decoded
