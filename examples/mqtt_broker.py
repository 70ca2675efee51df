"""A small MQTT broker for 3.1.1 and 5.0: QoS 0 to 2, wills, retained messages, sessions.

    python examples/mqtt_broker.py
    mosquitto_sub -t 'home/#' -v &
    mosquitto_pub -t home/kitchen -m 21.5

Not here: disks, passwords, shared subscriptions, expiry of waiting messages.
"""

from __future__ import annotations

import argparse
import logging
from functools import lru_cache
from typing import Any, Callable, NamedTuple

from mongoose_py import Connection, Error, Handler, Limits, Manager, MqttMessage, mqtt_match

CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 8, 10, 12, 14
NO_LOCAL, KEEP = 4, 8  # options of a subscription; the low two bits are its QoS
EXPIRY, FOREVER = "session_expiry_interval", 0xFFFFFFFF
QUOTA, NO_SHARED, TAKEN_OVER = 0x97, 0x9E, 0x8E


class Message(NamedTuple):
    topic: str
    data: bytes
    qos: int
    retain: bool
    props: dict[str, Any]

    @classmethod
    def of(cls, source: Any, data: bytes) -> Message:
        props = source.properties_by_name()
        props.pop("topic_alias", None)  # was between that client and us
        return cls(source.topic, data, source.qos, source.retain, props)


class Client:
    """What the broker knows of one client identifier, connected or not."""

    def __init__(self, name: str, manager: Manager) -> None:
        self.name = name
        self.session = manager.mqtt_session()  # messages of QoS 1 and 2, kept in C
        self.subscriptions: dict[str, int] = {}  # filters with their options
        self.conn: Connection | None = None
        self.five = False  # it speaks version 5
        self.expiry = 0  # seconds it is remembered without a connection
        self.will: Message | None = None
        self.visits = 0  # tells timers which of its absences they are for

    def send(self, message: Message, qos: int, retain: bool) -> None:
        """Pass a message on, or keep it when it may not be lost."""
        props = message.props if self.five else None
        try:
            if qos or self.conn is not None:
                self.session.mqtt_pub(message.topic, message.data, qos, retain, properties=props)
        except Error as exc:  # it reads too slowly, or takes no message of this size
            logging.warning("%s misses a message: %s", self.name, exc)


