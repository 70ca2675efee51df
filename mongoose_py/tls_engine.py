"""The second way to do TLS: by Python's own module ``ssl``, between the core's buffers.

Used for an :class:`ssl.SSLContext` of the caller's, and where no libssl can be opened
beside the interpreter's. The C core hands over what has arrived and takes what is to be
sent, one step of a connection at a time; sockets stay its business.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Callable, Union

from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.tls import CLIENT_AUTH, TlsInfo
from mongoose_py.x509 import TlsCertificate, key_label

if TYPE_CHECKING:
    from mongoose_py.tls_context import Context

    NamesToContexts = Callable[[int, str], Union[ssl.SSLContext, None]]

_BEGIN = b"-----BEGIN "
_VERIFY = {
    CLIENT_AUTH["none"]: ssl.CERT_NONE,
    CLIENT_AUTH["optional"]: ssl.CERT_OPTIONAL,
    CLIENT_AUTH["required"]: ssl.CERT_REQUIRED,
}
_SERVER_CIPHERS = "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"  # as the core's
_MOST_SESSIONS = 64  # a client's, of one context
# PyPy leaves a failed verification in OpenSSL's list of errors, where the next connection
# takes it for its own. To make an object empties that list.
_LEAVES_ERRORS = sys.implementation.name == "pypy"
_NUMBER = "mongoose_py_number"  # attribute of an SSLObject: its connection
_LOOKS = 4  # steps with input in which a client looks for a session ticket


def make_context(values: Mapping[str, Any], is_server: bool) -> ssl.SSLContext:
    """Return what the options in *values* come to, for servers or for clients.

    Args:
        values: As ``struct mgx_tls_opts`` has them.
        is_server: Which of both.

    Raises:
        ValueError: If OpenSSL cannot use one of them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion(values["min_version"])
    context.options |= ssl.OP_NO_COMPRESSION | getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    if values["no_tickets"]:
        context.options |= ssl.OP_NO_TICKET
        if is_server and hasattr(context, "num_tickets"):
            context.num_tickets = 0
    skip = values["skip_verification"]
    if is_server:
        auth = values["client_auth"]
        if auth == CLIENT_AUTH[None]:
            auth = CLIENT_AUTH["required" if values["ca"] else "none"]
        context.verify_mode = ssl.CERT_NONE if skip else _VERIFY[auth]
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(_SERVER_CIPHERS)
    elif skip:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load(context, values)
    if not values["ca"] and not is_server and not skip:
        context.load_default_certs()
    return context


def _load(context: ssl.SSLContext, values: Mapping[str, Any]) -> None:
    what = "ca"
    try:
        if values["ca"]:
            context.load_verify_locations(cadata=_authorities(values["ca"]))
        what = "certificate and key"
        if values["cert"]:
            _load_chain(context, values)
        what = "ciphers"
        names = [name for name in values["ciphers"].decode().split(":") if name]
        of_12 = [name for name in names if not name.startswith("TLS_")]
        if len(of_12) < len(names):
            raise ValueError("Python's ssl cannot choose cipher suites of TLS 1.3")
        if of_12:
            context.set_ciphers(":".join(of_12))
        what = "alpn"
        if values["alpn"]:
            context.set_alpn_protocols(_protocols(values["alpn"]))
    except (ssl.SSLError, ValueError) as exc:
        raise ValueError(f"tls: {what}: {reason(exc)}") from None


def _authorities(data: bytes) -> str | bytes:
    if _BEGIN in data:
        return data.decode("ascii", "replace")
    if data[:1] != b"\x30":
        raise ValueError("neither PEM nor DER")
    return data


def _load_chain(context: ssl.SSLContext, values: Mapping[str, Any]) -> None:
    """Have *context* use certificate and key, which its method takes from files only."""
    cert, key = values["cert"], values["key"] or values["cert"]
    if _BEGIN not in cert:
        cert = ssl.DER_cert_to_PEM_cert(cert).encode()
        if not values["key"]:
            raise ValueError("the key is missing")
    if _BEGIN not in key:
        text = ssl.DER_cert_to_PEM_cert(key)
        key = text.replace("CERTIFICATE", key_label(key)).encode()
    with tempfile.TemporaryDirectory() as folder:  # which only this user may enter
        names = [os.path.join(folder, name) for name in ("cert", "key")]  # noqa: PTH118
        for name, text in zip(names, (cert, key)):
            with open(name, "xb") as file:  # noqa: PTH123
                file.write(text)
        # A function, for without a password OpenSSL would ask at the terminal.
        cert_file, key_file = names
        context.load_cert_chain(cert_file, key_file, lambda: _password(values["password"]))


def _password(password: bytes) -> bytes:
    if not password:
        raise ValueError("the key is encrypted, and there is no password")
    return password


def _protocols(wire: bytes) -> list[str]:
    names, at = [], 0
    while at < len(wire):
        names.append(wire[at + 1 : at + 1 + wire[at]].decode())
        at += 1 + wire[at]
    return names


def reason(exc: BaseException) -> str:
    """Return why something failed, in OpenSSL's words where they are its."""
    if isinstance(exc, ssl.SSLError):
        name = getattr(exc, "reason", None)
        return name.replace("_", " ").lower() if name else str(exc.args[-1])
    return str(exc)


