"""What a connection can do that speaks TLS.

The part of :class:`~mongoose_py.Connection` that concerns TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import ConnectionClosed, failure
from mongoose_py.tls import TlsInfo, info_of, server_name_of

if TYPE_CHECKING:
    from mongoose_py.tls import Tls

_ESTATE: int = lib.MGX_ESTATE


class TlsConnection(BaseConnection):
    """The TLS methods of :class:`~mongoose_py.Connection`."""

    __slots__ = ()

    @property
    def is_tls(self) -> bool:
        """TLS is switched on."""
        return self._is(lib.MGX_IS_TLS)

    def tls_init(self, opts: Tls) -> None:
        """Have the connection speak TLS, with *opts* instead of what it was to use.

        The handshake begins when the running event is over; what is sent before its end
        waits. For accepted connections the place is ``MG_EV_ACCEPT``, for outbound ones
        ``MG_EV_CONNECT``; later in the life of a connection that began in plain text it
        works as well, when nothing of that is on its way any more. On a listener this
        decides for connections it accepts from now on; there, options that OpenSSL cannot
        use are logged, and every connection is refused with ``MG_EV_ERROR``.

        Args:
            opts: :class:`~mongoose_py.TlsOpts`, or an :class:`ssl.SSLContext`.

        Raises:
            TypeError: If *opts* is neither.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
            OSError: If a file cannot be read.
            Error: If the handshake has begun, on UDP, or without OpenSSL.
            ConnectionClosed: If the connection is closed.
        """
        if opts is None:
            raise TypeError("tls must be TlsOpts, not NoneType")
        self._tls_set(opts, self._is(lib.MGX_IS_LISTENING))

    def tls_reload(self, opts: Tls | None = None) -> None:
        """Use other certificates for the connections this listener accepts from now on.

        Connections that are open stay as they are.

        Args:
            opts: Default: those it has, with their files read anew. They may have been
                changed.

        Raises:
            TypeError: If *opts* is nothing that ``tls=`` takes.
            ValueError: If OpenSSL cannot use a certificate, a key or a list of ciphers.
                The listener goes on with those it has; so with the next.
            OSError: If a file cannot be read.
            Error: If this is not a listener, or it was given no options.
            ConnectionClosed: If it is closed.
        """
        self._open_id()
        if not self._is(lib.MGX_IS_LISTENING):
            raise failure(lib.MGX_EKIND, "tls_reload", "not a listener")
        had = None if self._tls is None else self._tls[0]
        used = had if opts is None else opts
        if used is None:
            raise failure(_ESTATE, "tls_reload", "the listener was given no TLS options")
        self._tls_set(used, False)

    def _tls_set(self, opts: Tls, lenient: bool) -> None:
        number = self._open_id()
        manager = self._manager()
        if manager is None:
            raise ConnectionClosed("Connection has been closed")
        context = manager._tls.get(opts, not self._is(lib.MGX_IS_CLIENT), lenient=lenient)
        name = server_name_of(opts)
        code = lib.mgx_tls_init(self._mgr, number, context.number, name, len(name))
        causes = {
            _ESTATE: "its TLS handshake has begun",
            lib.MGX_EKIND: "TLS runs over TCP and unix sockets",
        }
        self._check(code, "tls_init", causes)
        self._tls = opts, context

    def tls_free(self) -> None:
        """Undo :meth:`tls_init`.

        A connection whose handshake has begun is closed in order: there is no way back
        to plain text.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        self._check(lib.mgx_tls_free(self._mgr, number), "tls_free")
        self._tls = None

    def tls_info(self) -> TlsInfo | None:
        """Return what the TLS handshake came to.

        ``None`` before its end (``MG_EV_TLS_HS``), without TLS, and when the connection
        is closed.
        """
        number = self._id
        manager = self._manager() if number else None
        if manager is None:
            return None
        contexts = manager._tls_contexts
        info = None if contexts is None else contexts.info(number)
        return info or info_of(self._mgr, number)
