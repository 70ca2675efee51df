"""What a manager can do with MQTT (OASIS MQTT 3.1.1 and 5.0).

The part of :class:`~mongoose_py.Manager` that concerns MQTT. Section numbers are those of
version 5.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py import mqtt
from mongoose_py._args import Data, as_bytes
from mongoose_py._manager import BaseManager
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.mqtt_session import (
    ConnectRequest,
    MqttClientSession,
    MqttSession,
    Reconnect,
    publish_failure,
)
from mongoose_py.url import url_pass, url_user

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mongoose_py.connection import Connection
    from mongoose_py.handler import AnyHandler
    from mongoose_py.mqtt import Properties
    from mongoose_py.tls import Tls


class MqttManager(BaseManager):
    """The MQTT methods of :class:`~mongoose_py.Manager`."""

    def mqtt_connect(
        self,
        url: str,
        handler: AnyHandler | None = None,
        client_id: str = "",
        username: str = "",
        password: Data = "",
        clean_session: bool = True,
        keepalive: int = 60,
        *,
        version: int = 4,
        will_topic: str | None = None,
        will_message: Data = b"",
        will_qos: int = 0,
        will_retain: bool = False,
        will_properties: Properties | None = None,
        properties: Properties | None = None,
        session_expiry: int | None = None,
        reconnect: bool | Reconnect | None = None,
        events: Iterable[int] | None = None,
        tls: Tls | None = None,
    ) -> Connection:
        """Start to connect to the MQTT server at *url* and return the connection at once.

        CONNECT is sent by itself (MQTT 5.0, section 3.1), as are pings while nothing else
        is. ``MG_EV_MQTT_OPEN`` tells the server's answer, 0: it is open.
        ``MG_EV_ERROR`` tells failure. What outlives the connection is its
        ``mqtt_session``.

        Args:
            url: ``mqtt://127.0.0.1:1883``. A user and password in it are sent unless
                *username* is given.
            handler: ``None``: the manager's.
            client_id: ``""``: 19 random letters and digits, and a clean session.
            username: ``""``: none.
            password: ``""``: none.
            clean_session: Whether to start without what the server remembers of this
                *client_id*. ``False`` also asks it to remember, in version 5 unless
                *session_expiry* says for how long.
            keepalive: Seconds, 0 to 65535: after so long without a packet the other side
                is gone. A ping leaves after three quarters of it; 0: none does.
            version: 4, which is MQTT 3.1.1, or 5.
            will_topic: Where the server is to publish *will_message* when it loses us.
            will_message: Payload of the will.
            will_qos: 0 to 2.
            will_retain: Whether the will is to be retained.
            will_properties: Of version 5, by name: ``{"will_delay_interval": 30}``.
            properties: Of version 5, for CONNECT: ``{"receive_maximum": 100}``.
            session_expiry: Seconds the server is to keep the session without a
                connection. Version 5.
            reconnect: ``True`` or a :class:`Reconnect`: connect again whenever the
                connection is lost.
            tls: As in :meth:`connect`, for ``mqtts://``.
            events: The only events the handler wants. Default: all; see
                :class:`Manager`.

        Raises:
            AddressError: If *url* is malformed.
            ValueError: If an argument is out of its range, a topic malformed, a
                password without user (3.1.1), or something needs version 5.
            OverflowError: If *keepalive* is not 0 to 65535.
            SystemCallError: If the system has no descriptor left.
            Error: If the manager is closed.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be str, not {type(url).__name__}")
        if not (reconnect is None or isinstance(reconnect, (bool, Reconnect))):
            raise TypeError(f"reconnect must be a Reconnect, not {type(reconnect).__name__}")
        if not username and "\0" not in url and url.partition("://")[0].lower() != "unix":
            username, password = url_user(url), password or url_pass(url)
        will = (will_topic, will_message, will_qos, will_retain, will_properties)
        request = ConnectRequest(
            version,
            client_id,
            username,
            password,
            clean_session,
            keepalive,
            properties,
            session_expiry,
            will,
        )
        policy = reconnect if isinstance(reconnect, Reconnect) else None
        policy = Reconnect() if reconnect is True else policy
        if self._closed:
            self._check(lib.MGX_ECLOSED, "mqtt_connect")
        session = MqttClientSession(self, url, handler, events, request, policy, tls)
        return session._connect()

    def mqtt_listen(
        self,
        url: str,
        handler: AnyHandler | None = None,
        *,
        events: Iterable[int] | None = None,
        reuse_port: bool = False,
        tls: Tls | None = None,
    ) -> Connection:
        """Listen for MQTT clients; else as :meth:`listen`.

        3.1.1 or 5.0 is what each CONNECT says. Acknowledgements of messages go by
        themselves; CONNECT, SUBSCRIBE, UNSUBSCRIBE and PINGREQ, each an
        ``MG_EV_MQTT_CMD``, are for the handler to answer.
        """
        options = {"http": lib.MGX_HTTP_OFF, "mqtt": True, "reuse_port": bool(reuse_port)}
        doing = "listen for MQTT on"
        return self._open(lib.mgx_listen, doing, url, handler, events, "", options, tls)

    def mqtt_session(self) -> MqttSession:
        """Return a new session, for a server to keep for one of its clients."""
        return MqttSession(self)

    def mqtt_broadcast(
        self,
        conns: Iterable[Connection],
        topic: str,
        message: Data,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: Properties | None = None,
    ) -> int:
        """Publish one message on many connections; its packet is made once.

        Left out are connections for which ``Connection.mqtt_pub()`` would raise
        :class:`Error`, and properties on those of version 4.

        Args:
            conns: Connections of this manager.
            topic: Without wildcards.
            message: Payload; ``str`` goes as UTF-8.
            qos: 0 to 2.
            retain: Whether to mark it as retained.
            properties: Of version 5, by name.

        Returns:
            How many took it.

        Raises:
            ValueError: If an argument is not acceptable, or a connection is another
                manager's.
            TypeError: If one is of the wrong type.
            Error: If the manager is closed.
        """
        name = mqtt.utf8(topic, "topic")
        payload = as_bytes(message, "message")
        flags = mqtt.checked_qos(qos) << 1 | bool(retain)
        block = mqtt.properties_block(properties) if properties else b""
        numbers = self._numbers(conns)
        count: int = lib.mgx_mqtt_pub_many(
            self._mgr,
            ffi.new("uint64_t[]", numbers),
            len(numbers),
            name,
            len(name),
            payload,
            len(payload),
            flags,
            block,
            len(block),
            ffi.NULL,
        )
        if count == lib.MGX_EINVAL:
            raise publish_failure(count, topic, len(payload), properties)
        self._check(count, "mqtt_broadcast")
        return count
