"""Exceptions, and the one place that makes them from the codes of the C core.

::

    RuntimeError
      Error                  not now, not here, not any more
        ConnectionClosed     the connection is gone
        AddressError         the URL is malformed (a ValueError too)
        SystemCallError      the system said no   (an OSError too, with errno)

A wrong argument is a plain ``TypeError``, ``ValueError`` or ``OverflowError``.
"""

from __future__ import annotations

import os
from typing import Any

from mongoose_py._mongoose_cffi import ffi, lib


class Error(RuntimeError):
    """Root of the exceptions of this package."""


class ConnectionClosed(Error):
    """The connection is gone; nothing can be sent on it any more."""


class AddressError(Error, ValueError):
    """A URL cannot be understood; nothing was asked of the system."""


class SystemCallError(OSError, Error):
    """The operating system refused; ``errno`` says why."""

    def __str__(self) -> str:
        """Return what was tried and why it failed, without the number."""
        return str(self.strerror)


_KINDS: dict[int, tuple[type[Exception], str]] = {
    lib.MGX_ENOMEM: (MemoryError, "out of memory"),
    lib.MGX_EBUSY: (Error, "another poll() of this manager is active"),
    lib.MGX_EINVAL: (ValueError, "an argument is out of its range"),
    lib.MGX_EADDR: (AddressError, "malformed URL"),
    lib.MGX_ELIMIT: (Error, "a limit of the manager stands against it"),
    lib.MGX_ESTATE: (Error, "not possible at this moment"),
    lib.MGX_EANSWERED: (Error, "no request awaits an answer, or it was answered already"),
    lib.MGX_ELENGTH: (Error, "more body than the Content-Length that was announced"),
    lib.MGX_EKIND: (Error, "not possible on this kind of connection"),
    lib.MGX_EPEER: (Error, "the peer has announced that it does not take this"),
    lib.MGX_ENOTLS: (Error, "there is no OpenSSL"),
}


def failure(code: int, doing: str, cause: str = "", errno: int = 0) -> Exception:
    """Return the exception for a negative result of the C core.

    Args:
        code: One of the ``MGX_E...`` codes.
        doing: What failed, with the value it was tried with.
        cause: Why, where the caller knows better than the code.
        errno: The system's reason, for ``MGX_ESYSTEM``.
    """
    if code == lib.MGX_ECLOSED:
        return ConnectionClosed("Connection has been closed")
    if code == lib.MGX_ESYSTEM:
        reason = os.strerror(errno)
        texts = [doing] + [cause] * bool(cause) + [reason] * (reason not in cause)
        return SystemCallError(errno, ": ".join(texts))
    kind, text = _KINDS.get(code, (Error, f"error {code}"))
    return kind(f"{doing}: {cause or text}")


def error_text(err: Any) -> str:
    """Return what a ``struct mgx_error *`` says."""
    text: str = ffi.string(err.text).decode("utf-8", "replace")
    return text
