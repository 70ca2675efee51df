"""MQTT sessions: what outlives a connection, and how a client gets its connection back.

The messages themselves are kept, resent and acknowledged in C, under the session's
number. Here is the rest: which connection has the session, what it is subscribed to,
and when to connect again.
"""

from __future__ import annotations

from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from mongoose_py import logs, mqtt
from mongoose_py._args import Data, as_bytes
from mongoose_py._core import is_alive
from mongoose_py._mongoose_cffi import ffi, lib
from mongoose_py.errors import ConnectionClosed, Error, failure
from mongoose_py.mqtt import SUBACK, UNSUBACK

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable

    from mongoose_py._manager import BaseManager
    from mongoose_py.connection import Connection
    from mongoose_py.handler import AnyHandler
    from mongoose_py.manager import Manager
    from mongoose_py.mqtt import Filters, MqttMessage, Properties
    from mongoose_py.timer import Timer
    from mongoose_py.tls import Tls

CONNECTING, OPEN, WAITING, CLOSED = "connecting", "open", "waiting", "closed"
_session_pub = lib.mgx_mqtt_session_pub
_FILTERS_AT_ONCE = 64  # in one SUBSCRIBE that restores them
# Answers to a CONNECT that the next attempt will most likely get as well.
_LASTING = {1, 2, 4, 5, 0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x9D}
_REFUSALS = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
}


class Reconnect:
    """How long an MQTT client waits before it connects again.

    Before attempt *n* a random time between 0 and ``min(max_delay, min_delay * 2**n)``, so
    that clients who lost the same server do not come back together. It starts over when
    a connection has held longer than that.

    Args:
        min_delay: Seconds; the most to wait before the first attempt.
        max_delay: Seconds; the most to wait ever, and how long to wait when the server has
            refused the client itself: its identifier, its password, its rights.

    Raises:
        ValueError: If they are not ``0 < min_delay <= max_delay``.
    """

    __slots__ = ("max_delay", "min_delay")

    def __init__(self, min_delay: float = 1.0, max_delay: float = 60.0) -> None:
        if not 0 < min_delay <= max_delay < float("inf"):
            raise ValueError(
                f"0 < min_delay <= max_delay must hold, not {min_delay} and {max_delay}"
            )
        self.min_delay: float = min_delay
        self.max_delay: float = max_delay

    def __repr__(self) -> str:
        return f"Reconnect(min_delay={self.min_delay}, max_delay={self.max_delay})"

    def _window(self, attempts: int) -> float:
        """Return the longest wait after so many attempts that did not hold."""
        window: float = self.min_delay * 2.0 ** min(attempts, 60)  # no float is too small for it
        return min(self.max_delay, window)