class Broker(Handler):
    """Knows who is there, who wants what, and what was retained."""

    CLIENTS, SUBSCRIPTIONS, RETAINED, ROUTES = 10_000, 1000, 100_000, 10_000  # at most
    LIMITS = Limits(mqtt_queue=1 << 20, send_backlog=1 << 24)

    def __init__(self) -> None:
        self.manager = Manager(self, limits=self.LIMITS)
        self.clients: dict[str, Client] = {}
        self.retained: dict[str, Message] = {}
        self.routes = lru_cache(self.ROUTES)(self.find_routes)

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        self.publish(Message.of(message, message.data), conn.userdata)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        client = conn.userdata
        if message.cmd == CONNECT:
            self.welcome(conn, message)
        elif message.cmd == SUBSCRIBE:
            self.subscribe(client, conn, message)
        elif message.cmd == UNSUBSCRIBE:
            there = [client.subscriptions.pop(name, None) for name in message.topics]
            self.routes.cache_clear()
            conn.mqtt_unsuback(message.id, [0x11 if one is None else 0 for one in there])
        elif message.cmd == PINGREQ:
            conn.mqtt_pong()
        elif message.cmd == DISCONNECT:
            client.will = client.will if message.reason_codes == [4] else None
            client.expiry = message.properties_by_name().get(EXPIRY, client.expiry)

    def on_close(self, conn: Connection) -> None:
        if conn.userdata is not None and conn.userdata.conn is conn:  # not taken over
            self.leave(conn.userdata)

    def welcome(self, conn: Connection, message: MqttMessage) -> None:
        five, clean = message.version == 5, message.clean_session
        if message.version not in (4, 5):
            return conn.mqtt_connack(1)
        if not message.client_id and not five and not clean:
            return conn.mqtt_connack(2)  # nobody could ever come back to it
        name = message.client_id or f"auto-{conn.id}"
        old = self.clients.get(name)
        if old is not None and old.conn is not None:
            old.conn.mqtt_disconnect(TAKEN_OVER)
            self.leave(old)
        if clean and name in self.clients:
            self.forget(self.clients[name])
        present = name in self.clients
        if not present and len(self.clients) >= self.CLIENTS:
            return conn.mqtt_connack(QUOTA if five else 3)
        client = self.clients[name] if present else Client(name, self.manager)
        self.clients[name] = conn.userdata = client
        client.conn, client.five, client.visits = conn, five, client.visits + 1
        expiry = 0 if clean or five else FOREVER
        client.expiry = message.properties_by_name().get(EXPIRY, expiry)
        will = message.will
        client.will = Message.of(will, will.message) if will is not None else None
        answer = {"assigned_client_identifier": name, "shared_subscription_available": 0}
        return conn.mqtt_connack(0, present, answer if five else None, session=client.session)

    def leave(self, client: Client) -> None:
        client.conn, visit = None, client.visits
        delay = client.will.props.pop("will_delay_interval", 0) if client.will else 0

        def unless_back(action: Callable[[Client], None]) -> Callable[[], None]:
            return lambda: action(client) if client.visits == visit else None

        if client.expiry == 0:
            self.forget(client)
        elif delay == 0:
            self.publish_will(client)
        for seconds, action in ((delay, self.publish_will), (client.expiry, self.forget)):
            if 0 < seconds < FOREVER:
                self.manager.timer_add(seconds * 1000, unless_back(action))

    def publish_will(self, client: Client) -> None:
        will, client.will = client.will, None
        if will is not None:
            self.publish(will, client)

    def forget(self, client: Client) -> None:
        client.visits += 1
        self.publish_will(client)
        client.session.close()
        del self.clients[client.name]
        self.routes.cache_clear()

    def subscribe(self, client: Client, conn: Connection, message: MqttMessage) -> None:
        """Answer SUBSCRIBE, and send what was retained."""
        codes, asked = [], []
        for name, options in message.subscriptions:
            known = name in client.subscriptions
            full = not known and len(client.subscriptions) >= self.SUBSCRIPTIONS
            if full or name.startswith("$share/"):
                codes.append((QUOTA if full else NO_SHARED) if client.five else 0x80)
                continue
            client.subscriptions[name] = options
            codes.append(options & 3)
            if options >> 4 == 0 or (options >> 4 == 1 and not known):  # retain handling
                asked.append((name, options & 3))
        self.routes.cache_clear()
        conn.mqtt_suback(message.id, codes)
        for name, granted in asked:
            for one in self.retained.values():
                if mqtt_match(name, one.topic):
                    client.send(one, min(one.qos, granted), True)

    def publish(self, one: Message, sender: Client | None) -> None:
        if one.retain:
            self.retained.pop(one.topic, None)
            if one.data and len(self.retained) < self.RETAINED:
                self.retained[one.topic] = one
        for client, options in self.routes(one.topic):
            if client is not sender or not options & NO_LOCAL:
                client.send(one, min(one.qos, options & 3), one.retain and options & KEEP != 0)

    def find_routes(self, topic: str) -> list[tuple[Client, int]]:
        """Find out who wants a topic: of a client's matching filters the highest QoS."""
        return [
            (client, max(found, key=lambda options: options & 3))
            for client in self.clients.values()
            if (found := [o for f, o in client.subscriptions.items() if mqtt_match(f, topic)])
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description="A small MQTT broker.")
    parser.add_argument("--port", type=int, default=1883, help="0 picks a free one")
    broker, port = Broker(), parser.parse_args().port
    with broker.manager as manager:
        listener = manager.mqtt_listen(f"mqtt://127.0.0.1:{port}")
        print(f"listening on {listener.url}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
