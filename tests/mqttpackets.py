"""MQTT packets in the plainest way, from the OASIS texts of 3.1.1 and 5.0.

The model the property tests compare with, and what scripted peers speak. A packet is a
named tuple; :func:`encode` writes what it is told, also what is wrong, and
:func:`decode` accepts nothing that is not exactly right. Section numbers are those of
version 5.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Union

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)
WILL = 0  # not a packet, but it has properties of its own

Value = Union[int, str, bytes, tuple[str, str]]
Properties = Sequence[tuple[int, Value]]

BYTE, SHORT, INT, VARINT = "byte", "short", "int", "varint"
STRING, BINARY, PAIR = "string", "binary", "pair"
_ACKS = (PUBACK, PUBREC, PUBREL, PUBCOMP)
_REASONED = (CONNACK, *_ACKS, SUBACK, UNSUBACK, DISCONNECT, AUTH)
# 2.2.2.2: by identifier the name, the type, and where it may stand.
PROPERTIES: dict[int, tuple[str, str, tuple[int, ...]]] = {
    0x01: ("payload_format_indicator", BYTE, (PUBLISH, WILL)),
    0x02: ("message_expiry_interval", INT, (PUBLISH, WILL)),
    0x03: ("content_type", STRING, (PUBLISH, WILL)),
    0x08: ("response_topic", STRING, (PUBLISH, WILL)),
    0x09: ("correlation_data", BINARY, (PUBLISH, WILL)),
    0x0B: ("subscription_identifier", VARINT, (PUBLISH, SUBSCRIBE)),
    0x11: ("session_expiry_interval", INT, (CONNECT, CONNACK, DISCONNECT)),
    0x12: ("assigned_client_identifier", STRING, (CONNACK,)),
    0x13: ("server_keep_alive", SHORT, (CONNACK,)),
    0x15: ("authentication_method", STRING, (CONNECT, CONNACK, AUTH)),
    0x16: ("authentication_data", BINARY, (CONNECT, CONNACK, AUTH)),
    0x17: ("request_problem_information", BYTE, (CONNECT,)),
    0x18: ("will_delay_interval", INT, (WILL,)),
    0x19: ("request_response_information", BYTE, (CONNECT,)),
    0x1A: ("response_information", STRING, (CONNACK,)),
    0x1C: ("server_reference", STRING, (CONNACK, DISCONNECT)),
    0x1F: ("reason_string", STRING, _REASONED),
    0x21: ("receive_maximum", SHORT, (CONNECT, CONNACK)),
    0x22: ("topic_alias_maximum", SHORT, (CONNECT, CONNACK)),
    0x23: ("topic_alias", SHORT, (PUBLISH,)),
    0x24: ("maximum_qos", BYTE, (CONNACK,)),
    0x25: ("retain_available", BYTE, (CONNACK,)),
    0x26: (
        "user_property",
        PAIR,
        (CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE, *_REASONED),
    ),
    0x27: ("maximum_packet_size", INT, (CONNECT, CONNACK)),
    0x28: ("wildcard_subscription_available", BYTE, (CONNACK,)),
    0x29: ("subscription_identifier_available", BYTE, (CONNACK,)),
    0x2A: ("shared_subscription_available", BYTE, (CONNACK,)),
}
_NOT_ZERO = (0x0B, 0x21, 0x23, 0x27)
_REPEATED = (0x26,)  # 0x0B too, in a PUBLISH
_LARGEST = 268_435_455  # of a variable byte integer, and so of a packet's remaining length


class Malformed(Exception):
    """The bytes are no packet, or one that breaks the protocol."""


class Will(NamedTuple):
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = ()


class Connect(NamedTuple):
    client_id: str = ""
    clean: bool = True
    keepalive: int = 60
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = ()
    version: int = 4


class Connack(NamedTuple):
    code: int = 0
    session_present: bool = False
    properties: Properties = ()


class Publish(NamedTuple):
    topic: str
    payload: bytes = b""
    qos: int = 0
    id: int = 0
    retain: bool = False
    dup: bool = False
    properties: Properties = ()


class Ack(NamedTuple):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    cmd: int
    id: int
    code: int = 0
    properties: Properties = ()


class Subscribe(NamedTuple):
    id: int
    filters: Sequence[tuple[str, int]]  # with the options byte
    properties: Properties = ()


class Suback(NamedTuple):
    id: int
    codes: Sequence[int]
    properties: Properties = ()


class Unsubscribe(NamedTuple):
    id: int
    filters: Sequence[str]
    properties: Properties = ()


class Unsuback(NamedTuple):
    id: int
    codes: Sequence[int] = ()  # none in 3.1.1
    properties: Properties = ()


class Pingreq(NamedTuple):
    pass


class Pingresp(NamedTuple):
    pass


class Disconnect(NamedTuple):
    code: int = 0
    properties: Properties = ()


class Auth(NamedTuple):
    code: int = 0
    properties: Properties = ()


Packet = Union[
    Connect,
    Connack,
    Publish,
    Ack,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
]
_TYPES: dict[type, int] = {
    Connect: CONNECT,
    Connack: CONNACK,
    Publish: PUBLISH,
    Subscribe: SUBSCRIBE,
    Suback: SUBACK,
    Unsubscribe: UNSUBSCRIBE,
    Unsuback: UNSUBACK,
    Pingreq: PINGREQ,
    Pingresp: PINGRESP,
    Disconnect: DISCONNECT,
    Auth: AUTH,
}


def kind(packet: Packet) -> int:
    """Return the packet's number."""
    return packet.cmd if isinstance(packet, Ack) else _TYPES[type(packet)]


