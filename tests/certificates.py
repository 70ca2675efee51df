"""A small certificate authority on the ``openssl`` command, for good and for bad certificates.

Nothing of it is checked in: what a run needs is made in a folder of its own, once.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from mongoose_py import TlsOpts

OPENSSL = shutil.which("openssl")
DAY = 86400
LOCAL = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")
KEYS = {
    "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "rsa": ("rsa:2048",),
    "ed25519": ("ed25519",),
}
CONFIG = """
[ca]
default_ca = authority
[authority]
database = {folder}/index.txt
new_certs_dir = {folder}
default_md = default
rand_serial = yes
policy = any
unique_subject = no
[any]
commonName = optional
organizationName = optional
[req]
distinguished_name = name
[name]
[extensions]
{extensions}
"""


class Pair(NamedTuple):
    """A certificate, with what is needed to use it."""

    cert: Path  # PEM: the certificate and, where there are any, intermediate ones
    key: Path  # PEM, not encrypted

    @property
    def opts(self) -> TlsOpts:
        """Return the options for a server with this certificate."""
        return TlsOpts(cert=self.cert, key=self.key)

    @property
    def der(self) -> bytes:
        """Return the (first) certificate in DER."""
        return openssl("x509", "-in", self.cert, "-outform", "DER")

    def bundle(self, *others: Pair) -> Pair:
        """Return the same with the certificates of *others* behind its own."""
        cert = self.cert.with_name("chain.pem")
        cert.write_bytes(b"".join(pair.cert.read_bytes() for pair in (self, *others)))
        return Pair(cert, self.key)


def openssl(*args: object, stdin: bytes = b"") -> bytes:
    """Run an ``openssl`` command and return its output."""
    if OPENSSL is None:
        pytest.skip("needs the openssl command")
    done = subprocess.run([OPENSSL, *map(str, args)], input=stdin, capture_output=True)
    assert done.returncode == 0, (args, done.stderr.decode())
    return done.stdout


def issue(
    issuer: Pair | None = None,
    *,
    cn: str = "localhost",
    names: tuple[str, ...] = LOCAL,
    key: str = "p256",
    ca: bool = False,
    usage: str = "",
    crl: str = "",
    days: tuple[float, float] = (-1, 30),
) -> Pair:
    """Return a new certificate.

    Args:
        issuer: Who signs it; ``None``: itself.
        cn: Common name of its subject.
        names: Its subjectAltName, in OpenSSL's form; none: it has none.
        key: One of :data:`KEYS`.
        ca: Whether it may sign others.
        usage: Its extendedKeyUsage.
        crl: URL of a list of those that are revoked.
        days: When it begins and ends to be valid, from now.
    """
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    extensions = [f"basicConstraints = critical, CA:{'TRUE' if ca else 'FALSE'}"]
    extensions.append(f"keyUsage = critical, {'keyCertSign' if ca else 'digitalSignature'}")
    extensions.append("subjectKeyIdentifier = hash")
    if issuer is not None:
        extensions.append("authorityKeyIdentifier = keyid")
    if names:
        extensions.append("subjectAltName = " + ", ".join(names))
    if usage:
        extensions.append(f"extendedKeyUsage = {usage}")
    if crl:
        extensions.append(f"crlDistributionPoints = URI:{crl}")
    config = folder / "openssl.cnf"
    config.write_text(CONFIG.format(folder=folder, extensions="\n".join(extensions)))
    (folder / "index.txt").touch()
    made = Pair(folder / "cert.pem", folder / "key.pem")
    request = folder / "request.pem"
    algorithm, *options = KEYS[key]
    openssl(
        *("req", "-new", "-nodes", "-config", config, "-subj", f"/O=Tests/CN={cn}"),
        *("-newkey", algorithm, *options, "-keyout", made.key, "-out", request),
    )
    begin, end = [
        time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * DAY)) for day in days
    ]
    signer = ("-selfsign",) if issuer is None else ("-cert", issuer.cert)
    openssl(
        *("ca", "-batch", "-notext", "-preserveDN", "-config", config, *signer),
        *("-keyfile", (issuer or made).key, "-extensions", "extensions", "-startdate", begin),
        *("-enddate", end, "-in", request, "-out", made.cert),
    )
    return made


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="certificates-")
    _kept.append(folder)
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the run ends


@cache
def root() -> Pair:
    """Return the authority that the tests trust."""
    return issue(cn="Tests Root", names=(), ca=True)


@cache
def stranger() -> Pair:
    """Return an authority that nobody trusts."""
    return issue(cn="Unknown Root", names=(), ca=True)


@cache
def intermediate() -> Pair:
    """Return an authority below the trusted one."""
    return issue(root(), cn="Tests Intermediate", names=(), ca=True)


@cache
def localhost(key: str = "p256") -> Pair:
    """Return a good certificate for the loopback."""
    return issue(root(), key=key)


@cache
def client(cn: str = "client") -> Pair:
    """Return a certificate for a client."""
    return issue(root(), cn=cn, names=(), usage="clientAuth")


def trusting(**more: object) -> TlsOpts:
    """Return options for a client that trusts the tests' root, and *more*."""
    return TlsOpts(ca=root().cert, **more)  # type: ignore[arg-type]
