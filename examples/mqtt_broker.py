"""A small MQTT broker for 3.1.1 and 5.0: QoS 0 to 2, wills, retained messages, sessions.

    python examples/mqtt_broker.py
    mosquitto_sub -t 'home/#' -v &
    mosquitto_pub -t home/kitchen -m 21.5

Everything is in memory. It asks nobody for a password, and has no shared subscriptions,
subscription identifiers or expiry of waiting messages.
"""

from __future__ import annotations

import argparse
import logging
from itertools import count
from typing import Any, Callable, NamedTuple

from mongoose_py import Connection, Error, Handler, Limits, Manager, MqttMessage, mqtt_match

CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 8, 10, 12, 14
NO_LOCAL, KEEP_RETAIN = 4, 8  # options of a subscription; the low two bits are its QoS
FOREVER = 0xFFFFFFFF
QUOTA, TAKEN_OVER, NO_SHARED = 0x97, 0x8E, 0x9E
NOT_HERE = {"shared_subscription_available": 0, "subscription_identifier_available": 0}


class Message(NamedTuple):
    topic: str
    data: bytes
    qos: int
    retain: bool
    props: dict[str, Any]


class Client:
    """What the broker knows of one client identifier, connected or not."""

    def __init__(self, name: str, manager: Manager) -> None:
        self.name = name
        self.session = manager.mqtt_session()  # messages of QoS 1 and 2, kept in C
        self.subscriptions: set[str] = set()
        self.conn: Connection | None = None
        self.five = False  # it speaks version 5
        self.expiry = 0  # seconds it is remembered without a connection
        self.will: Message | None = None
        self.visits = 0  # tells timers which of its absences they are for

    def send(self, message: Message, qos: int, retain: bool) -> None:
        """Pass a message on, or keep it when it may not be lost."""
        topic, data, props = message.topic, message.data, message.props if self.five else None
        try:
            if qos:
                self.session.mqtt_pub(topic, data, qos, retain, properties=props)
            elif self.conn is not None:
                self.conn.mqtt_pub(topic, data, 0, retain, properties=props)
        except Error as exc:  # it reads too slowly, or takes no message of this size
            logging.warning("%s misses a message to %s: %s", self.name, topic, exc)


