"""Digests and checksums, by the standard library.

Data may be ``str``, taken as UTF-8, or bytes-like; anything else is a ``TypeError``.
``hashlib`` and ``hmac`` are loaded by the first call that needs them.
"""

from __future__ import annotations

from operator import index

from mongoose_py._args import Data, as_bytes

_LARGEST = 2**32 - 1


def md5(data: Data) -> bytes:
    """Return the 16 bytes of the MD5 digest (:rfc:`1321`): for old formats, not for security."""
    import hashlib

    return hashlib.md5(as_bytes(data), usedforsecurity=False).digest()


def sha1(data: Data) -> bytes:
    """Return the 20 bytes of the SHA-1 digest (:rfc:`3174`): for old formats, not for security."""
    import hashlib

    return hashlib.sha1(as_bytes(data), usedforsecurity=False).digest()


def sha256(data: Data) -> bytes:
    """Return the 32 bytes of the SHA-256 digest (:rfc:`6234`)."""
    import hashlib

    return hashlib.sha256(as_bytes(data)).digest()


def hmac_sha256(key: Data, data: Data) -> bytes:
    """Return the 32 bytes of the HMAC of *data* with SHA-256 (:rfc:`2104`).

    To compare it with what a stranger sent, use ``hmac.compare_digest()``.
    """
    import hmac

    return hmac.digest(as_bytes(key, "key"), as_bytes(data), "sha256")


def crc32(data: Data, initial: int = 0) -> int:
    """Return the CRC-32 of *data*, 0 to 2**32 - 1, as of Ethernet, gzip and PNG.

    Args:
        data: What to check.
        initial: The result for what stands in front of *data*.

    Raises:
        OverflowError: If *initial* has more than 32 bits or is negative.
    """
    from binascii import crc32 as update

    if not 0 <= index(initial) <= _LARGEST:
        raise OverflowError(f"initial must be 0..{_LARGEST}, not {initial}")
    return update(as_bytes(data), initial)