# -- writing ----------------------------------------------------------------


def varint(value: int) -> bytes:
    """Return a variable byte integer, 1.5.5."""
    out = b""
    while True:
        value, low = divmod(value, 128)
        out += bytes([low | (128 if value else 0)])
        if not value:
            return out


def binary(data: bytes) -> bytes:
    """Return bytes with their length in front, 1.5.6."""
    return len(data).to_bytes(2, "big") + data


def string(text: str) -> bytes:
    """Return a text with its length in front, 1.5.4; surrogates stand for broken UTF-8."""
    return binary(text.encode("utf-8", "surrogateescape"))


def properties_block(properties: Properties) -> bytes:
    """Return properties with their length in front, 2.2.2."""
    out = b""
    for number, value in properties:
        form = PROPERTIES[number][1] if number in PROPERTIES else BYTE
        out += bytes([number])
        if isinstance(value, tuple):
            out += string(value[0]) + string(value[1])
        elif isinstance(value, str):
            out += string(value)
        elif isinstance(value, bytes):
            out += binary(value)
        elif form == VARINT:
            out += varint(value)
        else:
            out += value.to_bytes({BYTE: 1, SHORT: 2, INT: 4}[form], "big")
    return varint(len(out)) + out


def framed(first: int, body: bytes) -> bytes:
    """Return a packet: its first byte, the length, the rest."""
    return bytes([first]) + varint(len(body)) + body


def encode(packet: Packet, version: int = 4) -> bytes:
    """Return *packet* as it goes over the wire."""
    first = kind(packet) << 4
    if isinstance(packet, Publish):
        first |= packet.dup << 3 | packet.qos << 1 | packet.retain
    elif kind(packet) in (PUBREL, SUBSCRIBE, UNSUBSCRIBE):
        first |= 2
    return framed(first, _body(packet, version))


def _body(packet: Packet, version: int) -> bytes:
    if isinstance(packet, Connect):
        return _connect_body(packet)
    if isinstance(packet, (Pingreq, Pingresp)):
        return b""
    five = properties_block(packet.properties) if version == 5 else b""
    if isinstance(packet, Connack):
        return bytes([packet.session_present, packet.code]) + five
    if isinstance(packet, Publish):
        number = packet.id.to_bytes(2, "big") if packet.qos else b""
        return string(packet.topic) + number + five + packet.payload
    if isinstance(packet, (Disconnect, Auth)):
        if version == 5 and (packet.code or packet.properties):
            return bytes([packet.code]) + five
        return b""
    number = packet.id.to_bytes(2, "big")
    if isinstance(packet, Ack):
        if version == 5 and (packet.code or packet.properties):
            return number + bytes([packet.code]) + (five if packet.properties else b"")
        return number
    if isinstance(packet, Subscribe):
        return number + five + b"".join(string(f) + bytes([o]) for f, o in packet.filters)
    if isinstance(packet, Unsubscribe):
        return number + five + b"".join(map(string, packet.filters))
    return number + five + bytes(packet.codes)


def _connect_body(packet: Connect) -> bytes:
    will = packet.will
    flags = packet.clean << 1
    if will is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
    flags |= (packet.username is not None) << 7 | (packet.password is not None) << 6
    five = packet.version == 5
    body = string("MQTT") + bytes([packet.version, flags]) + packet.keepalive.to_bytes(2, "big")
    body += properties_block(packet.properties) if five else b""
    body += string(packet.client_id)
    if will is not None:
        body += properties_block(will.properties) if five else b""
        body += string(will.topic) + binary(will.payload)
    if packet.username is not None:
        body += string(packet.username)
    if packet.password is not None:
        body += binary(packet.password)
    return body


