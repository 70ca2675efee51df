"""Which OpenSSL is used, and what the TLS connections of a manager share.

A context holds a set of options as OpenSSL has taken them: certificates are parsed once,
and sessions can be resumed. To the C core it is a number. Each manager keeps the contexts
it used last, by their contents, so that equal options lead to the same one.

The platform's libssl is opened when TLS is wanted for the first time: that of the
environment variable ``MONGOOSE_PY_LIBSSL``; else the one that the interpreter itself has
loaded for its module ``ssl``; else one of the usual names.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Callable
from weakref import WeakValueDictionary

from mongoose_py import logs
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import Error, failure
from mongoose_py.tls import TlsOpts, read_source, server_name, settings

if TYPE_CHECKING:
    from mongoose_py.manager import Manager
    from mongoose_py.tls import Tls

VARIABLE = "MONGOOSE_PY_LIBSSL"
_MOST = 256  # contexts a manager keeps for the next use
_EINVAL: int = lib.MGX_EINVAL


class _Library:
    """The libssl of this process."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.is_open = False
        self.is_pythons = False  # the one that the module ssl uses
        self.tried: list[str] | None = None  # None: not yet

    def open(self) -> bool:
        with self.lock:
            if self.tried is None:
                self.tried = []
                self.is_open = any(self._try(*found) for found in _candidates())
            return self.is_open

    def _try(self, path: str | None, is_pythons: bool) -> bool:
        err = ffi.new("struct mgx_error *")
        name = ffi.NULL if path is None else os.fsencode(path)
        if lib.mgx_tls_open_library(name, err) < 0:
            assert self.tried is not None
            self.tried.append(ffi.string(err.text).decode("utf-8", "replace"))
            return False
        self.is_pythons = is_pythons
        return True


library = _Library()


def _candidates() -> Iterator[tuple[str | None, bool]]:
    """Yield what to try, ``None``: the usual names; and whether Python's ``ssl`` uses it."""
    path = os.environ.get(VARIABLE)
    if path is not None:
        yield path, False
        return
    try:
        import _ssl  # noqa: F401, maps it
    except ImportError:
        pass
    else:
        for path in _mapped():
            yield path, True
    yield None, False


