"""TLS: what is wanted of it (:class:`TlsOpts`), and what came of it (:class:`TlsInfo`).

OpenSSL does the work: see :mod:`mongoose_py.tls_context` for which one, and for what
connections share.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union, overload

from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.x509 import TlsCertificate

if TYPE_CHECKING:
    import ssl

Source = Union[Data, "os.PathLike[str]", None]
"""A path, or PEM or DER itself; a ``str`` is PEM, never a path."""
Names = Union[Mapping[str, "TlsOpts"], Callable[[str], "TlsOpts | None"]]
Tls = Union["TlsOpts", "ssl.SSLContext"]
"""What ``tls=`` takes."""

_T = TypeVar("_T")

VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}
CLIENT_AUTH: dict[str | None, int] = {
    None: lib.MGX_TLS_AUTH_BY_CA,
    "none": lib.MGX_TLS_AUTH_NONE,
    "optional": lib.MGX_TLS_AUTH_OPTIONAL,
    "required": lib.MGX_TLS_AUTH_REQUIRED,
}
_NOT_A_CIPHER = re.compile(r"[^\x21-\x7e]")


class _Stored(Generic[_T]):
    """An attribute that is converted when it is set."""

    name: str
    slot: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.slot = name, f"_{name}"

    @overload
    def __get__(self, obj: None, owner: type) -> _Stored[_T]: ...
    @overload
    def __get__(self, obj: object, owner: type) -> _T: ...
    def __get__(self, obj: object, owner: type) -> Any:
        return self if obj is None else getattr(obj, self.slot)


class _Source(_Stored["bytes | os.PathLike[str]"]):
    """An attribute that holds a path, or bytes."""

    def __set__(self, obj: object, value: Source) -> None:
        if not isinstance(value, os.PathLike):
            value = b"" if value is None else as_bytes(value, self.name)
        setattr(obj, self.slot, value)


class _Text(_Stored[bytes]):
    """An attribute that holds bytes."""

    def __set__(self, obj: object, value: Data | None) -> None:
        setattr(obj, self.slot, b"" if value is None else as_bytes(value, self.name))


class TlsOpts:
    """What TLS on a connection, or on those that a listener accepts, should be like.

    Certificates and keys are given as a path (:class:`pathlib.Path`, read when the
    options are used) or as PEM or DER. Texts are stored as UTF-8 bytes, ``None`` as
    ``b""``.

    Args:
        ca: The certificates that the peer's has to lead to. On clients the default is
            the system's store; on servers they make certificates of clients required.
        cert: The own certificate, and in PEM behind it those that lead to the root's.
            Clients need one only where the server asks for it.
        key: Its private key; default: it stands in *cert*.
        name: On clients: whom the certificate has to be for, and the name that the server
            is told (:rfc:`6066`). Default: the host of the URL.
        skip_verification: Take any certificate. Anybody on the way can read along then.
        password: Of an encrypted *key*.
        min_version: ``"1.2"`` or ``"1.3"``; nothing older is spoken in any case.
        ciphers: Cipher suites for TLS 1.2 in OpenSSL's form, and names of those for 1.3
            (``"TLS_..."``), all separated by colons; on servers the most wanted first.
            Default: on servers AES-GCM and ChaCha20 with forward secrecy, nothing else; on
            clients OpenSSL's (``"DEFAULT"``).
        alpn: Protocols to offer or, on servers, to choose from (:rfc:`7301`), the most
            wanted first, as ``"http/1.1"``. A client that offers none of a server's is
            refused; one that offers nothing is not.
        client_auth: On servers: whether clients show a certificate: ``"none"``,
            ``"optional"`` or ``"required"``, and verified against *ca*. Default:
            ``"required"`` with *ca*, else ``"none"``.
        sni: On servers: the options for each server name that clients ask for, as a
            mapping (``"*.example.org"`` stands for any one label) or a function of the
            name. A name that is not in the mapping, or ``None`` from the function, gets
            these options; when the function raises, the client is refused.
        resumption: Whether later connections take up the session of an earlier one, which
            saves most of a handshake.

    Raises:
        TypeError: If a value is of the wrong type.
        ValueError: If *min_version*, *client_auth*, *ciphers* or *alpn* has a value it
            cannot have. What certificates and keys are worth is seen when they are used.
    """

    __slots__ = (
        "_ca",
        "_cert",
        "_key",
        "_name",
        "_password",
        "alpn",
        "ciphers",
        "client_auth",
        "min_version",
        "resumption",
        "skip_verification",
        "sni",
    )

    ca: _Source = _Source()
    cert: _Source = _Source()
    key: _Source = _Source()
    name: _Text = _Text()
    password: _Text = _Text()

    def __init__(
        self,
        ca: Source = None,
        cert: Source = None,
        key: Source = None,
        name: Data | None = None,
        skip_verification: bool = False,
        *,
        password: Data | None = None,
        min_version: str = "1.2",
        ciphers: str = "",
        alpn: Iterable[str] = (),
        client_auth: str | None = None,
        sni: Names | None = None,
        resumption: bool = True,
    ) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.name = name
        self.skip_verification: bool = skip_verification
        self.password = password
        self.min_version: str = min_version
        self.ciphers: str = ciphers
        self.alpn: tuple[str, ...] = (alpn,) if isinstance(alpn, str) else tuple(alpn)
        self.client_auth: str | None = client_auth
        self.sni: Names | None = sni
        self.resumption: bool = resumption
        settings(self)

    def __repr__(self) -> str:
        shown = []
        for name in ("ca", "cert", "key", "name", "password"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                shown.append(f"{name}={os.fspath(value)!r}")
            elif value:
                secret = name in ("key", "password")
                text = value.decode("utf-8", "replace") if name == "name" else "..."
                shown.append(f"{name}={'...' if secret else text}")
        if self.skip_verification:
            shown.append("skip_verification=True")
        return f"TlsOpts({', '.join(shown)})"


def settings(opts: TlsOpts) -> dict[str, Any]:
    """Check the attributes of *opts*, which may have been set one by one.

    Returns:
        Those that are no certificates, as ``struct mgx_tls_opts`` takes them.

    Raises:
        TypeError: If one is of the wrong type.
        ValueError: If one has a value it cannot have.
    """
    if opts.min_version not in VERSIONS:
        raise ValueError(f"min_version must be '1.2' or '1.3', not {opts.min_version!r}")
    if opts.client_auth not in CLIENT_AUTH:
        kinds = "'none', 'optional' or 'required'"
        raise ValueError(f"client_auth must be {kinds}, not {opts.client_auth!r}")
    if not isinstance(opts.ciphers, str):
        raise TypeError(f"ciphers must be str, not {type(opts.ciphers).__name__}")
    if _NOT_A_CIPHER.search(opts.ciphers):
        raise ValueError(f"ciphers must be names with colons between, not {opts.ciphers!r}")
    if opts.sni is not None and not callable(opts.sni) and not isinstance(opts.sni, Mapping):
        raise TypeError(f"sni must be a mapping or callable, not {type(opts.sni).__name__}")
    return {
        "ciphers": opts.ciphers.encode(),
        "alpn": b"".join(map(_protocol, opts.alpn)),
        "min_version": VERSIONS[opts.min_version],
        "client_auth": CLIENT_AUTH[opts.client_auth],
        "skip_verification": bool(opts.skip_verification),
        "no_tickets": not opts.resumption,
    }


def _protocol(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"alpn must be texts, not {type(name).__name__}")
    wire = name.encode()
    if not 1 <= len(wire) <= 255:
        raise ValueError(f"a name in alpn has 1 to 255 bytes, not {len(wire)}: {name!r}")
    return bytes([len(wire)]) + wire


def read_source(source: Source) -> bytes:
    """Return what *source* is, or what stands in the file that it names.

    Raises:
        OSError: If the file cannot be read.
    """
    if isinstance(source, os.PathLike):
        with open(source, "rb") as file:  # noqa: PTH123, any path-like object
            return file.read()
    assert isinstance(source, bytes)
    return source


def server_name_of(opts: Tls | None) -> bytes:
    """Return the server's name that *opts* say; ``b""``: the host of the URL."""
    if not isinstance(opts, TlsOpts):
        return b""
    return server_name(opts.name.decode("utf-8", "surrogateescape"))