# -- reading ----------------------------------------------------------------


class Reader:
    """A packet's body, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise Malformed(f"{count} bytes wanted, {len(self.data)} there")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if shift and not byte:
                    raise Malformed("a variable byte integer longer than needed")
                return value
        raise Malformed("a variable byte integer of more than 4 bytes")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def string(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as exc:
            raise Malformed(str(exc)) from None
        if "\0" in text:
            raise Malformed("U+0000")
        return text

    def bit(self) -> bool:
        value = self.number(1)
        if value > 1:
            raise Malformed(f"{value} instead of 0 or 1")
        return value == 1

    def packet_id(self) -> int:
        number = self.number(2)
        if not number:
            raise Malformed("packet identifier 0")
        return number

    def properties(self, place: int) -> tuple[tuple[int, Value], ...]:
        block = Reader(self.take(self.varint()))
        found: list[tuple[int, Value]] = []
        seen = set()
        while block.data:
            number = block.varint()
            if number not in PROPERTIES or place not in PROPERTIES[number][2]:
                raise Malformed(f"property {number:#x} in {place}")
            repeats = number in _REPEATED or (number == 0x0B and place == PUBLISH)
            if number in seen and not repeats:
                raise Malformed(f"property {number:#x} twice")
            seen.add(number)
            found.append((number, block.property_value(number)))
        if 0x16 in seen and 0x15 not in seen:
            raise Malformed("authentication data without a method")
        return tuple(found)

    def property_value(self, number: int) -> Value:
        form = PROPERTIES[number][1]
        if form == PAIR:
            return self.string(), self.string()
        if form == STRING:
            text = self.string()
            if number == 0x08 and not is_topic(text):
                raise Malformed(f"response topic {text!r}")
            return text
        if form == BINARY:
            return self.binary()
        if form == BYTE:
            return int(self.bit())  # all of them are 0 or 1
        value = self.varint() if form == VARINT else self.number(2 if form == SHORT else 4)
        if not value and number in _NOT_ZERO:
            raise Malformed(f"property {number:#x} is 0")
        return value

    def end(self) -> None:
        if self.data:
            raise Malformed(f"{len(self.data)} bytes too many")


def is_topic(text: str) -> bool:
    """Whether *text* may be published to, 4.7."""
    return text != "" and "\0" not in text and "+" not in text and "#" not in text


def is_filter(text: str) -> bool:
    """Whether *text* may be subscribed to, 4.7 and 4.8.2."""
    levels = text.split("/")
    if levels[0] == "$share" and len(levels) > 1:
        if len(levels) < 3 or levels[1] == "" or any(c in levels[1] for c in "+#"):
            return False
        return is_filter("/".join(levels[2:]))
    if text == "" or "\0" in text:
        return False
    return all(
        level in ("+", "#") or not any(c in level for c in "+#") for level in levels
    ) and all(level != "#" for level in levels[:-1])


def matches(pattern: str, topic: str) -> bool:
    """Whether a message to *topic* goes to a subscription to *pattern*, 4.7."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[0] == "$share" and len(wanted) > 2:
        wanted = wanted[2:]
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    while wanted and levels and wanted[0] in ("+", levels[0]):
        wanted, levels = wanted[1:], levels[1:]
    return wanted == ["#"] or (not wanted and not levels)


def decode(wire: bytes, version: int = 4) -> tuple[Packet, bytes] | None:
    """Return the first packet and what is behind it, ``None`` when it is not whole.

    Raises:
        Malformed: If there is no such packet, also when more bytes could still come.
    """
    if not wire:
        return None
    length = 0
    for i, byte in enumerate(wire[1:5]):
        length |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte and version == 5:  # 3.1.1 does not forbid it
                raise Malformed("a length longer than needed")
            end = 2 + i + length
            if len(wire) < end:
                return None
            return _packet(wire[0], Reader(wire[2 + i : end]), version), wire[end:]
    if len(wire) >= 5:
        raise Malformed("a length of more than 4 bytes")
    return None


def decode_all(wire: bytes, version: int = 4) -> list[Packet]:
    """Return the packets that *wire* consists of."""
    found = []
    while wire:
        one = decode(wire, version)
        assert one is not None, f"cut off: {wire!r}"
        packet, wire = one
        found.append(packet)
    return found