class MqttSession:
    """Messages of QoS 1 and 2 on their way to one peer, whatever its connections do.

    ``Manager.mqtt_session()`` makes one for a client of a server: given to
    ``Connection.mqtt_connack()`` it goes on where the client's last connection ended.

    Every member may be used from any thread.
    """

    def __init__(self, manager: BaseManager) -> None:
        self._manager: weakref.ref[Manager] = manager._ref
        self._mgr: Any = manager._mgr
        self._core = manager._core  # keeps what _mgr points at
        self._lives = is_alive
        number: int = lib.mgx_mqtt_session_new(self._mgr)
        if number < 0:
            raise failure(number, "Failed to create an MQTT session")
        self._number = number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._number} {self.state} pending={self.pending}>"

    def __del__(self) -> None:
        # When the interpreter ends the names of modules may go first; so may the manager's
        # core in a cycle that is collected.
        if lib is not None and getattr(self, "_number", None) and self._lives(self._core):
            lib.mgx_mqtt_session_free(self._mgr, self._number)

    def _info(self) -> Any:
        """Return a new ``struct mgx_mqtt_session_info *``, all zero when closed."""
        info = ffi.new("struct mgx_mqtt_session_info *")
        lib.mgx_mqtt_session_info(self._mgr, self._number, info)
        return info

    @property
    def state(self) -> str:
        """``"open"``: a connection has it; ``"waiting"``: none has; ``"closed"``."""
        info = ffi.new("struct mgx_mqtt_session_info *")
        if lib.mgx_mqtt_session_info(self._mgr, self._number, info) < 0:
            return CLOSED
        return OPEN if info.conn else WAITING

    @property
    def connection(self) -> Connection | None:
        """The connection that has it, if one has."""
        manager = self._manager()
        number = self._info().conn
        return manager._adopt(number) if number and manager is not None else None

    @property
    def pending(self) -> int:
        """How many messages have not been acknowledged yet, those that wait included."""
        count: int = self._info().pending
        return count

    @property
    def pending_bytes(self) -> int:
        """What of ``Limits.mqtt_queue`` they take."""
        count: int = self._info().bytes
        return count

    def mqtt_pub(
        self,
        topic: str,
        message: Data,
        qos: int = 1,
        retain: bool = False,
        *,
        properties: Properties | None = None,
    ) -> int:
        """Publish, or keep the message until there is a connection.

        Args:
            topic: Without wildcards.
            message: Payload; ``str`` goes as UTF-8.
            qos: 0 only while there is a connection.
            retain: Whether the server is to keep it for later subscribers.
            properties: Of version 5, by name.

        Returns:
            The packet identifier; 0 for QoS 0.

        Raises:
            ValueError: If *topic*, *qos* or a property is not acceptable.
            TypeError: If one is of the wrong type.
            Error: If ``Limits.mqtt_queue`` stands against it, the peer has announced that
                it does not take this, or a message of QoS 0 has no connection.
            ConnectionClosed: If the session is closed.
        """
        # As in Connection.mqtt_pub(): a server passes each message on by this call.
        name = topic.encode() if type(topic) is str else mqtt.utf8(topic, "topic")
        payload = message if type(message) is bytes else as_bytes(message, "message")
        flags = (mqtt.checked_qos(qos) << 1 if qos else 0) | bool(retain)
        block = mqtt.properties_block(properties) if properties else b""
        code: int = _session_pub(
            self._mgr,
            self._number,
            name,
            len(name),
            payload,
            len(payload),
            flags,
            block,
            len(block),
        )
        if code < 0:
            raise publish_failure(code, topic, len(payload), properties)
        return code

    def close(self) -> None:
        """Forget its messages; harmless when repeated. A connection that has it goes on."""
        lib.mgx_mqtt_session_free(self._mgr, self._number)


