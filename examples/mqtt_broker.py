"""A small MQTT broker for 3.1.1 and 5.0: QoS 0 to 2, wills, retained messages, sessions.

    python examples/mqtt_broker.py
    mosquitto_sub -t 'home/#' -v &
    mosquitto_pub -t home/kitchen -m 21.5

Everything is in memory. It asks nobody for a password, and has no shared subscriptions,
subscription identifiers or expiry of waiting messages; version 5 clients are told.
"""

from __future__ import annotations

import argparse
import logging
from itertools import count
from typing import Any

from mongoose_py import Connection, Error, Handler, Limits, Manager, MqttMessage, mqtt_match

CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 8, 10, 12, 14
NO_LOCAL, KEEP_RETAIN = 4, 8  # options of a subscription; the low two bits are its QoS
FOREVER = 0xFFFFFFFF
MOST = {"clients": 10_000, "subscriptions": 1000, "retained": 100_000, "topics": 10_000}
Properties = dict[str, Any]


class Client:
    """What the broker knows of one client identifier, connected or not."""

    def __init__(self, name: str, manager: Manager) -> None:
        self.name = name
        self.session = manager.mqtt_session()  # messages of QoS 1 and 2, kept in C
        self.subscriptions: dict[str, int] = {}  # filters: options
        self.conn: Connection | None = None
        self.version = 4
        self.expiry = 0  # seconds it is remembered without a connection
        self.will: tuple[str, bytes, int, bool, Properties] | None = None
        self.will_delay = 0
        self.absences = 0  # how often it has left: tells timers which one they are for

    def send(self, topic: str, data: bytes, qos: int, retain: bool, props: Properties) -> None:
        """Pass a message on, or keep it when it may not be lost."""
        given = props if self.version == 5 and props else None
        try:
            if qos:
                self.session.mqtt_pub(topic, data, qos, retain, properties=given)
            elif self.conn is not None:
                self.conn.mqtt_pub(topic, data, 0, retain, properties=given)
        except Error as exc:  # it reads too slowly, or takes no message of this size
            logging.info("%s misses a message to %s: %s", self.name, topic, exc)


