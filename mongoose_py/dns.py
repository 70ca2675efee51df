"""Host names: how a manager looks them up, and one look-up. The work is done in C."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, Callable, Union

from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import Error
from mongoose_py.handler import Handler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.connection import Connection

    Addresses = list[tuple[str, int, bool]]
    Path = Union[str, "os.PathLike[str]"]

_MAX_SERVERS = 3
_MAX_DOMAINS = 6
_MAX_NDOTS = 15
_MAX_ATTEMPTS = 100
_MAX_SECONDS = 3600.0


class Resolver:
    """How host names are looked up, given as ``Manager(resolver=Resolver(...))``.

    The defaults are those of the system: the servers, search list and options of
    ``/etc/resolv.conf``, after a look into ``/etc/hosts``; both files are read again when
    they have changed. ``localhost`` and names below it are this machine and are never
    asked for (:rfc:`6761`); neither are those in ``.invalid`` and ``.onion``. Names are
    ASCII: labels of letters, digits, ``-`` and ``_``. How long a look-up may take in all,
    how many run at a time and how many answers are kept stands in
    :class:`~mongoose_py.Limits`.

    Args:
        servers: Up to three, asked in this order: ``"10.0.0.1"``, ``"10.0.0.1:5353"``,
            ``"[::1]:53"``, ``"tcp://10.0.0.1"``; addresses only. ``None``: those of
            *config*; when it names none, ``127.0.0.1``.
        search: Up to six domains that are put behind short names. ``None``: those of
            *config*.
        ndots: How many dots a name needs to be tried as it is before the search list, 0
            to 15. A name with a dot at its end is never put before a domain. ``None``: as
            *config* says, else 1.
        timeout: Seconds before a question goes to the next server, or again to the only
            one, up to an hour. ``None``: as *config* says, else 1.0.
        attempts: How often each server is asked, 1 to 100. ``None``: as *config* says,
            else 3.
        rotate: Whether to begin with another server each time. ``None``: as *config* says.
        config: Path of a ``resolv.conf``; ``None``: no file is read.
        hosts: Path of a ``hosts`` file; ``None``: no file is read.
        family_delay: Seconds to wait for the IPv6 addresses of a name when its IPv4
            addresses have come, or the reverse; :rfc:`8305`, section 3.
        attempt_delay: Seconds after which ``connect()`` tries the next address of a name
            beside the last; :rfc:`8305`, section 5.

    Raises:
        TypeError: If a value is of the wrong type.
        ValueError: If a value is out of range, a server no address, a domain no name.
    """

    __slots__ = (
        "attempt_delay",
        "attempts",
        "config",
        "family_delay",
        "hosts",
        "ndots",
        "rotate",
        "search",
        "servers",
        "timeout",
    )

    def __init__(
        self,
        *,
        servers: Iterable[str] | None = None,
        search: Iterable[str] | None = None,
        ndots: int | None = None,
        timeout: float | None = None,
        attempts: int | None = None,
        rotate: bool | None = None,
        config: Path | None = "/etc/resolv.conf",
        hosts: Path | None = "/etc/hosts",
        family_delay: float = 0.05,
        attempt_delay: float = 0.25,
    ) -> None:
        self.servers: tuple[str, ...] | None = _words("servers", servers, _MAX_SERVERS)
        if self.servers == ():
            raise ValueError("servers must name one at least, or be None")
        self.search: tuple[str, ...] | None = _words("search", search, _MAX_DOMAINS)
        self.ndots: int | None = _count("ndots", ndots, 0, _MAX_NDOTS)
        self.timeout: float | None = (
            None if timeout is None else _seconds("timeout", timeout, 0.001)
        )
        self.attempts: int | None = _count("attempts", attempts, 1, _MAX_ATTEMPTS)
        self.rotate: bool | None = None if rotate is None else bool(rotate)
        self.config: str | None = _path("config", config)
        self.hosts: str | None = _path("hosts", hosts)
        self.family_delay: float = _seconds("family_delay", family_delay, 0)
        self.attempt_delay: float = _seconds("attempt_delay", attempt_delay, 0)
        self._set(None)  # an address or a domain that is none is told here, not later

    def __repr__(self) -> str:
        values = [f"{name}={getattr(self, name)!r}" for name in sorted(self.__slots__)]
        return f"Resolver({', '.join(values)})"

    def _set(self, mgr: Any) -> int:
        """Give it to the C manager, or with ``None`` only have it checked."""
        texts = {
            "servers": None if self.servers is None else " ".join(self.servers).encode(),
            "search": None if self.search is None else " ".join(self.search).encode(),
            "config": b"" if self.config is None else os.fsencode(self.config),
            "hosts": b"" if self.hosts is None else os.fsencode(self.hosts),
        }
        struct = ffi.new("struct mgx_resolver *")
        lib.mgx_resolver_init(struct)
        kept = []
        for name, text in texts.items():
            if text is not None:
                kept.append(ffi.new("char[]", text))
                getattr(struct, name).buf = kept[-1]
                getattr(struct, name).len = len(text)
            else:
                getattr(struct, name).buf = ffi.NULL
        for name in ("ndots", "attempts", "rotate"):
            value = getattr(self, name)
            setattr(struct, name, -1 if value is None else int(value))
        struct.timeout_ms = -1 if self.timeout is None else _ms(self.timeout)
        struct.family_delay_ms = _ms(self.family_delay)
        struct.attempt_delay_ms = _ms(self.attempt_delay)
        err = ffi.new("struct mgx_error *")
        code: int = lib.mgx_mgr_set_resolver(ffi.NULL if mgr is None else mgr, struct, err)
        if code == lib.MGX_EINVAL:
            raise ValueError(f"resolver: {ffi.string(err.text).decode('utf-8', 'replace')}")
        return code


class Lookup:
    """A look-up that :meth:`Manager.resolve` has begun. It need not be kept.

    Both members may be used from any thread.
    """

    __slots__ = ("__weakref__", "_callback", "_conn")

    def __init__(self, callback: Callable[[Addresses, str], object]) -> None:
        self._callback: Callable[[Addresses, str], object] | None = callback
        self._conn: Connection | None = None

    def __repr__(self) -> str:
        return f"<Lookup {'active' if self.active else 'inactive'}>"

    @property
    def active(self) -> bool:
        """``True`` until the callback is called, :meth:`cancel`, or the end of the manager."""
        manager = None if self._conn is None else self._conn._manager()
        return self._callback is not None and manager is not None and not manager._closed

    def cancel(self) -> None:
        """Have the callback not called any more. Harmless when it is over.

        From a thread other than the polling one, a call that is already under way goes on.
        """
        self._callback = None
        if self._conn is not None:
            self._conn.close()

    def _begin(self, conn: Connection, url: str) -> None:
        """Look *url* up on a connection that has no other purpose."""
        self._conn = conn
        conn.set_handler(_Outcome(self))
        try:
            conn.resolve(url)
        except BaseException:
            conn.close()
            raise

    def _deliver(self, addresses: Addresses, error: str) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(addresses, error)


class _Outcome(Handler):
    """Has the loop tell a look-up what came of it; never inside the call that began it."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def on_resolve(self, conn: Connection, addresses: Addresses) -> None:
        """Take the addresses."""
        self._tell(conn, addresses, "")

    def on_error(self, conn: Connection, message: str) -> None:
        """Take the reason why there are none."""
        self._tell(conn, [], message)

    def _tell(self, conn: Connection, addresses: Addresses, error: str) -> None:
        conn.close()
        with suppress(Error):  # the manager is being closed
            conn.manager.timer_add(0, partial(self._lookup._deliver, addresses, error))


def _words(name: str, value: Iterable[str] | None, most: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a list of str, not {type(value).__name__}")
    words = tuple(value)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"{name} must be a list of str, not of {type(word).__name__}")
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise ValueError(f"{name} must not contain {word!r}")
    if len(words) > most:
        raise ValueError(f"{name} must be at most {most}, not {len(words)}")
    return words


def _count(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is not None and not least <= index(value) <= most:
        raise ValueError(f"{name} must be {least}..{most}, not {value}")
    return value


def _seconds(name: str, value: float, least: float) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds, not {type(value).__name__}")
    if not least <= value <= _MAX_SECONDS:  # false for NaN as well
        raise ValueError(f"{name} must be {least} to {_MAX_SECONDS} seconds, not {value}")
    return value


def _path(name: str, value: Path | None) -> str | None:
    if value is None:
        return None
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path, not {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must be a path, not {value!r}")
    return path


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
