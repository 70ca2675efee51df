"""Measure MQTT: a broker's CPU per message it passes on, a client's per message it publishes.

    python benchmarks/mqtt.py
    python benchmarks/mqtt.py --rounds 2 --only client
    python benchmarks/mqtt.py --write      # and put the tables into README.md

Linux, mosquitto and paho-mqtt. What is compared takes turns within a round, and ratios
are taken round by round. The brokers are examples/mqtt_broker.py and mosquitto; the load is
pairs of our own clients, each of which has so many messages under way. The clients publish
to mosquitto, as fast as they can.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import procfs
import rig

from mongoose_py import Connection, Handler, Manager, MqttMessage

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
PAYLOAD = b"x" * 64
BROKERS = ("mqtt_broker.py", "mosquitto")
LOADS = {  # pairs, under way in each, QoS, subscribers per message
    "QoS 0": (32, 1, 0, 1),
    "QoS 0, 16 under way": (32, 16, 0, 1),
    "QoS 0 to 10 subscribers": (4, 4, 0, 10),
    "QoS 1": (32, 1, 1, 1),
}
CLIENTS = ("mongoose_py", "paho-mqtt")
COUNTS = {0: 20_000, 1: 5_000}
TARGETS = {  # (what, one, another): at most
    ("QoS 0", *BROKERS): 1.0,
    ("QoS 0, 16 under way", *BROKERS): 1.0,
    ("QoS 0 to 10 subscribers", *BROKERS): 1.0,
    ("publish QoS 0", *CLIENTS): 1 / 5,
    ("publish QoS 1", *CLIENTS): 1 / 3,
}


@contextmanager
def broker(name: str, cpu: int) -> Iterator[tuple[int, int]]:
    """Start a broker; give its port and process number."""
    port = rig.free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\nuser root\n"
            "set_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        )
        if name == "mosquitto":
            command = [str(MOSQUITTO), "-c", str(config)]
        else:
            command = [
                sys.executable,
                str(rig.HERE.parent / "examples" / name),
                "--port",
                str(port),
            ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                os.sched_setaffinity(process.pid, {cpu})
                wait_for(port)
                yield port, process.pid
            finally:
                process.kill()


def wait_for(port: int) -> None:
    """Return when somebody accepts at *port*."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens at {port}")


# -- brokers ----------------------------------------------------------------


class Pair(Handler):
    """A publisher and its subscribers: what has come to all is published again."""

    def __init__(
        self, manager: Manager, url: str, number: int, window: int, qos: int, width: int
    ) -> None:
        self.topic = f"bench/{number}/value"
        self.window, self.qos, self.width = window, qos, width
        self.subscribed = self.got = self.missing = 0
        self.source = manager.mqtt_connect(url, events=[])
        for _ in range(width):
            manager.mqtt_connect(url, self).mqtt_sub(self.topic, qos)

    def on_mqtt_command(self, conn: Connection, message: MqttMessage) -> None:
        self.subscribed += message.cmd == 9

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        self.got += 1
        self.missing -= 1
        if self.missing % self.width == 0:
            self.publish()

    def publish(self) -> None:
        self.missing += self.width
        self.source.mqtt_pub(self.topic, PAYLOAD, self.qos)


def pass_on(port: int, pid: int, load: tuple[int, int, int, int], seconds: float) -> float:
    """Return the broker's CPU per delivered message, in microseconds."""
    pairs, window, qos, width = load
    with Manager() as manager:
        url = f"mqtt://127.0.0.1:{port}"
        all_pairs = [Pair(manager, url, n, window, qos, width) for n in range(pairs)]
        while not all(pair.subscribed == width for pair in all_pairs):
            manager.poll(100)
        for pair in all_pairs:
            for _ in range(window):
                pair.publish()
        for warm in (True, False):
            began = time.monotonic()
            before, got = procfs.cpu_ns(pid), sum(pair.got for pair in all_pairs)
            while time.monotonic() - began < (0.2 if warm else seconds):
                manager.poll(100)
        spent = procfs.cpu_ns(pid) - before
        return spent / (sum(pair.got for pair in all_pairs) - got) / 1000


# -- clients ----------------------------------------------------------------


def publish_with_mongoose(port: int, count: int, qos: int) -> None:
    with Manager(events=[]) as manager:
        conn = manager.mqtt_connect(f"mqtt://127.0.0.1:{port}")
        session = conn.mqtt_session
        while session.state != "open":
            manager.poll(100)
        for n in range(count):
            conn.mqtt_pub("bench/client/value", PAYLOAD, qos)
            if n % 100 == 0:
                manager.poll(0)
        while session.pending or conn.send_len:
            manager.poll(100)


def publish_with_paho(port: int, count: int, qos: int) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    while not client.is_connected():
        client.loop(0.1)
    client.loop_start()
    info: Any = None
    for _ in range(count):
        info = client.publish("bench/client/value", PAYLOAD, qos)
    info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


PUBLISH = {"mongoose_py": publish_with_mongoose, "paho-mqtt": publish_with_paho}


def publish(name: str, port: int, qos: int, cpu: int) -> float:
    """Return a client's CPU per message it publishes, in microseconds; it has a process."""
    command = [sys.executable, __file__, "--publish", name, str(port), str(qos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        os.sched_setaffinity(process.pid, {cpu})
        assert process.stdout is not None
        return float(process.stdout.read())


def published(name: str, port: int, qos: int) -> float:
    PUBLISH[name](port, 500, qos)  # what is imported and allocated once
    before = time.process_time()
    PUBLISH[name](port, COUNTS[qos], qos)
    return (time.process_time() - before) / COUNTS[qos] * 1e6


# -- the report -------------------------------------------------------------


def hand_in(times: rig.Times, args: argparse.Namespace) -> None:
    verdicts = [
        times.verdict(f"{what}: {one} / {other}", what, one, other, round(target, 2))
        for (what, one, other), target in TARGETS.items()
        if times.has(what, one, other)
    ]
    note = (
        "- CPU time per message, median (lowest to highest) of "
        f"{args.rounds} rounds of {args.seconds:g} s; payloads of 64 bytes. Brokers: 32 "
        "publishers with a subscriber each, one message under way or 16, or 4 with 10 each; "
        "per delivered message. Clients: their own CPU, publishing to mosquitto as fast as "
        "they can."
    )
    rig.hand_in(args, "mqtt", verdicts, ["what", "program", "µs"], times.table(), note)


def main() -> int:
    parser = rig.options(__doc__)
    parser.add_argument("--only", choices=["broker", "client"])
    parser.add_argument("--publish", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        name, port, qos = args.publish
        print(published(name, int(port), int(qos)))
        return 0
    if MOSQUITTO is None:
        return print("mosquitto is not installed") or 1
    cpu, other_cpu = rig.two_cpus()
    times = rig.Times()
    for _ in range(args.rounds):
        for what, load in LOADS.items() if args.only != "client" else ():
            for name in BROKERS:
                with broker(name, cpu) as (port, pid):
                    times.add(what, name, pass_on(port, pid, load, args.seconds))
        for qos in COUNTS if args.only != "broker" else ():
            for name in CLIENTS:
                with broker("mosquitto", other_cpu) as (port, _):
                    times.add(f"publish QoS {qos}", name, publish(name, port, qos, cpu))
    hand_in(times, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
