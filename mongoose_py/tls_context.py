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
import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Callable
from weakref import WeakValueDictionary

from mongoose_py import logs
from mongoose_py._core import is_alive
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import Error, failure
from mongoose_py.tls import TlsOpts, read_source, server_name, settings

if TYPE_CHECKING:
    import ssl

    from typing_extensions import TypeGuard

    from mongoose_py._manager import BaseManager
    from mongoose_py.tls import Names, Tls, TlsInfo
    from mongoose_py.tls_engine import Session

VARIABLE = "MONGOOSE_PY_LIBSSL"
_MAPS = "/proc/self/maps"
_MOST = 256  # contexts a manager keeps for the next use
_EINVAL: int = lib.MGX_EINVAL
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


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
        with open(_MAPS, encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
            paths = [line.split(maxsplit=5)[5].rstrip("\n") for line in lines if "libssl" in line]
    except (OSError, IndexError):
        return ()
    is_it = [path for path in paths if os.path.basename(path).startswith("libssl")]  # noqa: PTH119
    return dict.fromkeys(path for path in is_it if ".so" in path)


class Context:
    """A number of the C core that stands for a set of options, dropped with this object.

    Attributes:
        number: That number.
        names: A function of server names, where the core has to ask for it.
        ssl: What does its TLS instead of the core.
        refusal: Why none of its connections can be; ``""``: they can.
        sessions: What the server of a name has to be told to resume, with *ssl*.
        resumes: Whether they are to be kept.
    """

    __slots__ = (
        *("__weakref__", "_core", "_mgr"),
        *("names", "number", "refusal", "resumes", "sessions", "ssl"),
    )

    def __init__(self, mgr: Any, core: int, number: int) -> None:
        self._mgr, self._core = mgr, core  # _core keeps what _mgr points at
        self.number = number
        self.names: Callable[[str], TlsOpts | None] | None = None
        self.ssl: ssl.SSLContext | None = None
        self.refusal = ""
        self.sessions: dict[str, ssl.SSLSession] = {}
        self.resumes = True

    def __del__(
        self,
        # Bound now: when the interpreter ends, the names of this module may go first.
        lives: Callable[[int], bool] = is_alive,
        drop: Callable[[Any, int], int] = lib.mgx_tls_drop,
    ) -> None:
        if lives(self._core):  # in a cycle that is collected it may have gone first
            drop(self._mgr, self.number)


class Contexts:
    """The contexts of one manager, and the connections whose TLS is done here.

    Connections whose C side has to ask for their context again keep it on this side too.
    """

    def __init__(self, manager: BaseManager) -> None:
        self._mgr, self._core, self._manager = manager._mgr, manager._core, manager._ref
        self._lock = RLock()
        self._kept: OrderedDict[bytes, Context] = OrderedDict()
        self._by_number: WeakValueDictionary[int, Context] = WeakValueDictionary()
        self._sessions: dict[int, Session] = {}  # by connection

    def get(self, opts: Tls | None, is_server: bool, *, lenient: bool = False) -> Context:
        """Return the context for *opts*; ``None``: the default of a client.

        Args:
            opts: What ``tls=`` takes.
            is_server: Which end it is for.
            lenient: What OpenSSL cannot use is logged, and gives a context that refuses
                every connection.

        Raises:
            TypeError: If *opts* is nothing that ``tls=`` takes.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
            OSError: If a file cannot be read.
            Error: If there is no OpenSSL.
        """
        used = TlsOpts() if opts is None else opts
        with self._lock:
            if isinstance(used, TlsOpts):
                return self._get(_Wanted(used, is_server), lenient)
            if _is_ssl_context(used):
                return self._given(used, is_server)
        kind = type(used).__name__
        raise TypeError(f"tls must be TlsOpts or an ssl.SSLContext, not {kind}")

    def named(self, number: int, name: str) -> int:
        """Return the number of the context for a server name; 0: the one it has."""
        context = self._by_number.get(number)
        if context is None or context.names is None:
            return 0
        opts = context.names(name)
        return 0 if opts is None else self.get(opts, True).number

    def _get(self, wanted: _Wanted, lenient: bool = False) -> Context:
        key = wanted.key()
        context = self._kept.get(key)
        if context is not None:
            self._kept.move_to_end(key)
            return context
        if library.open():
            context = self._new(wanted, lenient)
        else:
            context = self._new_by_ssl(wanted, lenient)
        return context if context.refusal else self._keep(key, context)

    def _keep(self, key: bytes, context: Context) -> Context:
        self._kept[key] = context
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return context

    # -- by the core ----------------------------------------------------------

    def _new(self, wanted: _Wanted, lenient: bool) -> Context:
        context, reason = self._number(wanted.struct(lenient))
        if reason:
            logs.log_unusable_tls(reason)
            context.refusal = reason
        if isinstance(wanted.names, Mapping):
            for name, opts in wanted.names.items():
                self._add_name(context, name, self._get(_Wanted(opts, True)))
        else:
            context.names = wanted.names
        return context

    def _number(self, struct: Any) -> tuple[Context, str]:
        err = ffi.new("struct mgx_error *")
        number = lib.mgx_tls_new(self._mgr, struct, err)
        reason = ffi.string(err.text).decode("utf-8", "replace")
        if number == lib.MGX_ECLOSED:
            raise Error("Manager has been closed")
        if number < 0:
            raise failure(number, "tls", reason)
        context = Context(self._mgr, self._core, number)
        self._by_number[number] = context
        return context, reason

    def _add_name(self, context: Context, name: str, other: Context) -> None:
        wire = self._checked_name(name).encode()
        code = lib.mgx_tls_add_name(self._mgr, context.number, wire, len(wire), other.number)
        if code < 0:
            reason = "not the name of a host" if code == _EINVAL else ""
            raise failure(code, f"tls: sni name {name!r}", reason)

    # -- by Python's ssl --------------------------------------------------------

    def _foreign(self) -> Context:
        return self._number(ffi.new("struct mgx_tls_opts *", {"foreign": True}))[0]

    def _given(self, used: ssl.SSLContext, is_server: bool) -> Context:
        from ssl import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER

        wrong = PROTOCOL_TLS_CLIENT if is_server else PROTOCOL_TLS_SERVER
        if used.protocol == wrong:
            ends = ("clients", "a server") if is_server else ("servers", "a client")
            raise ValueError("tls: an SSLContext for {} cannot be used for {}".format(*ends))
        key = b"ssl %d" % id(used)  # kept by the context of this key
        context = self._kept.get(key)
        if context is None:
            context = self._keep(key, self._foreign())
            context.ssl = used
        return context

    def _new_by_ssl(self, wanted: _Wanted, lenient: bool) -> Context:
        try:
            from mongoose_py import tls_engine
        except ImportError as exc:
            tried = "; ".join([*(library.tried or ()), str(exc)])
            raise Error(f"TLS needs OpenSSL, and there is none. Tried: {tried}") from None
        context = self._foreign()
        context.resumes = not wanted.values["no_tickets"]
        if wanted.is_server and not wanted.values["cert"]:
            context.refusal = "there is no certificate: give one with its key (cert, key)"
            return context
        try:
            context.ssl = tls_engine.make_context(wanted.values, wanted.is_server)
        except ValueError as exc:
            if not lenient:
                raise
            logs.log_unusable_tls(str(exc))
            context.refusal = str(exc)
            return context
        if wanted.is_server:
            tls_engine.set_names(context.ssl, self._finder(wanted.names))
        return context

    def _finder(self, names: Names | None) -> Callable[[int, str], ssl.SSLContext | None] | None:
        """Return what finds the context for a name that a client asks for."""
        if isinstance(names, Mapping):
            pairs = [(self._checked_name(name), opts) for name, opts in names.items()]
            by_name = {name: self._get(_Wanted(opts, True)).ssl for name, opts in pairs}

            def look_up(_: int, name: str) -> ssl.SSLContext | None:
                key = name.lower().rstrip(".")
                return by_name.get(key) or by_name.get("*." + key.partition(".")[2])

            return look_up
        return self._asker(names) if callable(names) else None

    def _asker(
        self, names: Callable[[str], TlsOpts | None]
    ) -> Callable[[int, str], ssl.SSLContext | None]:
        def ask(number: int, name: str) -> ssl.SSLContext | None:
            try:
                opts = names(name)
                return None if opts is None else self.get(opts, True).ssl
            except BaseException as exc:
                manager = self._manager()
                if manager is not None:
                    manager._tls_failed(number, exc)
                raise

        return ask

    def _checked_name(self, name: str) -> str:
        found = server_name(name).decode().lower()
        if not _HOST.fullmatch(found):
            raise ValueError(f"tls: sni name {name!r}: not the name of a host")
        return found

    def step(self, number: int, step: Any) -> bool:
        """Do a step of a connection's TLS, as ``struct mgx_tls_step`` tells it.

        Returns:
            Whether the connection can go on; else the struct says why not.
        """
        session = self._sessions.get(number)
        if session is None:
            from mongoose_py import tls_engine

            try:
                session = self._sessions[number] = self._begin(number, step)
            except ValueError as exc:
                tls_engine.explain(step, str(exc))
                return False
        return session.step(self._mgr, step)

    def _begin(self, number: int, step: Any) -> Session:
        from mongoose_py import tls_engine

        context = self._by_number.get(step.tls)
        if context is None or context.refusal:
            raise ValueError("its options are gone" if context is None else context.refusal)
        name = ffi.buffer(step.name.buf, step.name.len)[:].decode() if step.name.len else ""
        return tls_engine.Session(context, number, step.is_server, name)

    def forget(self, number: int) -> None:
        """Forget a connection that is gone."""
        self._sessions.pop(number, None)

    def info(self, number: int) -> TlsInfo | None:
        """Return what the handshake of a connection came to that was done here."""
        session = self._sessions.get(number)
        return None if session is None else session.info()


def _is_ssl_context(value: object) -> TypeGuard[ssl.SSLContext]:
    module = sys.modules.get("ssl")
    return module is not None and isinstance(value, module.SSLContext)


class _Wanted:
    """A set of options with its files read."""

    def __init__(self, opts: TlsOpts, is_server: bool) -> None:
        if not isinstance(opts, TlsOpts):
            raise TypeError(f"sni must lead to TlsOpts, not {type(opts).__name__}")
        self.is_server = is_server
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

        digest = sha256(b"%d" % self.is_server)
        for name, value in self.values.items():
            text = value if isinstance(value, bytes) else b"%d" % value
            digest.update(b"%s=%d:" % (name.encode(), len(text)))
            digest.update(text)
        if isinstance(self.names, Mapping):
            for name, opts in sorted(self.names.items()):
                digest.update(b"%s=" % name.encode() + _Wanted(opts, True).key())
        else:
            digest.update(b"%d" % id(self.names))  # kept by the context of this key
        return digest.digest()

    def struct(self, lenient: bool) -> Any:
        """Return a ``struct mgx_tls_opts *``; what it points at lives as long as this."""
        opts = ffi.new("struct mgx_tls_opts *", {"lenient": lenient, "is_server": self.is_server})
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
