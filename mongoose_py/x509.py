"""What stands in an X.509 certificate (:rfc:`5280`), for display and for decisions.

Whether a certificate is to be trusted is decided by OpenSSL before this is asked. Read
here are names and dates, and only when they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator

# Tags of X.690.
_BOOLEAN, _INTEGER, _OCTETS, _OID = 0x01, 0x02, 0x04, 0x06
_UTC_TIME, _GENERAL_TIME, _SEQUENCE, _SET = 0x17, 0x18, 0x30, 0x31
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_SUBJECT_ALT_NAME = "2.5.29.17"
_ENCODINGS = {0x0C: "utf-8", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}  # all others: ISO 8859-1
_SHORT = {  # RFC 4514, section 3, and what is usual beside it
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "1.2.840.113549.1.9.1": "emailAddress",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}

_KINDS = {0x81: "email", 0x82: "DNS", 0x86: "URI", 0x87: "IP"}  # of GeneralName
_LONGEST_OID = 64  # bytes

Name = tuple[tuple[str, str], ...]


class TlsCertificate:
    """A certificate of a peer, see :attr:`TlsInfo.peer_certificate`.

    Attributes:
        der: The certificate as it came, in DER.
    """

    __slots__ = ("der",)

    def __init__(self, der: bytes) -> None:
        self.der: bytes = der

    def __repr__(self) -> str:
        try:
            subject = ", ".join(f"{key}={value}" for key, value in self.subject)
        except ValueError:
            subject = f"{len(self.der)} bytes"
        return f"<TlsCertificate {subject}>"

    @property
    def subject(self) -> Name:
        """Pairs of attribute and value, in order: ``(("O", "Example"), ("CN", "a.example"))``.

        Attributes without a usual short name have their dotted number.

        Raises:
            ValueError: If it cannot be read; so with the other attributes.
        """
        return _name(self._field(4))

    @property
    def issuer(self) -> Name:
        """Who signed it, in the form of :attr:`subject`."""
        return _name(self._field(2))

    @property
    def serial_number(self) -> int:
        """The number its issuer gave it."""
        return int.from_bytes(_content(self._field(0), _INTEGER), "big", signed=True)

    @property
    def not_before(self) -> int:
        """When it becomes valid, in seconds since 1970 (UTC)."""
        return _time(self._validity()[0])

    @property
    def not_after(self) -> int:
        """When it expires, in seconds since 1970 (UTC)."""
        return _time(self._validity()[1])

    @property
    def alt_names(self) -> Name:
        """Pairs of kind and value: whom it is for (:rfc:`5280`, section 4.2.1.6).

        The kinds are ``"DNS"``, ``"IP"``, ``"email"`` and ``"URI"``; others are left out.
        """
        for tag, content in self._fields():
            if tag == _EXTENSIONS:
                return _alt_names(_content(_only(content), _SEQUENCE))
        return ()

    def _fields(self) -> list[tuple[int, bytes]]:
        """Return the parts of the signed certificate, from its serial number on."""
        whole = _content(_only(self.der), _SEQUENCE)
        signed = _content(_at(list(_each(whole)), 0), _SEQUENCE)
        fields = list(_each(signed))
        return fields[1:] if fields and fields[0][0] == _VERSION else fields

    def _field(self, index: int) -> tuple[int, bytes]:
        return _at(self._fields(), index)

    def _validity(self) -> list[tuple[int, bytes]]:
        times = list(_each(_content(self._field(3), _SEQUENCE)))
        if len(times) != 2:
            raise ValueError(f"a validity has two times, not {len(times)}")
        return times


def key_label(der: bytes) -> str:
    """Return what stands behind ``BEGIN`` when this private key is written as PEM.

    Raises:
        ValueError: If it is none of the usual forms.
    """
    tags = [tag for tag, _ in _each(_content(_only(der), _SEQUENCE))]
    if tags[:2] == [_INTEGER, _SEQUENCE]:
        return "PRIVATE KEY"  # RFC 5958
    if tags[:2] == [_SEQUENCE, _OCTETS]:
        return "ENCRYPTED PRIVATE KEY"
    if tags[:2] == [_INTEGER, _OCTETS]:
        return "EC PRIVATE KEY"  # RFC 5915
    if tags == [_INTEGER] * 9:
        return "RSA PRIVATE KEY"  # RFC 8017
    raise ValueError("not a private key")


def _each(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each value in *data*; strict DER of definite lengths."""
    at = 0
    while at < len(data):
        if len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            raise ValueError(f"no value of DER at byte {at}")
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or len(data) - at < count:
                raise ValueError(f"no length of DER at byte {at - 1}")
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if len(data) - at < size:
            raise ValueError(f"{size} bytes announced, {len(data) - at} there")
        yield tag, data[at : at + size]
        at += size


def _only(data: bytes) -> tuple[int, bytes]:
    values = list(_each(data))
    if len(values) != 1:
        raise ValueError(f"one value wanted, {len(values)} there")
    return values[0]


def _at(values: list[tuple[int, bytes]], index: int) -> tuple[int, bytes]:
    if index >= len(values):
        raise ValueError(f"{index + 1} values wanted, {len(values)} there")
    return values[index]


def _content(value: tuple[int, bytes], tag: int) -> bytes:
    if value[0] != tag:
        raise ValueError(f"tag {tag:#x} wanted, {value[0]:#x} there")
    return value[1]


def _name(value: tuple[int, bytes]) -> Name:
    pairs = []
    for relative in _each(_content(value, _SEQUENCE)):
        for attribute in _each(_content(relative, _SET)):
            parts = list(_each(_content(attribute, _SEQUENCE)))
            oid = _oid(_content(_at(parts, 0), _OID))
            tag, text = _at(parts, 1)
            pairs.append((_SHORT.get(oid, oid), _text(tag, text)))
    return tuple(pairs)


def _text(tag: int, content: bytes) -> str:
    return content.decode(_ENCODINGS.get(tag, "iso-8859-1"), "replace")


def _oid(content: bytes) -> str:
    if len(content) > _LONGEST_OID:
        raise ValueError(f"an object identifier of {len(content)} bytes")
    numbers = [0]
    for byte in content:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:-1]]))


def _time(value: tuple[int, bytes]) -> int:
    from calendar import timegm
    from time import strptime

    tag, content = value
    if tag not in (_UTC_TIME, _GENERAL_TIME):
        raise ValueError(f"a time wanted, tag {tag:#x} there")
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280, section 4.1.2.5.1
        text = ("19" if text[:2] >= "50" else "20") + text
    if len(text) != 15:
        raise ValueError(f"not a time: {text!r}")
    return timegm(strptime(text, "%Y%m%d%H%M%SZ"))


def _alt_names(extensions: bytes) -> Name:
    for extension in _each(extensions):
        parts = list(_each(_content(extension, _SEQUENCE)))
        if _oid(_content(_at(parts, 0), _OID)) == _SUBJECT_ALT_NAME:
            critical = _at(parts, 1)[0] == _BOOLEAN
            names = _content(_only(_content(_at(parts, 1 + critical), _OCTETS)), _SEQUENCE)
            return tuple([_alt_name(*name) for name in _each(names) if name[0] in _KINDS])
    return ()


def _alt_name(tag: int, content: bytes) -> tuple[str, str]:
    if _KINDS[tag] == "IP":
        from ipaddress import ip_address

        return "IP", str(ip_address(content))
    return _KINDS[tag], content.decode("ascii", "backslashreplace")
