"""MQTT messages as handlers see them, and the parts of packets that Python writes.

The C core frames, checks, acknowledges and keeps sessions (OASIS MQTT 3.1.1 and 5.0).
Here is what touches Python objects: a view on a received packet that decodes a field
when it is asked for, and the properties, filters and wills that a caller's values
become. Section numbers are those of version 5.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import TYPE_CHECKING, Any, Union

from mongoose_py._args import as_bytes
from mongoose_py._mongoose_cffi import ffi, lib

if TYPE_CHECKING:
    from typing import TypedDict

    class MqttProperty(TypedDict):
        """A property as :meth:`MqttMessage.properties` gives it."""

        id: int
        iv: int
        key: str
        val: str


Properties = Union[Mapping[str, object], Iterable[tuple[str, object]]]
"""Names as in the specification, and values: ``{"content_type": "text/plain"}``."""
Filters = Union[str, Iterable[Union[str, tuple[str, int]]]]
"""A topic filter, or several, each alone or with its QoS."""

MQTT_PROP_TYPE_BYTE: int = lib.MQTT_PROP_TYPE_BYTE
"""A number of one byte, in ``iv``."""
MQTT_PROP_TYPE_STRING: int = lib.MQTT_PROP_TYPE_STRING
"""A text, in ``val``."""
MQTT_PROP_TYPE_STRING_PAIR: int = lib.MQTT_PROP_TYPE_STRING_PAIR
"""A name and a text, in ``key`` and ``val``."""
MQTT_PROP_TYPE_BINARY_DATA: int = lib.MQTT_PROP_TYPE_BINARY_DATA
"""Bytes, in ``val``."""
MQTT_PROP_TYPE_VARIABLE_INT: int = lib.MQTT_PROP_TYPE_VARIABLE_INT
"""A number of one to four bytes, in ``iv``."""
MQTT_PROP_TYPE_INT: int = lib.MQTT_PROP_TYPE_INT
"""A number of four bytes, in ``iv``."""
MQTT_PROP_TYPE_SHORT: int = lib.MQTT_PROP_TYPE_SHORT
"""A number of two bytes, in ``iv``."""

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

_USER_PROPERTY, _SUBSCRIPTION_IDENTIFIER = 0x26, 0x0B  # may come more than once
SESSION_EXPIRY = 0x11
# Identifier, name and type of each property, 2.2.2.2.
_PROPERTIES = (
    (0x01, "payload_format_indicator", MQTT_PROP_TYPE_BYTE),
    (0x02, "message_expiry_interval", MQTT_PROP_TYPE_INT),
    (0x03, "content_type", MQTT_PROP_TYPE_STRING),
    (0x08, "response_topic", MQTT_PROP_TYPE_STRING),
    (0x09, "correlation_data", MQTT_PROP_TYPE_BINARY_DATA),
    (_SUBSCRIPTION_IDENTIFIER, "subscription_identifier", MQTT_PROP_TYPE_VARIABLE_INT),
    (SESSION_EXPIRY, "session_expiry_interval", MQTT_PROP_TYPE_INT),
    (0x12, "assigned_client_identifier", MQTT_PROP_TYPE_STRING),
    (0x13, "server_keep_alive", MQTT_PROP_TYPE_SHORT),
    (0x15, "authentication_method", MQTT_PROP_TYPE_STRING),
    (0x16, "authentication_data", MQTT_PROP_TYPE_BINARY_DATA),
    (0x17, "request_problem_information", MQTT_PROP_TYPE_BYTE),
    (0x18, "will_delay_interval", MQTT_PROP_TYPE_INT),
    (0x19, "request_response_information", MQTT_PROP_TYPE_BYTE),
    (0x1A, "response_information", MQTT_PROP_TYPE_STRING),
    (0x1C, "server_reference", MQTT_PROP_TYPE_STRING),
    (0x1F, "reason_string", MQTT_PROP_TYPE_STRING),
    (0x21, "receive_maximum", MQTT_PROP_TYPE_SHORT),
    (0x22, "topic_alias_maximum", MQTT_PROP_TYPE_SHORT),
    (0x23, "topic_alias", MQTT_PROP_TYPE_SHORT),
    (0x24, "maximum_qos", MQTT_PROP_TYPE_BYTE),
    (0x25, "retain_available", MQTT_PROP_TYPE_BYTE),
    (_USER_PROPERTY, "user_property", MQTT_PROP_TYPE_STRING_PAIR),
    (0x27, "maximum_packet_size", MQTT_PROP_TYPE_INT),
    (0x28, "wildcard_subscription_available", MQTT_PROP_TYPE_BYTE),
    (0x29, "subscription_identifier_available", MQTT_PROP_TYPE_BYTE),
    (0x2A, "shared_subscription_available", MQTT_PROP_TYPE_BYTE),
)
_BY_NAME = {name: (number, form) for number, name, form in _PROPERTIES}
_BY_NUMBER = {number: (name, form) for number, name, form in _PROPERTIES}
_WIDTHS = {MQTT_PROP_TYPE_BYTE: 1, MQTT_PROP_TYPE_SHORT: 2, MQTT_PROP_TYPE_INT: 4}
_LONGEST = 65535  # bytes of a text, and of binary data
_LARGEST_VARINT = 268_435_455
_CLIENT_ID_LENGTH = 19  # what every server has to take is 23, 3.1.3.1
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_unpack = ffi.unpack


def mqtt_match(topic_filter: str, topic: str) -> bool:
    """Tell whether a subscription to *topic_filter* gets what is published to *topic*, 4.7.

    ``+`` stands for one level, ``#`` for all that follow, ``$share/name/`` in front for a
    shared subscription; neither wildcard stands for a first level that begins with ``$``.
    A malformed filter or topic matches nothing.

    Raises:
        TypeError: If one is no ``str``.
    """
    if not (isinstance(topic_filter, str) and isinstance(topic, str)):
        raise TypeError(f"both must be str, not {topic_filter!r} and {topic!r}")
    pattern, name = as_bytes(topic_filter), as_bytes(topic)
    found: bool = lib.mgx_mqtt_match(pattern, len(pattern), name, len(name))
    return found


# -- what a handler is given ------------------------------------------------


class _WithProperties:
    """Shows the properties that :meth:`_properties` finds."""

    __slots__ = ()

    def _properties(self) -> list[tuple[int, Any]]:
        raise NotImplementedError

    def properties(self) -> list[MqttProperty]:
        """Return the properties of version 5 in the order they came in, 2.2.2.

        Of each ``id`` (its identifier), ``iv`` (its number, or 0), ``val`` (its text; the
        second one of a pair) and ``key`` (the first text of a pair). Undecodable bytes of
        binary data become lone surrogates in ``val``.
        """
        return [_as_dict(number, value) for number, value in self._properties()]

    def properties_by_name(self) -> dict[str, Any]:
        """Return the properties of version 5 as ``properties=`` takes them.

        Names are those of the specification, in lower case with underscores. Values are
        ``int``, ``str`` or ``bytes`` as their type says; of ``user_property`` a list of
        pairs, of ``subscription_identifier`` a list of numbers.
        """
        found: dict[str, Any] = {}
        for number, value in self._properties():
            name = _BY_NUMBER[number][0]
            if number in (_USER_PROPERTY, _SUBSCRIPTION_IDENTIFIER):
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found


class MqttWill(_WithProperties):
    """What a client asks to be published when it is lost, 3.1.2.5.

    Attributes:
        topic: Where to.
        message: Payload.
        qos: 0 to 2.
        retain: Whether it is to be retained.
    """

    __slots__ = ("_block", "message", "qos", "retain", "topic")

    def __init__(self, topic: str, message: bytes, qos: int, retain: bool, block: bytes) -> None:
        self.topic: str = topic
        self.message: bytes = message
        self.qos: int = qos
        self.retain: bool = retain
        self._block = block

    def __repr__(self) -> str:
        return f"<MqttWill {self.topic!r} qos={self.qos} retain={self.retain}>"

    def _properties(self) -> list[tuple[int, Any]]:
        return _read_properties(_Reader(self._block))


class MqttMessage(_WithProperties):
    """An MQTT packet, as given to a handler.

    A view on the receive buffer: what is not asked for is not decoded. It is valid
    until the handler returns; after that ``bool(message)`` is ``False`` and everything
    in it is empty or 0. Only the handler's thread may use it.
    """

    # An instance that no dispatcher has filled is a stale one: it finds this.
    if not TYPE_CHECKING:  # mypy wants slots to be where they are assigned to
        __slots__ = ()
    _raw: Any = None  # struct mgx_mqtt_event, or None once stale

    def _switch_off(self) -> None:
        self._raw = None

    def __bool__(self) -> bool:
        return self._raw is not None

    def __repr__(self) -> str:
        if self._raw is None:
            return "<MqttMessage stale>"
        if self.cmd != PUBLISH:
            return f"<MqttMessage cmd={self.cmd} id={self.id}>"
        return f"<MqttMessage {self.topic!r} qos={self.qos} id={self.id} data={self.data[:40]!r}>"

    # -- of every packet ----------------------------------------------------

    @property
    def cmd(self) -> int:
        """The packet's number: 1 CONNECT, 2 CONNACK, 3 PUBLISH, ... 14 DISCONNECT, 15 AUTH."""
        raw = self._raw
        return 0 if raw is None else raw.cmd

    @property
    def id(self) -> int:
        """Packet identifier; 0 where there is none."""
        raw = self._raw
        return 0 if raw is None else raw.id

    @property
    def version(self) -> int:
        """4 for MQTT 3.1.1, 5 for 5.0; of a CONNECT of any other protocol level, that level."""
        raw = self._raw
        return 0 if raw is None else raw.version

    @property
    def raw(self) -> bytes:
        """The whole packet as it came."""
        raw = self._raw
        return b"" if raw is None else _unpack(raw.packet, raw.packet_len)

    def _properties(self) -> list[tuple[int, Any]]:
        raw = self._raw
        if raw is None or not raw.props_len:
            return []
        return _read_properties(_Reader(_unpack(raw.props, raw.props_len)))

    # -- of a PUBLISH -------------------------------------------------------

    @property
    def topic(self) -> str:
        """Topic of a PUBLISH, also where an alias stood for it; else ``""``."""
        raw = self._raw
        if raw is None:
            return ""
        size = raw.topic_len  # each look at a field costs as much as a call
        return _unpack(raw.topic, size).decode() if size else ""

    @property
    def data(self) -> bytes:
        """Payload of a PUBLISH."""
        raw = self._raw
        if raw is None:
            return b""
        size = raw.data_len
        return _unpack(raw.data, size) if size and raw.cmd == PUBLISH else b""

    @property
    def text(self) -> str:
        """Payload as UTF-8; undecodable bytes become lone surrogates."""
        return self.data.decode("utf-8", "surrogateescape")

    @property
    def qos(self) -> int:
        """QoS of a PUBLISH, 0 to 2."""
        raw = self._raw
        first = 0 if raw is None else raw.first
        return first >> 1 & 3 if first >> 4 == PUBLISH else 0

    @property
    def retain(self) -> bool:
        """Whether a PUBLISH is marked to be retained; from a server: whether it was."""
        raw = self._raw
        return raw is not None and raw.first & 0xF1 == PUBLISH << 4 | 1

    @property
    def dup(self) -> bool:
        """Whether a PUBLISH is marked as sent before."""
        raw = self._raw
        return raw is not None and raw.first & 0xF8 == PUBLISH << 4 | 8

    # -- of acknowledgements ------------------------------------------------

    @property
    def ack(self) -> int:
        """Return code of a CONNACK, 0: accepted; else 0."""
        raw = self._raw
        return 0 if raw is None or raw.cmd != CONNACK else raw.ack

    @property
    def session_present(self) -> bool:
        """Whether a CONNACK says that the server has the client's session."""
        raw = self._raw
        return raw is not None and raw.cmd == CONNACK and bool(raw.session_present)

    @property
    def reason_codes(self) -> list[int]:
        """Codes of a SUBACK or UNSUBACK, one per filter; of other answers one, 2.4.

        A granted QoS is 0 to 2; 0x80 and more are failures.
        """
        raw = self._raw
        if raw is None or raw.cmd in (CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, PINGRESP):
            return []
        if raw.cmd not in (SUBACK, UNSUBACK):
            return [raw.ack]
        return list(_unpack(raw.data, raw.data_len))

    # -- of requests that a server gets -------------------------------------

    @property
    def subscriptions(self) -> list[tuple[str, int]]:
        """Filters of a SUBSCRIBE with their options, 3.8.3.1.

        The QoS is ``options & 3``; of version 5 are no local 4, retain as published 8, and
        retain handling, ``options >> 4``.
        """
        raw = self._raw
        if raw is None or raw.cmd != SUBSCRIBE:
            return []
        reader = _Reader(_unpack(raw.data, raw.data_len))
        found = []
        while reader.at < len(reader.data):
            found.append((reader.text(), reader.number(1)))
        return found

    @property
    def topics(self) -> list[str]:
        """Filters of an UNSUBSCRIBE."""
        raw = self._raw
        if raw is None or raw.cmd != UNSUBSCRIBE:
            return []
        reader = _Reader(_unpack(raw.data, raw.data_len))
        found = []
        while reader.at < len(reader.data):
            found.append(reader.text())
        return found

    @property
    def client_id(self) -> str:
        """Client identifier of a CONNECT; may be empty."""
        connect = self._connect()
        return "" if connect is None else connect.client_id

    @property
    def username(self) -> str | None:
        """User name of a CONNECT; ``None``: it has none."""
        connect = self._connect()
        return None if connect is None else connect.username

    @property
    def password(self) -> bytes | None:
        """Password of a CONNECT; ``None``: it has none."""
        connect = self._connect()
        return None if connect is None else connect.password

    @property
    def keepalive(self) -> int:
        """Seconds of silence after which the sender of a CONNECT is gone; 0: never."""
        connect = self._connect()
        return 0 if connect is None else connect.keepalive

    @property
    def clean_session(self) -> bool:
        """Whether a CONNECT asks for a new session; Clean Start in version 5."""
        connect = self._connect()
        return connect is not None and connect.clean

    @property
    def will(self) -> MqttWill | None:
        """Will of a CONNECT."""
        connect = self._connect()
        return None if connect is None else connect.will

    def _connect(self) -> _Connect | None:
        known = (4, 5)  # how a CONNECT of another level goes on nobody knows
        return _Connect(self.raw) if self.cmd == CONNECT and self.version in known else None