def _packet(first: int, body: Reader, version: int) -> Packet:
    cmd, flags = first >> 4, first & 15
    if cmd != PUBLISH and flags != (2 if cmd in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0):
        raise Malformed(f"flags {flags} of packet {cmd}")
    packet = _read(cmd, flags, body, version)
    body.end()
    return packet


def _read(cmd: int, flags: int, body: Reader, version: int) -> Packet:
    five = version == 5
    if cmd == CONNECT:
        return _read_connect(body)
    if cmd == PUBLISH:
        return _read_publish(flags, body, five)
    if cmd == PINGREQ:
        return Pingreq()
    if cmd == PINGRESP:
        return Pingresp()
    if cmd == CONNACK:
        present, code = body.bit(), body.number(1)
        if (present and code) or (not five and code > 5):
            raise Malformed(f"code {code}, session present {present}")
        return Connack(code, present, body.properties(cmd) if five else ())
    if cmd == DISCONNECT:
        code = body.number(1) if five and body.data else 0
        return Disconnect(code, body.properties(cmd) if five and body.data else ())
    if cmd == AUTH and five:
        code = body.number(1) if body.data else 0
        return Auth(code, body.properties(cmd) if body.data else ())
    if cmd not in (*_ACKS, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK):
        raise Malformed(f"packet {cmd}")
    number = body.packet_id()
    if cmd in _ACKS:
        code = body.number(1) if five and body.data else 0
        return Ack(cmd, number, code, body.properties(cmd) if five and body.data else ())
    properties = body.properties(cmd) if five else ()
    if cmd == SUBSCRIBE:
        return Subscribe(number, _read_filters(body, five), properties)
    if cmd == UNSUBSCRIBE:
        names = []
        while body.data or not names:
            names.append(_filter(body))
        return Unsubscribe(number, tuple(names), properties)
    codes = tuple(body.take(len(body.data)))
    if cmd == SUBACK:
        if not codes or (not five and not {*codes} <= {0, 1, 2, 0x80}):
            raise Malformed(f"codes {codes}")
        return Suback(number, codes, properties)
    if five != bool(codes):
        raise Malformed(f"codes {codes}")
    return Unsuback(number, codes, properties)


def _filter(body: Reader) -> str:
    text = body.string()
    if not is_filter(text):
        raise Malformed(f"filter {text!r}")
    return text


def _read_filters(body: Reader, five: bool) -> tuple[tuple[str, int], ...]:
    found = []
    while body.data or not found:
        text, options = _filter(body), body.number(1)
        if options & 3 == 3 or options & 0x30 == 0x30 or options & (0xC0 if five else 0xFC):
            raise Malformed(f"options {options:#x}")
        if options & 4 and text.startswith("$share/"):
            raise Malformed("no local on a shared subscription")
        found.append((text, options))
    return tuple(found)


def _read_publish(flags: int, body: Reader, five: bool) -> Publish:
    dup, qos, retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
    if qos == 3 or (dup and not qos):
        raise Malformed(f"flags {flags} of a PUBLISH")
    topic = body.string()
    number = body.packet_id() if qos else 0
    properties = body.properties(PUBLISH) if five else ()
    aliased = topic == "" and any(number == 0x23 for number, _ in properties)
    if not aliased and not is_topic(topic):
        raise Malformed(f"topic {topic!r}")
    return Publish(topic, body.take(len(body.data)), qos, number, retain, dup, properties)


def _read_connect(body: Reader) -> Connect:
    name, version, flags = body.string(), body.number(1), body.number(1)
    if name != "MQTT" or version not in (4, 5) or flags & 1:
        raise Malformed(f"protocol {name!r} {version}, flags {flags:#x}")
    has_will, qos, retain = bool(flags & 4), flags >> 3 & 3, bool(flags & 0x20)
    if qos == 3 or (not has_will and (qos or retain)):
        raise Malformed(f"flags {flags:#x}")
    if version == 4 and flags & 0xC0 == 0x40:
        raise Malformed("a password without a user name")
    five = version == 5
    keepalive = body.number(2)
    properties = body.properties(CONNECT) if five else ()
    client_id = body.string()
    will = None
    if has_will:
        will_properties = body.properties(WILL) if five else ()
        topic = body.string()
        if not is_topic(topic):
            raise Malformed(f"will topic {topic!r}")
        will = Will(topic, body.binary(), qos, retain, will_properties)
    username = body.string() if flags & 0x80 else None
    password = body.binary() if flags & 0x40 else None
    clean = bool(flags & 2)
    return Connect(client_id, clean, keepalive, username, password, will, properties, version)
