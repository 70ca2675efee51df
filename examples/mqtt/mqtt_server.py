"""Pass MQTT messages on to whoever has subscribed: a broker in its simplest form.

    python examples/mqtt/mqtt_server.py
    mosquitto_sub -t 'home/+/temperature' -v &
    mosquitto_pub -t home/kitchen/temperature -m 21.5

It keeps nothing: no retained messages, no wills, no sessions.  Those are in
mqtt_broker.py.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mongoose_py import Connection, Error, Handler, Manager, MqttMessage, mqtt_match

CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ = 1, 8, 10, 12
FAILURE, MOST = 0x80, 1000  # of subscriptions per client
LACKS = {  # what clients of version 5 are told
    "retain_available": 0,
    "shared_subscription_available": 0,
    "subscription_identifier_available": 0,
    "session_expiry_interval": 0,
}


def topic_match(message_topic: str, filter: str) -> bool:  # noqa: A002
    """Tell whether a subscription to *filter* gets what is published to a topic."""
    return mqtt_match(filter, message_topic)


class Broker(Handler):
    def __init__(self) -> None:
        self.clients: dict[str, Connection] = {}  # ``userdata``: QoS by filter

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        """Answer what wants an answer."""
        if message.cmd == CONNECT:
            self.welcome(conn, message)
        elif message.cmd == SUBSCRIBE:
            codes = [self.subscribe(conn, *pair) for pair in message.subscriptions]
            conn.mqtt_suback(message.id, codes)
        elif message.cmd == UNSUBSCRIBE:
            there = [conn.userdata[1].pop(name, None) for name in message.topics]
            conn.mqtt_unsuback(message.id, [0x11 if qos is None else 0 for qos in there])
        elif message.cmd == PINGREQ:
            conn.mqtt_pong()

    def welcome(self, conn: Connection, message: MqttMessage) -> None:
        """Let a client in; one that has its name already has to go."""
        name = message.client_id or f"client-{conn.id}"
        answer: dict[str, Any] = {}
        if message.version == 5:
            answer = (
                {**LACKS, "assigned_client_identifier": name} if not message.client_id else LACKS
            )
        old = self.clients.pop(name, None)
        if old is not None:
            old.mqtt_disconnect(0x8E)
        self.clients[name] = conn
        conn.userdata = name, {}
        conn.mqtt_connack(0, properties=answer)

    def subscribe(self, conn: Connection, name: str, options: int) -> int:
        """Note a subscription; return the QoS granted, or a failure."""
        wanted = conn.userdata[1]
        if name.startswith("$share/") or (len(wanted) >= MOST and name not in wanted):
            return FAILURE
        wanted[name] = options & 3
        return options & 3

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        """Send a message to everybody who wants it, once, and to its sender, too."""
        for client in self.clients.values():
            found = [
                qos for name, qos in client.userdata[1].items() if topic_match(message.topic, name)
            ]
            if found:
                try:
                    client.mqtt_pub(message.topic, message.data, min(message.qos, max(found)))
                except Error as exc:  # it reads too slowly, or is gone
                    print(f"{client.userdata[0]!a} misses a message: {exc}", file=sys.stderr)

    def on_close(self, conn: Connection) -> None:
        """Forget a client, unless another has taken its name."""
        if conn.userdata is not None and self.clients.get(conn.userdata[0]) is conn:
            del self.clients[conn.userdata[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description="A broker in its simplest form.")
    parser.add_argument("-l", "--listen", default="mqtt://127.0.0.1:1883", metavar="URL")
    args = parser.parse_args()
    with Manager(Broker()) as manager:
        listener = manager.mqtt_listen(args.listen)
        print(f"listening on {listener.url}", flush=True)
        manager.run()
    print("stopped")


if __name__ == "__main__":
    main()