def _mapped() -> Iterable[str]:
    """Return the libssl files in this process's memory, where the system tells."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
            paths = [line.split(maxsplit=5)[5].rstrip("\n") for line in lines if "libssl" in line]
    except (OSError, IndexError):
        return ()
    is_it = [path for path in paths if os.path.basename(path).startswith("libssl")]  # noqa: PTH119
    return dict.fromkeys(path for path in is_it if ".so" in path)


class Context:
    """A number of the C core that stands for a set of options, dropped with this object."""

    __slots__ = ("__weakref__", "_core", "_mgr", "is_good", "names", "number")

    def __init__(self, mgr: Any, core: int, number: int, names: object) -> None:
        self._mgr, self._core = mgr, core  # _core keeps what _mgr points at
        self.number = number
        self.is_good = True  # False: it refuses every connection
        self.names = names if callable(names) else None

    def __del__(self, drop: Callable[[Any, int], int] = lib.mgx_tls_drop) -> None:
        drop(self._mgr, self.number)


class Contexts:
    """The contexts of one manager.

    Connections whose C side has to ask for one again keep it on this side too.
    """

    def __init__(self, manager: Manager) -> None:
        self._mgr, self._core = manager._mgr, manager._core
        self._lock = RLock()
        self._kept: OrderedDict[bytes, Context] = OrderedDict()
        self._by_number: WeakValueDictionary[int, Context] = WeakValueDictionary()

    def get(self, opts: Tls | None, *, lenient: bool = False) -> Context:
        """Return the context for *opts*; ``None``: the default of a client.

        Args:
            opts: What ``tls=`` takes.
            lenient: What OpenSSL cannot use is logged, and gives a context that refuses
                every connection.

        Raises:
            TypeError: If *opts* is nothing that ``tls=`` takes.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
            OSError: If a file cannot be read.
            Error: If there is no OpenSSL.
        """
        used = TlsOpts() if opts is None else opts
        if not isinstance(used, TlsOpts):
            raise TypeError(f"tls must be TlsOpts, not {type(used).__name__}")
        if not library.open():
            tried = "; ".join(library.tried or ())
            raise Error(f"TLS needs OpenSSL, and none could be opened. Tried: {tried}")
        with self._lock:
            return self._get(_Wanted(used), lenient)

    def named(self, number: int, name: str) -> int:
        """Return the number of the context for a server name; 0: the one it has."""
        context = self._by_number.get(number)
        if context is None or context.names is None:
            return 0
        opts = context.names(name)
        return 0 if opts is None else self.get(opts).number

    def _get(self, wanted: _Wanted, lenient: bool = False) -> Context:
        key = wanted.key()
        context = self._kept.get(key)
        if context is not None:
            self._kept.move_to_end(key)
            return context
        context = self._new(wanted, lenient)
        if context.is_good:
            self._kept[key] = context
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        self._by_number[context.number] = context
        return context

    def _new(self, wanted: _Wanted, lenient: bool) -> Context:
        err = ffi.new("struct mgx_error *")
        number = lib.mgx_tls_new(self._mgr, wanted.struct(lenient), err)
        reason = ffi.string(err.text).decode("utf-8", "replace")
        if number == lib.MGX_ECLOSED:
            raise Error("Manager has been closed")
        if number < 0:
            raise failure(number, "tls", reason)
        context = Context(self._mgr, self._core, number, wanted.names)
        if reason:
            context.is_good = False
            logs.log_unusable_tls(reason)
        if isinstance(wanted.names, Mapping):
            for name, opts in wanted.names.items():
                self._add_name(context, name, self._get(_Wanted(opts)))
        return context

    def _add_name(self, context: Context, name: str, other: Context) -> None:
        wire = server_name(name)
        code = lib.mgx_tls_add_name(self._mgr, context.number, wire, len(wire), other.number)
        if code < 0:
            raise failure(code, f"sni name {name!r}", "not the name of a host" * (code == _EINVAL))


class _Wanted:
    """A set of options with its files read."""

    def __init__(self, opts: TlsOpts) -> None:
        if not isinstance(opts, TlsOpts):
            raise TypeError(f"sni must lead to TlsOpts, not {type(opts).__name__}")
        self.values = settings(opts)
        self.values["ca"] = read_source(opts.ca)
        self.values["cert"] = read_source(opts.cert)
        self.values["key"] = read_source(opts.key)
        self.values["password"] = opts.password
        self.values["ask_name"] = callable(opts.sni)
        self.names = opts.sni
        if not library.is_pythons and not self.values["ca"] and not opts.skip_verification:
            self.values.update(_system_store())

    def key(self) -> bytes:
        """Return what is equal for equal options."""
        from hashlib import sha256

        digest = sha256()
        for name, value in self.values.items():
            text = value if isinstance(value, bytes) else b"%d" % value
            digest.update(b"%s=%d:" % (name.encode(), len(text)))
            digest.update(text)
        if isinstance(self.names, Mapping):
            for name, opts in sorted(self.names.items()):
                digest.update(b"%s=" % name.encode() + _Wanted(opts).key())
        else:
            digest.update(b"%d" % id(self.names))  # kept by the context of this key
        return digest.digest()

    def struct(self, lenient: bool) -> Any:
        """Return a ``struct mgx_tls_opts *``; what it points at lives as long as this."""
        opts = ffi.new("struct mgx_tls_opts *", {"lenient": lenient})
        self.views = []
        for name, value in self.values.items():
            if isinstance(value, bytes):
                view = ffi.from_buffer(value)
                self.views.append(view)
                text = getattr(opts, name)
                text.buf, text.len = view, len(view)
            else:
                setattr(opts, name, value)
        return opts


def _system_store() -> dict[str, bytes]:
    """Return where the system keeps its trusted certificates, as Python's ``ssl`` knows it.

    For a libssl that was not built for this system, and may look elsewhere.
    """
    try:
        from ssl import get_default_verify_paths
    except ImportError:
        return {}
    paths = get_default_verify_paths()
    found = {"ca_file": paths.cafile, "ca_dir": paths.capath}
    return {name: os.fsencode(path) for name, path in found.items() if path}
