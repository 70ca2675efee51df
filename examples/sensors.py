"""Play a handful of devices for gateway.py, over real sockets.

    python examples/gateway.py
    python examples/sensors.py

A greenhouse (MQTT 3.1.1) and a tank (MQTT 5) measure and have an actuator each, which
takes a moment to do as it is told and then says so.  Three more sensors send lines, by UDP,
TCP and WebSocket.  A datagram that nobody receives is lost, as it would be for a real
sensor; connections are made again when they break, until the gateway has been away for
a while.  Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Callable

from mongoose_py import Connection, Handler, HttpMessage, Manager, MqttMessage, Reconnect

RETRY_MS = 1000
UNSENT_LIMIT = 64 * 1024  # bytes; a gateway this far behind misses measurements
SWITCHING_MS = 800  # what an actuator needs to do as it is told


@dataclass
class Sensor:
    """A value that wanders about between two limits."""

    name: str
    unit: str
    period_ms: int
    low: float
    high: float
    value: float
    goal: float  # what it is drawn to

    def measure(self) -> str:
        """Wander one step, drawn to the goal, and return value and unit."""
        width = self.high - self.low
        step = random.gauss(0, width / 25) + (self.goal - self.value) / 25
        self.value = min(self.high, max(self.low, self.value + step))
        return f"{self.value:.{1 if width < 100 else 0}f} {self.unit}"


HUMIDITY = Sensor("greenhouse.humidity", "%", 800, 40, 90, 65, 65)
TEMPERATURE = Sensor("greenhouse.temperature", "°C", 500, 15, 35, 24, 25)
LEVEL = Sensor("tank.level", "L", 2000, 0, 1000, 640, 400)
WIND = Sensor("garden.wind", "m/s", 250, 0, 14, 4, 7)
CO2 = Sensor("cellar.co2", "ppm", 1000, 400, 1800, 700, 1000)
SOLAR = Sensor("roof.solar", "W", 500, 0, 5200, 2600, 2600)


class MqttDevice(Handler):
    """Publishes its sensors; switches an actuator that draws the first of them to a goal."""

    def __init__(self, actuator: str, goals: dict[str, float], *sensors: Sensor) -> None:
        self.topic = f"actuators/{actuator}"
        self.goals = goals  # by state
        self.sensors = sensors
        self.state = "off"
        self.wanted = "off"

    def start(self, manager: Manager, address: str, name: str, version: int) -> None:
        """Begin to connect; the session connects again for as long as we run."""
        conn = manager.mqtt_connect(
            f"mqtt://{address}",
            self,
            name,
            version=version,
            will_topic=f"{self.topic}/state",
            will_message="offline",
            will_qos=1,
            will_retain=True,
            reconnect=Reconnect(1, 2),
        )
        self.session = conn.mqtt_session
        self.session.mqtt_sub(f"{self.topic}/set", qos=1)
        for sensor in self.sensors:
            manager.timer_add(sensor.period_ms, partial(self.send, sensor), repeat=True)

    def on_mqtt_open(self, conn: Connection, code: int) -> None:
        """Say how we are; the will may have said something else."""
        if code == 0:
            self.tell()
            for sensor in self.sensors:
                self.send(sensor)

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is no connection; the session goes on trying."""
        print(f"sensors: {self.topic}: {message}", flush=True)

    def on_mqtt_message(self, conn: Connection, message: MqttMessage) -> None:
        """Begin to do as we are told."""
        if message.text in self.goals:
            self.wanted = message.text
            conn.manager.timer_add(SWITCHING_MS, self.tell)

    def tell(self) -> None:
        """Acknowledge: publish the state we are in now."""
        self.state = self.wanted
        self.sensors[0].goal = self.goals[self.state]
        self.session.mqtt_pub(f"{self.topic}/state", self.state, 1, True)

    def send(self, sensor: Sensor) -> None:
        """Measure and publish; what nobody can take now is of no use later."""
        if self.session.state == "open":
            self.session.mqtt_pub(f"sensors/{sensor.name}", sensor.measure(), 0)


class LineSender(Handler):
    """Sends a sensor's lines on a TCP connection or a WebSocket."""

    def __init__(self, manager: Manager, sensor: Sensor, url: str, retries: int) -> None:
        self.manager = manager
        self.sensor = sensor
        self.url = url
        self.retries = retries
        self.failed = 0  # attempts in a row
        self.write: Callable[[str], object] = str  # to nowhere
        self.conn = self.dial()
        manager.timer_add(sensor.period_ms, self.send, repeat=True)

    def dial(self) -> Connection:
        """Begin to connect."""
        connect = self.manager.connect if self.url.startswith("tcp") else self.manager.ws_connect
        self.conn = connect(self.url, self)
        return self.conn

    def on_connect(self, conn: Connection) -> None:
        """Use the new TCP connection."""
        if self.url.startswith("tcp"):
            self.begin(conn.send)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """Use the new WebSocket."""
        self.begin(conn.ws_send)

    def begin(self, write: Callable[[str], object]) -> None:
        """Send at once: nobody has to wait for the slowest sensor."""
        self.write = write
        self.failed = 0
        self.send()

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is no connection."""
        print(f"sensors: {self.url}: {message}", flush=True)

    def on_close(self, conn: Connection) -> None:
        """Try again a little later, but not for ever."""
        self.write = str
        self.failed += 1
        if self.failed <= self.retries:
            self.manager.timer_add(RETRY_MS, self.dial)
        else:
            self.manager.stop()

    def send(self) -> None:
        """Measure and send."""
        if not self.conn.is_closing and self.conn.send_len < UNSENT_LIMIT:
            self.write(f"{self.sensor.name} {self.sensor.measure()}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Play some devices for gateway.py.")
    for option, default in (("udp", 9000), ("tcp", 9000), ("mqtt", 1883), ("ws", 8000)):
        parser.add_argument(f"--{option}", default=f"127.0.0.1:{default}", metavar="HOST:PORT")
    parser.add_argument("--retries", type=int, default=15, help="attempts, one a second")
    args = parser.parse_args()
    with Manager() as manager:
        senders = [
            LineSender(manager, CO2, f"tcp://{args.tcp}", args.retries),
            LineSender(manager, SOLAR, f"ws://{args.ws}/device", args.retries),
        ]
        goals = {"off": TEMPERATURE.goal, "on": 17}  # the fan cools
        greenhouse = MqttDevice("greenhouse.fan", goals, TEMPERATURE, HUMIDITY)
        greenhouse.start(manager, args.mqtt, "greenhouse", 4)
        goals = {"off": LEVEL.goal, "on": 950}  # the pump fills it
        MqttDevice("tank.pump", goals, LEVEL).start(manager, args.mqtt, "tank", 5)
        udp = manager.connect(f"udp://{args.udp}", Handler())

        def send_wind() -> None:
            with suppress(OSError):  # nobody may listen there at the moment
                udp.send(f"{WIND.name} {WIND.measure()}")

        manager.timer_add(WIND.period_ms, send_wind, repeat=True, run_now=True)
        manager.run()
    if any(sender.failed > args.retries for sender in senders):
        print("sensors: giving up")


if __name__ == "__main__":
    main()
