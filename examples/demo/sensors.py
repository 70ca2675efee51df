"""Play a handful of devices for the gateway, over real sockets.

    python examples/gateway/gateway.py
    python examples/demo/sensors.py

A greenhouse (MQTT 3.1.1) and a tank (MQTT 5) measure and have an actuator each, which
takes a moment to do as it is told and then says so.  Three more sensors send lines, by UDP,
TCP and WebSocket.  A datagram that nobody receives is lost, as it would be for a real
sensor; connections are made again when they break.  Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

from mongoose_py import Connection, Handler, HttpMessage, Manager, MqttMessage, Reconnect, TlsOpts

RETRY_MS = 500
UNSENT_LIMIT = 64 * 1024  # bytes; a gateway this far behind misses measurements
SWITCHING_MS = 500  # what an actuator needs to do as it is told


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


def trust(url: str, tls: TlsOpts) -> TlsOpts | None:
    """Return *tls* for a URL that speaks it."""
    return tls if url.startswith(("tls:", "wss:", "mqtts:")) else None


class MqttDevice(Handler):
    """Publishes its sensors; switches an actuator that draws the first of them to a goal."""

    def __init__(self, actuator: str, goals: dict[str, float], *sensors: Sensor) -> None:
        self.topic = f"actuators/{actuator}"
        self.goals = goals  # by state
        self.sensors = sensors
        self.state = "off"
        self.wanted = "off"

    def start(self, manager: Manager, url: str, name: str, version: int, tls: TlsOpts) -> None:
        """Begin to connect; the session connects again for as long as we run."""
        conn = manager.mqtt_connect(
            url,
            self,
            name,
            tls=trust(url, tls),
            version=version,
            will_topic=f"{self.topic}/state",
            will_message="offline",
            will_qos=1,
            will_retain=True,
            reconnect=Reconnect(RETRY_MS / 1000, 2),
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

    def __init__(self, manager: Manager, sensor: Sensor, url: str, tls: TlsOpts) -> None:
        self.manager = manager
        self.sensor = sensor
        self.url = url
        self.tls = trust(url, tls)
        self.is_ws = url.startswith("ws")
        self.write: Callable[[str], object] = str  # to nowhere
        self.conn = self.dial()
        manager.timer_add(sensor.period_ms, self.send, repeat=True)

    def dial(self) -> Connection:
        """Begin to connect."""
        connect = self.manager.ws_connect if self.is_ws else self.manager.connect
        self.conn = connect(self.url, self, tls=self.tls)
        return self.conn

    def on_connect(self, conn: Connection) -> None:
        """Use the new TCP connection."""
        if not self.is_ws:
            self.begin(conn.send)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """Use the new WebSocket."""
        self.begin(conn.ws_send)

    def begin(self, write: Callable[[str], object]) -> None:
        """Send at once: nobody has to wait for the slowest sensor."""
        self.write = write
        self.send()

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is no connection."""
        print(f"sensors: {self.url}: {message}", flush=True)

    def on_close(self, conn: Connection) -> None:
        """Try again a little later."""
        self.write = str
        self.manager.timer_add(RETRY_MS, self.dial)

    def send(self) -> None:
        """Measure and send."""
        if not self.conn.is_closing and self.conn.send_len < UNSENT_LIMIT:
            self.write(f"{self.sensor.name} {self.sensor.measure()}\n")


def play(manager: Manager, urls: dict[str, str], tls: TlsOpts) -> list[LineSender]:
    """Begin to send to the gateway that listens at *urls*, some of them perhaps by TLS."""
    greenhouse = MqttDevice("greenhouse.fan", {"off": 25, "on": 17}, TEMPERATURE, HUMIDITY)
    greenhouse.start(manager, urls["mqtt"], "greenhouse", 4, tls)
    tank = MqttDevice("tank.pump", {"off": 400, "on": 950}, LEVEL)
    tank.start(manager, urls["mqtt"], "tank", 5, tls)
    udp = manager.connect(urls["udp"], Handler())

    def send_wind() -> None:
        with suppress(OSError):  # nobody may listen there at the moment
            udp.send(f"{WIND.name} {WIND.measure()}")

    manager.timer_add(WIND.period_ms, send_wind, repeat=True, run_now=True)
    websocket = f"ws{urls['web'].removeprefix('http')}/device"
    return [LineSender(manager, *one, tls) for one in ((CO2, urls["tcp"]), (SOLAR, websocket))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Play some devices for the gateway.")
    ports = {"udp": 9000, "tcp": 9000, "mqtt": 1883, "web": 8000}
    for way, port in ports.items():
        scheme = "http" if way == "web" else way
        parser.add_argument(f"--{way}", default=f"{scheme}://127.0.0.1:{port}", metavar="URL")
    parser.add_argument("--ca", type=Path, help="the gateway's certificate, where it uses TLS")
    args = parser.parse_args()
    with Manager() as manager:
        play(manager, vars(args), TlsOpts(ca=args.ca, name="localhost"))
        manager.run()


if __name__ == "__main__":
    main()