def server_name(host: str) -> bytes:
    """Return a host as certificates name it: without dot at the end, and in ASCII.

    Raises:
        ValueError: If it cannot be the name of a host.
    """
    name = host.rstrip(".")
    if name.isascii():
        return name.encode()
    try:
        return name.encode("idna")
    except UnicodeError as exc:
        raise ValueError(f"{host!r} cannot be the name of a host: {exc}") from None


class TlsInfo:
    """What a TLS handshake came to, see ``Connection.tls_info()``.

    Attributes:
        version: ``"TLSv1.3"`` or ``"TLSv1.2"``.
        cipher: Name of the cipher suite, ``"TLS_AES_256_GCM_SHA384"``.
        alpn: The protocol that was agreed on; ``None``: none.
        resumed: Whether it took up an earlier session.
        server_name: The name that the client asked for; ``None``: it named none.
        peer_certificate: What the peer showed; ``None``: nothing. It was verified, unless
            :class:`TlsOpts` said otherwise.
    """

    __slots__ = ("alpn", "cipher", "peer_certificate", "resumed", "server_name", "version")

    def __init__(
        self,
        version: str,
        cipher: str,
        alpn: str | None,
        resumed: bool,
        server_name: str | None,
        peer_certificate: TlsCertificate | None,
    ) -> None:
        self.version: str = version
        self.cipher: str = cipher
        self.alpn: str | None = alpn
        self.resumed: bool = resumed
        self.server_name: str | None = server_name
        self.peer_certificate: TlsCertificate | None = peer_certificate

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"TlsInfo({values})"


_VERSION_NAMES = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}


def info_of(mgr: Any, number: int) -> TlsInfo | None:
    """Return what C knows of the TLS of a connection; ``None``: no handshake is done."""
    info = ffi.new("struct mgx_tls_info *")
    if lib.mgx_tls_info(mgr, number, info) < 0 or not info.is_ready:
        return None
    der = _peer_certificate(mgr, number) if info.has_cert else b""
    return TlsInfo(
        _VERSION_NAMES.get(info.version, hex(info.version)),
        _text(info.cipher),
        _text(info.alpn) or None,
        info.resumed,
        _text(info.name) or None,
        TlsCertificate(der) if der else None,
    )


def _text(chars: Any) -> str:
    text: str = ffi.string(chars).decode("utf-8", "backslashreplace")
    return text


def _peer_certificate(mgr: Any, number: int) -> bytes:
    size = 4096
    while True:
        buf = ffi.new("char[]", size)
        length: int = lib.mgx_tls_cert(mgr, number, buf, size)
        if length <= size:
            return ffi.buffer(buf, length)[:] if length > 0 else b""
        size = length