class Broker(Handler):
    """Knows who is there, who wants what, and what was retained."""

    def __init__(self) -> None:
        self.manager = Manager(self, limits=Limits(mqtt_queue=1 << 20, send_backlog=1 << 24))
        self.clients: dict[str, Client] = {}
        self.wanted: dict[str, dict[Client, int]] = {}  # by filter
        self.routes: dict[str, dict[Client, int]] = {}  # by topic: as found out before
        self.retained: dict[str, tuple[bytes, int, Properties]] = {}
        self.names = (f"auto-{number}" for number in count(1))

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        props = message.properties_by_name() if message.version == 5 else {}
        props.pop("topic_alias", None)  # was between that client and us
        self.publish(message.topic, message.data, message.qos, message.retain, props, conn.userdata)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        if message.cmd == CONNECT:
            self.welcome(conn, message)
        elif message.cmd == SUBSCRIBE:
            self.subscribe(conn.userdata, conn, message)
        elif message.cmd == UNSUBSCRIBE:
            there = [self.unsubscribe(conn.userdata, name) for name in message.topics]
            conn.mqtt_unsuback(message.id, [0 if found else 0x11 for found in there])
        elif message.cmd == PINGREQ:
            conn.mqtt_pong()
        elif message.cmd == DISCONNECT:
            client = conn.userdata
            if message.reason_codes != [4]:  # "disconnect with will"
                client.will = None
            expiry = message.properties_by_name().get("session_expiry_interval")
            client.expiry = client.expiry if expiry is None else expiry

    def on_error(self, conn: Connection, message: str) -> None:
        logging.info("%s: %s", conn.remote_addr, message)

    def on_close(self, conn: Connection) -> None:
        client = conn.userdata
        if client is not None and client.conn is conn:  # and no other has taken over
            self.leave(client)

    # -- clients coming and going -------------------------------------------

    def welcome(self, conn: Connection, message: MqttMessage) -> None:
        """Answer CONNECT."""
        if message.version not in (4, 5):
            conn.mqtt_connack(1)
            return
        five = message.version == 5
        name, props = message.client_id, message.properties_by_name()
        answer: Properties = {}
        if not name:
            name = answer["assigned_client_identifier"] = next(self.names)
            if not five and not message.clean_session:
                conn.mqtt_connack(2)  # nobody could ever come back to it
                return
        client = self.clients.get(name)
        if client is not None and client.conn is not None:
            client.conn.mqtt_disconnect(0x8E)  # taken over
            self.leave(client)
            client = self.clients.get(name)
        present = client is not None and not message.clean_session
        if client is None or not present:
            if client is not None:
                self.forget(client)
            elif len(self.clients) >= MOST["clients"]:
                conn.mqtt_connack(0x97 if five else 3)
                return
            client = self.clients[name] = Client(name, self.manager)
        client.conn, client.version = conn, message.version
        client.expiry = 0 if message.clean_session else FOREVER
        if five:
            client.expiry = props.get("session_expiry_interval", 0)
            answer.update(shared_subscription_available=0, subscription_identifier_available=0)
        client.will = None
        if message.will is not None:
            will = message.will
            will_props = will.properties_by_name()
            client.will_delay = will_props.pop("will_delay_interval", 0)
            client.will = will.topic, will.message, will.qos, will.retain, will_props
        conn.userdata = client
        conn.mqtt_connack(0, present, answer if five else None, session=client.session)

    def leave(self, client: Client) -> None:
        """Deal with a connection that is gone."""
        client.conn = None
        client.absences += 1
        if client.expiry == 0:
            self.forget(client)
            return
        if client.will_delay == 0:
            self.publish_will(client)
        absence = client.absences

        def later(action: Any) -> Any:  # unless it has come back meanwhile
            return lambda: action(client) if client.absences == absence and not client.conn else 0

        if client.will is not None:
            delay = min(client.will_delay, client.expiry)
            self.manager.timer_add(delay * 1000, later(self.publish_will))
        if client.expiry != FOREVER:
            self.manager.timer_add(client.expiry * 1000, later(self.forget))

    def publish_will(self, client: Client) -> None:
        """Publish what a client has left for when it is lost."""
        will, client.will = client.will, None
        if will is not None:
            self.publish(*will)

    def forget(self, client: Client) -> None:
        """End a session."""
        self.publish_will(client)
        for name in list(client.subscriptions):
            self.unsubscribe(client, name)
        client.session.close()
        if self.clients.get(client.name) is client:
            del self.clients[client.name]

    # -- messages -----------------------------------------------------------

    def subscribe(self, client: Client, conn: Connection, message: MqttMessage) -> None:
        """Answer SUBSCRIBE, and send what was retained."""
        codes, new = [], []
        for name, options in message.subscriptions:
            known = name in client.subscriptions
            if name.startswith("$share/"):
                codes.append(0x9E if client.version == 5 else 0x80)
                continue
            if not known and len(client.subscriptions) >= MOST["subscriptions"]:
                codes.append(0x97 if client.version == 5 else 0x80)
                continue
            client.subscriptions[name] = options
            self.wanted.setdefault(name, {})[client] = options
            codes.append(options & 3)
            handling = options >> 4  # retained messages: 0 always, 1 for new ones, 2 never
            if handling == 0 or (handling == 1 and not known):
                new.append((name, options & 3))
        self.routes.clear()
        conn.mqtt_suback(message.id, codes)
        for name, granted in new:
            for topic, (data, qos, props) in self.retained.items():
                if mqtt_match(name, topic):
                    client.send(topic, data, min(qos, granted), True, props)

    def unsubscribe(self, client: Client, name: str) -> bool:
        """Remove a subscription; return whether it was there."""
        if client.subscriptions.pop(name, None) is None:
            return False
        del self.wanted[name][client]
        if not self.wanted[name]:
            del self.wanted[name]
        self.routes.clear()
        return True

    def publish(
        self,
        topic: str,
        data: bytes,
        qos: int,
        retain: bool,
        props: Properties,
        sender: Client | None = None,
    ) -> None:
        """Send a message to all who want it."""
        if retain:
            self.retained.pop(topic, None)
            if data and len(self.retained) < MOST["retained"]:
                self.retained[topic] = data, qos, props
        routes = self.routes.get(topic)
        if routes is None:
            routes = self.route(topic)
        for client, options in routes.items():
            if options & NO_LOCAL and client is sender:
                continue
            kept = retain and options & KEEP_RETAIN != 0
            client.send(topic, data, min(qos, options & 3), kept, props)

    def route(self, topic: str) -> dict[Client, int]:
        """Find out who wants a topic: of a client's matching filters the highest QoS."""
        routes: dict[Client, int] = {}
        for name, clients in self.wanted.items():
            if mqtt_match(name, topic):
                for client, options in clients.items():
                    if client not in routes or options & 3 > routes[client] & 3:
                        routes[client] = options
        if len(self.routes) >= MOST["topics"]:
            self.routes.clear()
        self.routes[topic] = routes
        return routes


def main() -> None:
    parser = argparse.ArgumentParser(description="A small MQTT broker.")
    parser.add_argument("--port", type=int, default=1883, help="0 picks a free one")
    parser.add_argument("--verbose", action="store_true", help="tell what goes wrong")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING)
    broker = Broker()
    with broker.manager as manager:
        listener = manager.mqtt_listen(f"mqtt://127.0.0.1:{args.port}")
        assert listener.local_addr is not None  # it listens, so it has an address
        print(f"listening on mqtt://127.0.0.1:{listener.local_addr[1]}", flush=True)
        manager.run()


if __name__ == "__main__":
    main()
