"""Certificates read for display: as the `cryptography` package reads them, or ValueError."""

from __future__ import annotations

import datetime
import ipaddress
from functools import cache
from typing import Any

import pytest
from certificates import issue
from hypothesis import example, given
from hypothesis import strategies as st

from mongoose_py import TlsCertificate

FIELDS = ("subject", "issuer", "serial_number", "not_before", "not_after", "alt_names")
UTC = datetime.timezone.utc


def read(der: bytes) -> list[Any]:
    """Return every field, ValueError in place of one that cannot be read."""
    found = []
    for name in FIELDS:
        try:
            found.append(getattr(TlsCertificate(der), name))
        except ValueError as exc:
            found.append(type(exc))
    return found


@cache
def good() -> bytes:
    return issue(cn="a.example", names=("DNS:a.example", "IP:192.0.2.1", "email:x@a.example")).der


def test_a_certificate_tells_whom_it_is_for_and_how_long() -> None:
    cert = TlsCertificate(good())
    assert cert.subject == (("O", "Tests"), ("CN", "a.example"))
    assert cert.issuer == cert.subject
    assert cert.alt_names == (("DNS", "a.example"), ("IP", "192.0.2.1"), ("email", "x@a.example"))
    assert cert.not_after - cert.not_before == 31 * 86400
    assert cert.serial_number > 0
    assert repr(cert) == "<TlsCertificate O=Tests, CN=a.example>"


def test_a_certificate_without_alternative_names_has_none() -> None:
    assert TlsCertificate(issue(names=()).der).alt_names == ()


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x30\x80\x00\x00")
@example(b"\x30\x84\xff\xff\xff\xff")
def test_garbage_gives_a_value_or_valueerror(data: bytes) -> None:
    read(data)
    repr(TlsCertificate(data))


@given(st.data())
def test_a_certificate_with_changed_bytes_gives_values_or_valueerror(data: st.DataObject) -> None:
    der = bytearray(good())
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(der))
    repr(TlsCertificate(bytes(der)))


@given(st.data())
def test_every_proper_prefix_is_refused(data: st.DataObject) -> None:
    der = good()[: data.draw(st.integers(0, len(good()) - 1))]
    assert read(der) == [ValueError] * len(FIELDS)


@cache
def signing_key() -> Any:
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    return ec.generate_private_key(ec.SECP256R1())


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
alternatives = st.lists(
    st.one_of(
        st.tuples(st.just("DNS"), st.lists(labels, min_size=1, max_size=4).map(".".join)),
        st.tuples(st.just("IP"), st.ip_addresses().map(str)),
        st.tuples(st.just("email"), labels.map("x@{}.example".format)),
        st.tuples(st.just("URI"), labels.map("https://{}.example/".format)),
    ),
    max_size=6,
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
times = st.datetimes(datetime.datetime(1960, 1, 1), datetime.datetime(2200, 1, 1))


@given(texts, texts, st.integers(1, 2**159 - 1), alternatives, times, st.timedeltas(
    datetime.timedelta(seconds=1), datetime.timedelta(days=40000)
))  # fmt: skip
@example(
    "a", "b", 1, [], datetime.datetime(2049, 12, 31, 23, 59, 59), datetime.timedelta(seconds=1)
)
@example("a", "b", 128, [], datetime.datetime(1999, 12, 31), datetime.timedelta(days=1))
def test_fields_are_read_as_another_library_writes_them(
    organization: str,
    cn: str,
    serial: int,
    names: list[tuple[str, str]],
    begin: datetime.datetime,
    lasts: datetime.timedelta,
) -> None:
    x509 = pytest.importorskip("cryptography.x509")
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    begin = begin.replace(microsecond=0)
    end = (begin + lasts).replace(microsecond=0) + datetime.timedelta(seconds=1)
    oids = x509.NameOID
    subject = x509.Name(
        [
            x509.NameAttribute(oids.ORGANIZATION_NAME, organization),
            x509.NameAttribute(oids.COMMON_NAME, cn),
            x509.NameAttribute(oids.POSTAL_CODE, "1"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(oids.COUNTRY_NAME, "DE")]))
        .public_key(signing_key().public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        kinds = {
            "DNS": x509.DNSName,
            "IP": lambda text: x509.IPAddress(ipaddress.ip_address(text)),
            "email": x509.RFC822Name,
            "URI": x509.UniformResourceIdentifier,
        }
        general = [kinds[kind](text) for kind, text in names]
        general.insert(0, x509.RegisteredID(oids.COMMON_NAME))  # of no interest to anybody
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    made = builder.sign(signing_key(), hashes.SHA256())
    cert = TlsCertificate(made.public_bytes(forms.Encoding.DER))
    assert cert.subject == (("O", organization), ("CN", cn), ("2.5.4.17", "1"))
    assert cert.issuer == (("C", "DE"),)
    assert cert.serial_number == serial
    assert cert.alt_names == tuple(names)
    assert cert.not_before == begin.replace(tzinfo=UTC).timestamp()
    assert cert.not_after == end.replace(tzinfo=UTC).timestamp()