class MqttClientSession(MqttSession):
    """The session of a client, :attr:`Connection.mqtt_session`.

    With ``reconnect=`` it connects again whenever its connection is lost, until
    :meth:`close` or ``Connection.mqtt_disconnect()``: each time with a new
    :class:`Connection`, which has the same handler and ``userdata``. Without, it is closed
    with its connection.

    Attributes:
        attempts: Connections that were tried since one has held; 0 while that is so.
        last_error: What ended the last connection or attempt, ``None``: nothing yet.
    """

    def __init__(
        self,
        manager: BaseManager,
        url: str,
        handler: AnyHandler | None,
        events: Iterable[int] | None,
        request: ConnectRequest,
        reconnect: Reconnect | None,
        tls: Tls | None,
    ) -> None:
        super().__init__(manager)
        self._url = url
        self._handler = handler
        self._events = None if events is None else tuple(events)
        self._request = request
        self._reconnect = reconnect
        self._tls = tls
        self._lock = RLock()  # what was sent and what is noted about it go together
        self._state = CONNECTING
        self._connection: Connection | None = None
        self._timer: Timer | None = None
        self._due = 0.0  # when the timer fires, as monotonic() counts
        self._since = 0.0  # when the connection was opened
        self._patient = False  # the server has refused: wait as long as we ever do
        self._wanted: dict[str, tuple[int, bytes]] = {}  # filters: options, properties
        self._unsent: dict[str, None] = {}  # those the server may not have
        self._asked: dict[int, list[str]] = {}  # by packet identifier: not answered yet
        self.attempts: int = 0
        self.last_error: str | None = None

    # -- what it is -------------------------------------------------------------

    @property
    def state(self) -> str:
        """``"connecting"``, ``"open"``, ``"waiting"`` to connect again, or ``"closed"``."""
        manager = self._manager()
        return CLOSED if manager is None or manager._closed else self._state

    @property
    def connection(self) -> Connection | None:
        """The newest connection; it may be closed."""
        return self._connection

    @property
    def next_attempt(self) -> float | None:
        """Seconds until it connects again; ``None`` when it does not wait for that."""
        return max(0.0, self._due - monotonic()) if self.state == WAITING else None

    @property
    def client_id(self) -> str:
        """What it calls itself; made up when none was given."""
        return self._request.client_id

    # -- what it does -------------------------------------------------------

    def mqtt_sub(
        self,
        topic: Filters,
        qos: int = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        properties: Properties | None = None,
    ) -> None:
        """Subscribe now, or as soon as there is a connection, and again whenever needed.

        That is when a server does not have the session any more. Arguments and errors as
        those of :meth:`Connection.mqtt_sub`; whether the server agrees shows its SUBACK, an
        ``MG_EV_MQTT_CMD``.
        """
        wanted, block = mqtt.subscribe_arguments(
            topic, qos, no_local, retain_as_published, retain_handling, properties
        )
        self._request.check_version(wanted, block)
        with self._lock:
            self._check_open()
            for name, option in wanted:
                self._wanted[name] = option, block
                self._unsent[name] = None
            if self._state == OPEN:
                self._send_unsent(doing="mqtt_sub")

    def mqtt_unsub(self, topic: Filters, *, properties: Properties | None = None) -> None:
        """Unsubscribe now, or as soon as there is a connection.

        Arguments and errors as those of :meth:`Connection.mqtt_unsub`.
        """
        names = [name for name, _ in mqtt.subscriptions(topic, 0)]
        block = mqtt.properties_block(properties) if properties else b""
        self._request.check_version((), block)
        with self._lock:
            self._check_open()
            for name in names:
                self._wanted.pop(name, None)
                self._unsent[name] = None
            if self._state == OPEN:
                self._send_unsent(block, "mqtt_unsub")

    def close(self) -> None:
        """Disconnect, and do not connect again; harmless when repeated.

        Messages that are not acknowledged by then are forgotten.
        """
        self._end()
        conn = self._connection
        if conn is not None and conn._id:
            code = lib.mgx_mqtt_disconnect(self._mgr, conn._id, 0, b"", 0)
            if code < 0:
                conn.close()
        super().close()

    def _check_open(self) -> None:
        if self.state == CLOSED:
            raise ConnectionClosed("MQTT session has been closed")

    # -- what happens to it -------------------------------------------------

    def _connect(self) -> Connection:
        """Start a connection; raises as ``Manager.connect()``."""
        manager = self._manager()
        if manager is None:
            raise Error("Manager has been closed")
        options = {"http": lib.MGX_HTTP_OFF, "mqtt_connect": self._request.struct(self._number)}
        return manager._open(
            lib.mgx_connect,
            "connect to MQTT broker",
            self._url,
            self._handler,
            self._events,
            "",
            options,
            self._tls,
            self,
        )

    def _attach(self, conn: Connection) -> None:
        """Take a connection that has just come to be; no handler has heard of it yet."""
        if self._connection is not None:
            conn.userdata = self._connection.userdata
        self._connection = conn

    def _heard(self, ev_is_open: bool, message: MqttMessage) -> None:
        """Look at an answer of the server before the handler does."""
        if not ev_is_open:
            if message.cmd in (SUBACK, UNSUBACK):
                with self._lock:
                    self._asked.pop(message.id, None)
            return
        code = message.ack
        with self._lock:
            if code:
                name = _REFUSALS.get(code, "see the table of reason codes")
                self.last_error = f"refused by the server: {code:#04x}, {name}"
                self._patient = code in _LASTING
            elif self._state == CONNECTING:
                self._state = OPEN
                self._since = monotonic()
                self._request.resume()
                if not message.session_present:
                    self._unsent = dict.fromkeys(self._wanted)
                self._send_unsent()

    def _send_unsent(self, unsub_block: bytes = b"", doing: str = "") -> None:
        """Ask the server for what it may not know. The lock is held.

        Raises:
            Error: If that cannot be sent; with nothing *doing*, it is logged. It is tried
                again on the next connection.
        """
        conn = self._connection
        if conn is None:
            return
        groups: dict[bytes | None, list[str]] = {}
        for name in self._unsent:
            block = self._wanted[name][1] if name in self._wanted else None
            groups.setdefault(block, []).append(name)
        for block, names in groups.items():
            for at in range(0, len(names), _FILTERS_AT_ONCE):
                some = names[at : at + _FILTERS_AT_ONCE]
                if block is None:
                    payload = mqtt.unsubscribe_payload(some)
                    number = lib.mgx_mqtt_unsub(
                        self._mgr, conn._id, payload, len(payload), unsub_block, len(unsub_block)
                    )
                else:
                    payload = mqtt.subscribe_payload((n, self._wanted[n][0]) for n in some)
                    number = lib.mgx_mqtt_sub(
                        self._mgr, conn._id, payload, len(payload), block, len(block)
                    )
                if number < 0:
                    exc = failure(number, f"{doing or 'subscriptions'} to {some}")
                    if doing:
                        raise exc
                    self.last_error = str(exc)
                    logs.log_warning(f"MQTT session {self._number}: {exc}")
                    return
                self._asked[number] = some
                for name in some:
                    del self._unsent[name]

    def _failed(self, text: str) -> None:
        """Note why the connection ends."""
        self.last_error = text

    def _lost(self, conn: Connection) -> None:
        """Deal with the end of a connection; its handler has been told."""
        with self._lock:
            if conn is not self._connection:
                return
            for names in self._asked.values():
                self._unsent.update(dict.fromkeys(names))
            self._asked.clear()
            if self._state == CLOSED or self._reconnect is None:
                self._end()
                lib.mgx_mqtt_session_free(self._mgr, self._number)
                return
            held = monotonic() - self._since
            if self._state == OPEN and held > self._reconnect._window(self.attempts):
                self.attempts = 0
            self._wait()

    def _wait(self) -> None:
        """Have it connect again after a while. The lock is held."""
        from random import uniform

        manager = self._manager()
        policy = self._reconnect
        if manager is None or policy is None:
            self._end()
            return
        delay = uniform(0, policy._window(self.attempts))
        if self._patient:
            delay = policy.max_delay
        self._state = WAITING
        self._due = monotonic() + delay
        try:
            self._timer = manager.timer_add(delay * 1000, self._again)
        except Error:  # the manager is being closed
            self._end()

    def _again(self) -> None:
        """Try once more."""
        with self._lock:
            if self._state != WAITING:
                return
            self._state = CONNECTING
            self._timer = None
            self._patient = False
            self.attempts += 1
        try:
            self._connect()
        except BaseException as exc:
            with self._lock:
                conn = self._connection
                if self._state == CONNECTING and not (conn is not None and conn._id):
                    self._wait()
            if not isinstance(exc, Exception):
                raise
            self.last_error = str(exc)  # no descriptor left, say: another attempt may be luckier

    def _end(self) -> None:
        with self._lock:
            self._state = CLOSED
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class ConnectRequest:
    """What a client's CONNECT says, each time it connects.

    Raises:
        ValueError: If a value is out of its range, or does not go with another.
        OverflowError: If *keepalive* is not 0..65535.
        TypeError: If one is of the wrong type.
    """

    def __init__(
        self,
        version: int,
        client_id: str,
        username: str,
        password: Data,
        clean: bool,
        keepalive: int,
        properties: Properties | None,
        session_expiry: int | None,
        will: tuple[str | None, Data, int, bool, Properties | None],
    ) -> None:
        if version not in (4, 5):
            raise ValueError(f"version must be 4 (MQTT 3.1.1) or 5, not {version!r}")
        if not 0 <= keepalive <= 65535:
            raise OverflowError(f"keepalive must be 0..65535 seconds, not {keepalive}")
        self.version = version
        self.keepalive = keepalive
        self.client_id: str = client_id or mqtt.new_client_id()
        self.generated: bool = not client_id
        self.clean: bool = bool(clean)
        user = mqtt.utf8(username, "username")
        code = as_bytes(password, "password")
        mqtt.binary_field(code, "password")
        if code and not user and version == 4:
            raise ValueError("a password needs a username in MQTT 3.1.1")
        if self.generated and not self.clean:
            logs.log_warning("MQTT: a made-up client_id means a clean session")
            self.clean = True
        pairs = mqtt.property_pairs(properties or ())
        self._take_expiry(session_expiry, pairs)
        will_block = self._take_will(*will)
        texts = {
            "client_id": mqtt.utf8(self.client_id, "client_id"),
            "user": user,
            "pass": code,
            "props": self._block(pairs, "properties"),
            "will_props": self._block(will_block, "will_properties"),
            "will_topic": self._will_topic,
            "will_data": self._will_message,
        }
        # What struct() points at.
        self._texts = {name: (ffi.from_buffer(text), len(text)) for name, text in texts.items()}
        self._has = {"has_user": bool(user), "has_pass": bool(code)}

    def _block(self, properties: Properties | None, name: str) -> bytes:
        if not properties:
            return b""
        if self.version != 5:
            raise ValueError(f"{name} need version=5, not {self.version}")
        return mqtt.properties_block(properties)

    def _take_expiry(self, seconds: int | None, pairs: list[tuple[str, object]]) -> None:
        name = "session_expiry_interval"
        given = dict(pairs).get(name)
        if seconds is not None:
            if self.version != 5:
                raise ValueError(f"session_expiry needs version=5, not {self.version}")
            if given is not None:
                raise ValueError(f"give session_expiry or the property {name}, not both")
            pairs.append((name, seconds))
        elif self.version == 5 and not self.clean and given is None:
            # What 3.1.1 means by it, 3.1.2.4: the server keeps the session for good.
            seconds = 0xFFFFFFFF
            pairs.append((name, seconds))
        self._keeps = bool(given or seconds)

    def _take_will(
        self,
        topic: str | None,
        message: Data,
        qos: int,
        retain: bool,
        properties: Properties | None,
    ) -> Properties | None:
        self._will_qos = mqtt.checked_qos(qos, "will_qos")
        self._will_retain = bool(retain)
        self._will_message = as_bytes(message, "will_message")
        mqtt.binary_field(self._will_message, "will_message")
        self._will_topic = b"" if topic is None else mqtt.checked_topic(topic, "will_topic")
        if topic is None and (message or qos or retain or properties):
            raise ValueError("a will needs will_topic")
        return properties

    def check_version(self, wanted: Iterable[tuple[str, int]], block: bytes) -> None:
        """Refuse what only version 5 has: options beside the QoS, and properties.

        Raises:
            ValueError: If there is any on version 4.
        """
        if self.version == 4 and (block or any(options > 2 for _, options in wanted)):
            raise ValueError("properties and options of subscriptions need version=5")

    def resume(self) -> None:
        """From now on ask for the session that the server has by now."""
        if self.version == 5 and self._keeps:
            self.clean = False

    def struct(self, session: int) -> Any:
        """Return a new ``struct mgx_mqtt_connect *``; it aims at what this object keeps."""
        return ffi.new(
            "struct mgx_mqtt_connect *",
            {
                **self._texts,
                **self._has,
                "session": session,
                "has_will": bool(self._will_topic),
                "will_retain": self._will_retain,
                "will_qos": self._will_qos,
                "clean": self.clean,
                "version": self.version,
                "keepalive": self.keepalive,
            },
        )


def publish_failure(code: int, topic: str, size: int, properties: Properties | None) -> Exception:
    """Return the exception for a publish that C refused."""
    if code == lib.MGX_EINVAL:
        try:
            mqtt.checked_topic(topic)
        except (TypeError, ValueError) as exc:
            return exc
        if properties:
            return ValueError(f"properties do not fit a PUBLISH of this version: {properties!r}")
    cause = {lib.MGX_ESTATE: "not connected, and QoS 0 is not kept"}.get(code, "")
    return failure(code, f"mqtt_pub of {size} bytes to {topic!r}", cause)