class ReceivedMqtt(MqttMessage):
    """What the dispatcher makes: it fills in ``_raw``."""

    __slots__ = ("_raw",)


class _Reader:
    """Reads what C has checked, from the front."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.binary().decode()


class _Connect:
    """The fields of a CONNECT, 3.1."""

    __slots__ = ("clean", "client_id", "keepalive", "password", "username", "will")

    def __init__(self, packet: bytes) -> None:
        reader = _Reader(packet)
        reader.at = 1
        reader.varint()
        reader.binary()  # the protocol's name
        five = reader.number(1) == 5
        flags = reader.number(1)
        self.clean = flags & 2 != 0
        self.keepalive = reader.number(2)
        if five:
            reader.take(reader.varint())
        self.client_id = reader.text()
        self.will: MqttWill | None = None
        if flags & 4:
            block = reader.take(reader.varint()) if five else b""
            topic, message = reader.text(), reader.binary()
            self.will = MqttWill(topic, message, flags >> 3 & 3, flags & 0x20 != 0, block)
        self.username = reader.text() if flags & 0x80 else None
        self.password = reader.binary() if flags & 0x40 else None


def _read_properties(reader: _Reader) -> list[tuple[int, Any]]:
    found = []
    while reader.at < len(reader.data):
        number = reader.varint()
        form = _BY_NUMBER[number][1]
        value: Any
        if form == MQTT_PROP_TYPE_STRING:
            value = reader.text()
        elif form == MQTT_PROP_TYPE_STRING_PAIR:
            value = reader.text(), reader.text()
        elif form == MQTT_PROP_TYPE_BINARY_DATA:
            value = reader.binary()
        elif form == MQTT_PROP_TYPE_VARIABLE_INT:
            value = reader.varint()
        else:
            value = reader.number(_WIDTHS[form])
        found.append((number, value))
    return found


def _as_dict(number: int, value: Any) -> MqttProperty:
    found: MqttProperty = {"id": number, "iv": 0, "key": "", "val": ""}
    if isinstance(value, int):
        found["iv"] = value
    elif isinstance(value, tuple):
        found["key"], found["val"] = value
    elif isinstance(value, bytes):
        found["val"] = value.decode("utf-8", "surrogateescape")
    else:
        found["val"] = value
    return found


# -- what a caller gives ----------------------------------------------------


def _number_of(name: str) -> int:
    if name not in _BY_NAME:
        raise ValueError(f"there is no property {name!r}")
    return _BY_NAME[name][0]


def properties_block(properties: Properties) -> bytes:
    """Return properties as they go on the wire, without their length in front.

    Raises:
        ValueError: If there is no such property, or a value is out of its range.
        TypeError: If a value is of the wrong type.
    """
    out = bytearray()
    for name, value in property_pairs(properties):
        number = _number_of(name)
        values: Iterable[object] = (value,)
        if number == _USER_PROPERTY:
            values = _user_properties(value)
        elif number == _SUBSCRIPTION_IDENTIFIER and isinstance(value, (list, tuple)):
            values = value
        for one in values:
            out.append(number)
            out += _encoded(name, _BY_NUMBER[number][1], one)
    return bytes(out)


def property_pairs(properties: Properties) -> list[tuple[str, object]]:
    """Return properties as pairs.

    Raises:
        TypeError: If they are none.
    """
    return _pairs(properties, "properties")


def _pairs(value: Any, name: str) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a mapping or pairs, not {value!r}")
    return [_pair(one, name) for one in value]


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: a pair is wanted, not {value!r}")
    return value[0], value[1]


def _user_properties(value: Any) -> Iterable[object]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        return (value,)
    return _pairs(value, "user_property")


def _encoded(name: str, form: int, value: Any) -> bytes:
    if form == MQTT_PROP_TYPE_STRING_PAIR:
        key, val = value
        return text_field(key, name) + text_field(val, name)
    if form == MQTT_PROP_TYPE_STRING:
        return text_field(value, name)
    if form == MQTT_PROP_TYPE_BINARY_DATA:
        return binary_field(as_bytes(value, name), name)
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    number = index(value)
    largest = _LARGEST_VARINT if form == MQTT_PROP_TYPE_VARIABLE_INT else 256 ** _WIDTHS[form] - 1
    if not 0 <= number <= largest:
        raise ValueError(f"{name} must be 0..{largest}, not {number}")
    if form != MQTT_PROP_TYPE_VARIABLE_INT:
        return number.to_bytes(_WIDTHS[form], "big")
    return varint(number)


def varint(number: int) -> bytes:
    """Return a variable byte integer, 1.5.5."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def text_field(text: str, name: str) -> bytes:
    """Return a text with its length in front, 1.5.4.

    Raises:
        ValueError: If it is longer than 65535 bytes as UTF-8, or has U+0000 or surrogates.
        TypeError: If it is no ``str``.
    """
    return binary_field(utf8(text, name), name)


