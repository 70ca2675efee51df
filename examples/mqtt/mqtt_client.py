"""Answer each message of one MQTT topic on another, for as long as it takes.

    python examples/mqtt/mqtt_server.py
    python examples/mqtt/mqtt_client.py
    mosquitto_sub -t mg/123/tx &
    mosquitto_pub -t mg/123/rx -m hello

When the broker is lost it connects again; pings and subscriptions are the
library's business.  On Ctrl-C it says goodbye.
"""

from __future__ import annotations

import argparse
import sys

from mongoose_py import Connection, Handler, Manager, MqttMessage, Reconnect


class Echo(Handler):
    def __init__(self, topic: str, qos: int) -> None:
        self.topic = topic
        self.qos = qos

    def on_mqtt_open(self, conn: Connection, code: int) -> None:
        print("connected" if code == 0 else f"refused with code {code}", flush=True)

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        """Answer one message, whatever bytes are in it."""
        print(f"got {message.topic!a} {message.data!r}", flush=True)
        answer = f"Got {message.topic} -> ".encode() + message.data
        conn.mqtt_pub(self.topic, answer, self.qos)

    def on_error(self, conn: Connection, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def on_close(self, conn: Connection) -> None:
        print("disconnected", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer MQTT messages.")
    parser.add_argument("-u", "--url", default="mqtt://127.0.0.1:1883")
    parser.add_argument("-s", "--sub-topic", default="mg/123/rx", metavar="TOPIC")
    parser.add_argument("-p", "--pub-topic", default="mg/123/tx", metavar="TOPIC")
    parser.add_argument("-q", "--qos", type=int, choices=[0, 1, 2], default=1)
    parser.add_argument("-k", "--keepalive", type=int, default=5, metavar="SECONDS")
    args = parser.parse_args()
    with Manager() as manager:
        conn = manager.mqtt_connect(
            args.url,
            Echo(args.pub_topic, args.qos),
            keepalive=args.keepalive,
            reconnect=Reconnect(min_delay=0.5, max_delay=3),
        )
        # On each connection, when it is there.
        conn.mqtt_session.mqtt_sub(args.sub_topic, args.qos)
        manager.run(drain=1)  # says goodbye to the server
    print("stopped")


if __name__ == "__main__":
    main()