class Broker(Handler):
    """Knows who is there, who wants what, and what was retained."""

    CLIENTS, SUBSCRIPTIONS, RETAINED, ROUTES = 10_000, 1000, 100_000, 10_000  # at most
    LIMITS = Limits(mqtt_queue=1 << 20, send_backlog=1 << 24)

    def __init__(self) -> None:
        self.manager = Manager(self, limits=self.LIMITS)
        self.clients: dict[str, Client] = {}
        self.wanted: dict[str, dict[Client, int]] = {}  # by filter: options
        self.routes: dict[str, dict[Client, int]] = {}  # by topic: as found out before
        self.retained: dict[str, Message] = {}
        self.names = (f"auto-{number}" for number in count(1))

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        props = message.properties_by_name() if conn.userdata.five else {}
        props.pop("topic_alias", None)  # was between that client and us
        one = Message(message.topic, message.data, message.qos, message.retain, props)
        self.publish(one, conn.userdata)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        client = conn.userdata
        if message.cmd == CONNECT:
            self.welcome(conn, message)
        elif message.cmd == SUBSCRIBE:
            self.subscribe(client, conn, message)
        elif message.cmd == UNSUBSCRIBE:
            there = [self.unsubscribe(client, name) for name in message.topics]
            conn.mqtt_unsuback(message.id, [0 if found else 0x11 for found in there])
        elif message.cmd == PINGREQ:
            conn.mqtt_pong()
        elif message.cmd == DISCONNECT:
            client.will = client.will if message.reason_codes == [4] else None
            props = message.properties_by_name()
            client.expiry = props.get("session_expiry_interval", client.expiry)

    def on_close(self, conn: Connection) -> None:
        if conn.userdata is not None and conn.userdata.conn is conn:  # not taken over
            self.leave(conn.userdata)

    # -- clients coming and going -------------------------------------------

    def welcome(self, conn: Connection, message: MqttMessage) -> None:
        five, clean = message.version == 5, message.clean_session
        if message.version not in (4, 5):
            return conn.mqtt_connack(1)
        if not message.client_id and not five and not clean:
            return conn.mqtt_connack(2)  # nobody could ever come back to it
        name = message.client_id or next(self.names)
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
        asked = message.properties_by_name()
        client.expiry = asked.get("session_expiry_interval", 0 if clean or five else FOREVER)
        will, client.will = message.will, None
        if will is not None:
            props = will.properties_by_name()
            client.will = Message(will.topic, will.message, will.qos, will.retain, props)
        answer: dict[str, Any] = {"assigned_client_identifier": name, **NOT_HERE} if five else {}
        return conn.mqtt_connack(0, present, answer, session=client.session)

    def leave(self, client: Client) -> None:
        """Deal with a connection that is gone."""
        client.conn = None
        delay = client.will.props.pop("will_delay_interval", 0) if client.will else 0
        if min(delay, client.expiry) == 0:
            self.publish_will(client)
        else:
            self.later(delay, client, self.publish_will)
        if client.expiry == 0:
            self.forget(client)
        elif client.expiry != FOREVER:
            self.later(client.expiry, client, self.forget)

    def later(self, seconds: int, client: Client, action: Callable[[Client], None]) -> None:
        """Do it then, unless the client has come back."""
        visit = client.visits
        callback = lambda: action(client) if client.visits == visit else None  # noqa: E731
        self.manager.timer_add(seconds * 1000, callback)

    def publish_will(self, client: Client) -> None:
        will, client.will = client.will, None
        if will is not None:
            self.publish(will, client)

    def forget(self, client: Client) -> None:
        """End a session."""
        client.visits += 1
        self.publish_will(client)
        for name in list(client.subscriptions):
            self.unsubscribe(client, name)
        client.session.close()
        del self.clients[client.name]

    # -- messages -----------------------------------------------------------

    def subscribe(self, client: Client, conn: Connection, message: MqttMessage) -> None:
        """Answer SUBSCRIBE, and send what was retained."""
        codes, asked = [], []
        for name, options in message.subscriptions:
            known = name in client.subscriptions
            full = not known and len(client.subscriptions) >= self.SUBSCRIPTIONS
            if full or name.startswith("$share/"):
                codes.append((QUOTA if full else NO_SHARED) if client.five else 0x80)
                continue
            client.subscriptions.add(name)
            self.wanted.setdefault(name, {})[client] = options
            codes.append(options & 3)
            if options >> 4 == 0 or (options >> 4 == 1 and not known):  # retain handling
                asked.append((name, options & 3))
        self.routes.clear()
        conn.mqtt_suback(message.id, codes)
        for name, granted in asked:
            for one in self.retained.values():
                if mqtt_match(name, one.topic):
                    client.send(one, min(one.qos, granted), True)

    def unsubscribe(self, client: Client, name: str) -> bool:
        """Remove a subscription; return whether it was there."""
        if name not in client.subscriptions:
            return False
        client.subscriptions.remove(name)
        del self.wanted[name][client]
        if not self.wanted[name]:
            del self.wanted[name]
        self.routes.clear()
        return True

    def publish(self, one: Message, sender: Client | None) -> None:
        """Send a message to all who want it."""
        if one.retain:
            self.retained.pop(one.topic, None)
            if one.data and len(self.retained) < self.RETAINED:
                self.retained[one.topic] = one
        routes = self.routes.get(one.topic)
        for client, options in (self.route(one.topic) if routes is None else routes).items():
            if client is not sender or not options & NO_LOCAL:
                client.send(
                    one, min(one.qos, options & 3), one.retain and options & KEEP_RETAIN > 0
                )

    def route(self, topic: str) -> dict[Client, int]:
        """Find out who wants a topic: of a client's matching filters the highest QoS."""
        if len(self.routes) >= self.ROUTES:
            self.routes.clear()
        routes = self.routes[topic] = {}
        for name in filter(lambda name: mqtt_match(name, topic), self.wanted):
            for client, options in self.wanted[name].items():
                if client not in routes or options & 3 > routes[client] & 3:
                    routes[client] = options
        return routes


def main() -> None:
    parser = argparse.ArgumentParser(description="A small MQTT broker.")
    parser.add_argument("--port", type=int, default=1883, help="0 picks a free one")
    broker, port = Broker(), parser.parse_args().port
    with broker.manager as manager:
        listener = manager.mqtt_listen(f"mqtt://127.0.0.1:{port}")
        assert listener.local_addr is not None  # it listens, so it has an address
        print(f"listening on mqtt://127.0.0.1:{listener.local_addr[1]}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