def set_names(context: ssl.SSLContext, find: NamesToContexts | None) -> None:
    """Have a server's *context* note the name a client asks for, and go on with its own.

    Args:
        context: The server's.
        find: Gets a connection's number and the name, and returns a context or ``None``;
            when it raises, the client is refused.
    """

    def choose(tls: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        tls.mongoose_py_name = name
        if name is None or find is None:
            return None
        try:
            other = find(getattr(tls, _NUMBER), name)
        except BaseException:  # has been reported
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        if other is not None:
            tls.context = other
        return None

    context.sni_callback = choose


class Session:
    """One connection's TLS."""

    __slots__ = (
        "_arrived",
        "_context",
        "_is_ready",
        "_leaving",
        "_lock",
        "_looks",
        "_name",
        "_number",
        "_tls",
    )

    def __init__(self, context: Context, number: int, is_server: bool, name: str) -> None:
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._context, self._name = context, name
        self._is_ready = False
        self._looks = 0 if is_server else _LOOKS
        self._lock = RLock()  # ssl objects bear one thread at a time
        used = context.ssl
        assert used is not None
        self._number = number
        self._tls: Any = used.wrap_bio(
            self._arrived,
            self._leaving,
            server_side=is_server,
            server_hostname=None if is_server else name or None,
            session=None if is_server else context.sessions.get(name),
        )
        setattr(self._tls, _NUMBER, number)

    def step(self, mgr: Any, step: Any) -> bool:
        """Do what a ``struct mgx_tls_step *`` asks for, and write there what was done.

        Returns:
            Whether the connection can go on; else the struct says why not.
        """
        with self._lock:
            error: Exception | None = None
            try:
                self._step(step)
            except (ssl.SSLError, ValueError) as exc:
                error = exc
            if self._leaving.pending:  # an alert, when it failed
                data = self._leaving.read()
                lib.mgx_tls_output(mgr, self._number, data, len(data))
            if error is not None:
                explain(step, self._told(error))
                if _LEAVES_ERRORS:
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
                        self._arrived, self._leaving, server_hostname="a"
                    )
                return False
            if self._looks and self._is_ready and step.input.len:
                self._looks -= 1
                self._keep_session()
            return True

    def _step(self, step: Any) -> None:
        if step.input.len:
            self._arrived.write(ffi.buffer(step.input.buf, step.input.len))
        if step.input_end:
            self._arrived.write_eof()
        if not self._is_ready:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return
            self._is_ready = True
        step.is_ready = True
        if step.plain.len:
            step.plain_taken = self._tls.write(ffi.buffer(step.plain.buf, step.plain.len))
        if step.out_cap:
            self._read(step)
        if step.shutdown:
            with contextlib.suppress(ssl.SSLError):  # the peer's may come or not
                self._tls.unwrap()

    def _read(self, step: Any) -> None:
        room = ffi.buffer(step.out, step.out_cap)
        view, filled = memoryview(room), 0
        try:
            while filled < len(view):
                count = self._tls.read(len(view) - filled, view[filled:])
                if not count:
                    # It was cut off when the end of the socket's stream comes first.
                    step.is_end = not step.input_end  # else close_notify
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:  # cut off: the core knows, for it has told of the end
            pass
        finally:
            step.out_len = filled
        step.has_more = filled == len(view) and (
            self._tls.pending() > 0 or self._arrived.pending > 0
        )

    def _told(self, exc: BaseException) -> str:
        if isinstance(exc, ssl.SSLEOFError):
            return "the peer has ended the connection"
        if not isinstance(exc, ssl.SSLCertVerificationError):
            return reason(exc)
        # As OpenSSL's own text says it, which Python makes longer.
        text, whom, _ = exc.verify_message.lower().partition(", certificate is not valid")
        return f"certificate verify failed: {text}" + f", it is not for '{self._name}'" * bool(whom)

    def _keep_session(self) -> None:
        """Remember how to take this connection up again, if the server lets us by now."""
        session = getattr(self._tls, "session", None)
        if session is None or not session.has_ticket or not self._context.resumes:
            return
        kept = self._context.sessions
        kept[self._name] = session
        while len(kept) > _MOST_SESSIONS:
            kept.pop(next(iter(kept)), None)

    def info(self) -> TlsInfo | None:
        """Return what the handshake came to; ``None`` before its end."""
        if not self._is_ready:
            return None
        with self._lock:
            cipher = self._tls.cipher()
            der = self._tls.getpeercert(True)
            named = getattr(self._tls, "mongoose_py_name", None) or self._tls.server_hostname
            return TlsInfo(
                self._tls.version() or "",
                cipher[0] if cipher else "",
                self._tls.selected_alpn_protocol(),
                bool(self._tls.session_reused),
                named,
                TlsCertificate(der) if der else None,
            )


def explain(step: Any, text: str) -> None:
    """Write into *step* why the connection cannot go on."""
    raw = text.encode("utf-8", "replace")[: ffi.sizeof(step.error) - 1]
    ffi.memmove(step.error, raw + b"\0", len(raw) + 1)
