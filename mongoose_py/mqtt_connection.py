"""What a connection can do that speaks MQTT (OASIS MQTT 3.1.1 and 5.0).

The part of :class:`~mongoose_py.Connection` that concerns MQTT; the C core does the work.
Section numbers are those of version 5.0.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from mongoose_py import _dispatch, mqtt
from mongoose_py._args import Data, as_bytes
from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import ConnectionClosed, failure
from mongoose_py.mqtt_session import MqttClientSession, MqttSession, publish_failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.mqtt import Filters, Properties

_EINVAL: int = lib.MGX_EINVAL
_EKIND: int = lib.MGX_EKIND
_ESTATE: int = lib.MGX_ESTATE
_kept = _dispatch.kept
_mqtt_pub = lib.mgx_mqtt_pub


class MqttConnection(BaseConnection):
    """The MQTT methods of :class:`~mongoose_py.Connection`.

    Those that send do nothing, and return 0, on a connection that does not speak MQTT.
    """

    __slots__ = ()

    @property
    def is_mqtt(self) -> bool:
        """It speaks MQTT; on a listener: what it accepts does."""
        return self._is(lib.MGX_IS_MQTT)

    @property
    def mqtt_session(self) -> MqttClientSession:
        """The session of an MQTT client, which outlives the connection.

        Raises:
            Error: If it is another kind of connection.
        """
        session: MqttClientSession | None = getattr(self, "_mqtt", None)
        if session is None:
            raise failure(_EKIND, "mqtt_session", "not the connection of an MQTT client")
        return session

    def mqtt_pub(
        self,
        topic: str,
        message: Data,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: Properties | None = None,
    ) -> int:
        """Publish, MQTT 5.0 section 3.3.

        What has QoS 1 or 2 is kept until it is acknowledged, and a client sends it again
        on its session's next connection. It waits while the peer's receive maximum stands
        against it. On a connection that does not speak MQTT nothing is sent.

        Args:
            topic: Without wildcards.
            message: Payload; ``str`` goes as UTF-8.
            qos: 0: at most once, 1: at least once, 2: exactly once.
            retain: Whether the server is to keep it for later subscribers.
            properties: Of version 5, by name: ``{"content_type": "text/plain"}``.

        Returns:
            The packet identifier; 0 for QoS 0.

        Raises:
            ValueError: If *topic*, *qos* or a property is not acceptable, or there are
                properties and the version is 3.1.1.
            TypeError: If one is of the wrong type.
            Error: If ``Limits.mqtt_queue`` or ``Limits.send_backlog`` stands against it,
                the peer has announced that it does not take this, or, on a server,
                CONNECT was not answered yet. Nothing was sent.
            ConnectionClosed: If the connection is closed.
        """
        name = topic.encode() if type(topic) is str else mqtt.utf8(topic, "topic")
        payload = message if type(message) is bytes else as_bytes(message, "message")
        flags = (mqtt.checked_qos(qos) << 1 if qos else 0) | bool(retain)
        block = mqtt.properties_block(properties) if properties else b""
        number = self._id
        if not number:
            raise ConnectionClosed("Connection has been closed")
        code: int = _mqtt_pub(
            self._mgr, number, name, len(name), payload, len(payload), flags, block, len(block)
        )
        if code < 0 or _kept:
            if code != _EKIND:
                if code == _EINVAL:
                    raise publish_failure(code, topic, len(payload), properties)
                causes = {_ESTATE: "CONNECT was not answered yet"}
                self._check(code, f"mqtt_pub of {len(payload)} bytes to {topic!r}", causes)
            code = max(0, code)
        return code

    def mqtt_sub(
        self,
        topic: Filters,
        qos: int = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        properties: Properties | None = None,
    ) -> int:
        """Subscribe on this connection, MQTT 5.0 section 3.8.

        The server's answer is an ``MG_EV_MQTT_CMD`` with ``cmd`` 9 and the same ``id``. To
        be subscribed on later connections as well use ``mqtt_session.mqtt_sub()``.

        Args:
            topic: A filter, ``"sensors/+/temperature"``, or several: a list of filters or
                of pairs of filter and QoS.
            qos: The highest QoS to be sent, 0 to 2.
            no_local: Whether to leave out what this client publishes. Version 5.
            retain_as_published: Whether messages are to keep their retain flag. Version 5.
            retain_handling: Send retained messages 0: always, 1: when the subscription is
                new, 2: never. Version 5.
            properties: Of version 5: ``{"subscription_identifier": 7}``.

        Returns:
            The packet identifier; 0 on a connection that does not speak MQTT.

        Raises:
            ValueError: If an argument is not acceptable, or needs version 5.
            TypeError: If one is of the wrong type.
            Error: If the connection is not a client's, or ``Limits.send_backlog`` stands
                against it.
            ConnectionClosed: If the connection is closed.
        """
        wanted, block = mqtt.subscribe_arguments(
            topic, qos, no_local, retain_as_published, retain_handling, properties
        )
        payload = mqtt.subscribe_payload(wanted)
        number = self._open_id()
        if self._mqtt is not None:
            self._mqtt._request.check_version(wanted, block)
        code = lib.mgx_mqtt_sub(self._mgr, number, payload, len(payload), block, len(block))
        return self._mqtt_done(code, "mqtt_sub")

    def mqtt_unsub(self, topic: Filters, *, properties: Properties | None = None) -> int:
        """Unsubscribe on this connection, MQTT 5.0 section 3.10.

        Args:
            topic: A filter, or a list of filters.
            properties: Of version 5.

        Returns:
            The packet identifier; 0 on a connection that does not speak MQTT.

        Raises:
            ValueError: As :meth:`mqtt_sub`; so too the others.
        """
        payload = mqtt.unsubscribe_payload(topic)
        block = mqtt.properties_block(properties) if properties else b""
        number = self._open_id()
        code = lib.mgx_mqtt_unsub(self._mgr, number, payload, len(payload), block, len(block))
        return self._mqtt_done(code, "mqtt_unsub")

    def mqtt_ping(self) -> None:
        """Send a PINGREQ, as a client; one that is silent does so by itself.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        self._mqtt_done(lib.mgx_mqtt_ping(self._mgr, self._open_id()), "mqtt_ping")

    def mqtt_pong(self) -> None:
        """Answer a PINGREQ, as a server.

        Raises:
            ConnectionClosed: If the connection is closed.
        """
        self._mqtt_done(lib.mgx_mqtt_pong(self._mgr, self._open_id()), "mqtt_pong")

    def mqtt_disconnect(self, reason: int = 0, properties: Properties | None = None) -> None:
        """Say goodbye, MQTT 5.0 section 3.14, and close once all has been sent.

        A client's session ends: it does not connect again.

        Args:
            reason: Reason code of version 5: 0 normal, 4 with the will, 0x8b the server
                shuts down. 3.1.1 has none.
            properties: Of version 5: ``{"reason_string": "that was all"}``.

        Raises:
            ValueError: If *reason* or a property is not acceptable.
            ConnectionClosed: If the connection is closed.
        """
        block = mqtt.properties_block(properties) if properties else b""
        number = self._open_id()
        code = lib.mgx_mqtt_disconnect(self._mgr, number, index(reason), block, len(block))
        self._mqtt_done(code, "mqtt_disconnect")
        if self._mqtt is not None:
            self._mqtt._end()

    def mqtt_auth(self, reason: int = 0x18, properties: Properties | None = None) -> None:
        """Go on with an authentication of version 5, section 4.12.

        Args:
            reason: 0 success, 0x18 continue, 0x19 authenticate again.
            properties: ``{"authentication_method": "...", "authentication_data": b"..."}``.

        Raises:
            ValueError: If *reason* or a property is not acceptable.
            Error: If the connection is of version 3.1.1.
            ConnectionClosed: If the connection is closed.
        """
        block = mqtt.properties_block(properties) if properties else b""
        number = self._open_id()
        code = lib.mgx_mqtt_auth(self._mgr, number, index(reason), block, len(block))
        self._mqtt_done(code, "mqtt_auth")

    def mqtt_connack(
        self,
        code: int = 0,
        session_present: bool = False,
        properties: Properties | None = None,
        *,
        session: MqttSession | None = None,
    ) -> None:
        """Answer a CONNECT, as a server, MQTT 5.0 section 3.2.

        Args:
            code: 0: welcome. Any other closes: 1 to 5 for 3.1.1, 0x80 and up for 5.0.
            session_present: Whether the server has the client's session.
            properties: Of version 5: ``{"assigned_client_identifier": "..."}``.
            session: Of ``Manager.mqtt_session()``: goes on on this connection, with what
                is left in it if *session_present*. A connection that still has it is
                closed. ``None``: one that ends with the connection.

        Raises:
            ValueError: If *code* or a property is not acceptable, or *session* is closed.
            Error: If no CONNECT awaits an answer.
            ConnectionClosed: If the connection is closed.
        """
        block = mqtt.properties_block(properties) if properties else b""
        if not isinstance(session, (MqttSession, type(None))):
            raise TypeError(f"session must be an MqttSession, not {type(session).__name__}")
        store = 0 if session is None else session._number
        number = self._open_id()
        result = lib.mgx_mqtt_connack(
            self._mgr, number, index(code), bool(session_present), block, len(block), store
        )
        self._mqtt_done(result, "mqtt_connack", "no CONNECT awaits an answer")

    def mqtt_suback(
        self, packet_id: int, codes: Iterable[int], properties: Properties | None = None
    ) -> None:
        """Answer a SUBSCRIBE, as a server, MQTT 5.0 section 3.9.

        Args:
            packet_id: That of the SUBSCRIBE.
            codes: One for each filter, in order: the QoS granted, or 0x80 and up.
            properties: Of version 5.

        Raises:
            ValueError: If an argument is not acceptable.
            ConnectionClosed: If the connection is closed.
        """
        self._mqtt_answer(mqtt.SUBACK, packet_id, codes, properties)

    def mqtt_unsuback(
        self, packet_id: int, codes: Iterable[int] = (), properties: Properties | None = None
    ) -> None:
        """Answer an UNSUBSCRIBE, as a server, MQTT 5.0 section 3.11.

        Args:
            packet_id: That of the UNSUBSCRIBE.
            codes: One for each filter, in order: 0 or 0x11, there was none. 3.1.1 has
                none: they are left out.
            properties: Of version 5.

        Raises:
            ValueError: If an argument is not acceptable.
            ConnectionClosed: If the connection is closed.
        """
        self._mqtt_answer(mqtt.UNSUBACK, packet_id, codes, properties)

    def _mqtt_answer(
        self, cmd: int, packet_id: int, codes: Iterable[int], properties: Properties | None
    ) -> None:
        if not 1 <= index(packet_id) <= 65535:
            raise ValueError(f"packet_id must be 1..65535, not {packet_id}")
        numbers = [*codes]
        if not all(0 <= index(code) <= 255 for code in numbers):
            raise ValueError(f"codes must be 0..255, not {numbers}")
        given = bytes(numbers)
        block = mqtt.properties_block(properties) if properties else b""
        number = self._open_id()
        result = lib.mgx_mqtt_suback(
            self._mgr, number, cmd, packet_id, given, len(given), block, len(block)
        )
        self._mqtt_done(result, f"answer to {packet_id} with {list(given)}")

    def _mqtt_done(self, code: int, doing: str, state: str = "") -> int:
        """Return the result of a call; 0 where the connection does not speak MQTT."""
        if code < 0 or _kept:
            if code != _EKIND or self.is_mqtt:
                bad = "a code, a property or the session does not fit this packet or version"
                causes = {_EINVAL: bad}
                if state:
                    causes[_ESTATE] = state
                self._check(code, doing, causes)
            return max(0, code)
        return code