def utf8(text: str, name: str) -> bytes:
    """Return *text* as UTF-8; raises as :func:`text_field`."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be str, not {type(text).__name__}")
    data = text.encode()
    if b"\0" in data:
        raise ValueError(f"{name} must not contain a NUL character: {text!r}")
    if len(data) > _LONGEST:
        raise ValueError(f"{name} must be at most {_LONGEST} bytes, not {len(data)}")
    return data


def binary_field(data: bytes, name: str) -> bytes:
    """Return bytes with their length in front, 1.5.6.

    Raises:
        ValueError: If there are more than 65535.
    """
    if len(data) > _LONGEST:
        raise ValueError(f"{name} must be at most {_LONGEST} bytes, not {len(data)}")
    return len(data).to_bytes(2, "big") + data


def checked_topic(topic: str, name: str = "topic") -> bytes:
    """Return the bytes of a topic that may be published to, 4.7.

    Raises:
        ValueError: If it is empty, too long, or has a wildcard or U+0000.
        TypeError: If it is no ``str``.
    """
    data = utf8(topic, name)
    if not topic:
        raise ValueError(f"{name} must not be empty")
    if "+" in topic or "#" in topic:
        raise ValueError(f"{name} must not contain + or #: {topic!r}")
    return data


def checked_qos(qos: int, name: str = "qos") -> int:
    """Return *qos*.

    Raises:
        ValueError: If it is not 0, 1 or 2.
    """
    if qos not in (0, 1, 2):
        raise ValueError(f"{name} must be 0, 1 or 2, not {qos!r}")
    return index(qos)


def is_filter(text: str) -> bool:
    """Whether *text* may be subscribed to, 4.7.1 and 4.8.2."""
    share, _, rest = text.partition("/")
    if share == "$share" and "/" in text:
        group, slash, inner = rest.partition("/")
        return bool(group and slash and inner) and not {*"+#"} & {*group} and is_filter(inner)
    levels = text.split("/")
    whole = all(len(one) == 1 or not {*"+#"} & {*one} for one in levels)
    return bool(text) and whole and "#" not in levels[:-1]


def checked_filter(text: str) -> bytes:
    """Return a topic filter as it goes on the wire, its length in front.

    Raises:
        ValueError: If it is malformed or too long.
        TypeError: If it is no ``str``.
    """
    field = text_field(text, "topic")
    if not is_filter(text):
        raise ValueError(f"topic must be a topic filter, not {text!r}")
    return field


def subscriptions(topic: Filters, qos: int, options: int = 0) -> list[tuple[str, int]]:
    """Return what to subscribe to: each filter with its options byte, 3.8.3.1.

    Raises:
        ValueError: If a filter or QoS is malformed, or there is none.
        TypeError: If one is of the wrong type.
    """
    checked_qos(qos)
    if not isinstance(topic, Iterable) or isinstance(topic, bytes):
        raise TypeError(f"topic must be a filter or several, not {topic!r}")
    found = []
    for one in (topic,) if isinstance(topic, str) else topic:
        name, level = (one, qos) if isinstance(one, str) else _pair(one, "topic")
        checked_filter(name)
        found.append((name, checked_qos(level) | options))
    if not found:
        raise ValueError("topic must be at least one filter")
    return found


def subscribe_arguments(
    topic: Filters,
    qos: int,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: int,
    properties: Properties | None,
) -> tuple[list[tuple[str, int]], bytes]:
    """Check what ``mqtt_sub()`` was given; return filters with options, 3.8.3.1, and properties.

    Raises:
        ValueError: If *retain_handling* is not 0, 1 or 2; and as :func:`subscriptions`.
        TypeError: As :func:`subscriptions`.
    """
    if retain_handling not in (0, 1, 2):
        raise ValueError(f"retain_handling must be 0, 1 or 2, not {retain_handling!r}")
    options = bool(no_local) << 2 | bool(retain_as_published) << 3 | retain_handling << 4
    wanted = subscriptions(topic, qos, options)
    return wanted, properties_block(properties) if properties else b""


def subscribe_payload(wanted: Iterable[tuple[str, int]]) -> bytes:
    """Return the payload of a SUBSCRIBE."""
    return b"".join([checked_filter(name) + bytes([options]) for name, options in wanted])


def unsubscribe_payload(topic: Filters) -> bytes:
    """Return the payload of an UNSUBSCRIBE.

    Raises:
        ValueError: If a filter is malformed, or there is none.
        TypeError: If one is of the wrong type.
    """
    return b"".join([checked_filter(name) for name, _ in subscriptions(topic, 0)])


def new_client_id() -> str:
    """Return a random client identifier of 19 letters and digits."""
    from os import urandom

    return "".join([_ALPHANUMERIC[byte % 62] for byte in urandom(_CLIENT_ID_LENGTH)])
