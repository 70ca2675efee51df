"""Play a handful of sensors for gateway.py, over real sockets.

    python examples/gateway.py
    python examples/sensors.py

Half of them send UDP datagrams, half share one TCP connection.  A datagram
that nobody receives is lost, as it would be for a real sensor; the TCP
connection is made again when it breaks, until the gateway has been away for
a while.  Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mongoose_py import Connection, Handler, Manager

RETRY_MS = 1000
UNSENT_LIMIT = 64 * 1024  # bytes; a gateway this far behind misses measurements


@dataclass
class Sensor:
    """A value that wanders about between two limits."""

    name: str
    unit: str
    via: str  # "udp" or "tcp"
    period_ms: int
    low: float
    high: float
    value: float

    def measure(self) -> str:
        """Wander one step, drawn back to the middle, and return the line to send."""
        middle, width = (self.low + self.high) / 2, self.high - self.low
        step = random.gauss(0, width / 25) + (middle - self.value) / 50
        self.value = min(self.high, max(self.low, self.value + step))
        return f"{self.name} {self.value:.{1 if width < 100 else 0}f} {self.unit}\n"


SENSORS = [
    Sensor("greenhouse.temperature", "°C", "udp", 500, 15, 35, 24),
    Sensor("greenhouse.humidity", "%", "udp", 800, 40, 90, 65),
    Sensor("garden.wind", "m/s", "udp", 250, 0, 14, 4),
    Sensor("cellar.co2", "ppm", "tcp", 1000, 400, 1800, 700),
    Sensor("roof.solar", "W", "tcp", 500, 0, 5200, 2600),
    Sensor("tank.level", "L", "tcp", 2000, 0, 1000, 640),
]


class Station(Handler):
    """Holds the two ways to the gateway; handles the events of the TCP one."""

    def __init__(self, manager: Manager, udp: str, tcp: str, retries: int) -> None:
        self.manager = manager
        self.url = f"tcp://{tcp}"
        self.udp = manager.connect(f"udp://{udp}", Handler())
        self.tcp: Connection | None = None  # None while not connected
        self.retries = retries
        self.failed = 0  # attempts in a row

    def dial(self) -> None:
        """Begin to connect; on_connect or on_close tells how it went."""
        self.manager.connect(self.url, self)

    def on_connect(self, conn: Connection) -> None:
        """Use the new connection, at once: nobody has to wait for the slowest sensor."""
        self.tcp = conn
        self.failed = 0
        for sensor in SENSORS:
            if sensor.via == "tcp":
                self.send(sensor)

    def on_error(self, conn: Connection, message: str) -> None:
        """Say why there is no connection."""
        print(f"sensors: {self.url}: {message}", flush=True)

    def on_close(self, conn: Connection) -> None:
        """Try again a little later, but not for ever."""
        self.tcp = None
        self.failed += 1
        if self.failed <= self.retries:
            self.manager.timer_add(RETRY_MS, self.dial)
        else:
            print("sensors: giving up", flush=True)
            self.manager.stop()

    def send(self, sensor: Sensor) -> None:
        """Measure and send."""
        line = sensor.measure()
        if sensor.via == "udp":
            with suppress(OSError):  # nobody may listen there at the moment
                self.udp.send(line)
        elif self.tcp is not None and self.tcp.send_len < UNSENT_LIMIT:
            self.tcp.send(line)


def main() -> None:
    parser = argparse.ArgumentParser(description="Play some sensors for gateway.py.")
    parser.add_argument("--udp", default="127.0.0.1:9000", metavar="HOST:PORT")
    parser.add_argument("--tcp", default="127.0.0.1:9000", metavar="HOST:PORT")
    parser.add_argument("--retries", type=int, default=15, help="TCP attempts, one a second")
    args = parser.parse_args()
    with Manager() as manager:
        station = Station(manager, args.udp, args.tcp, args.retries)
        station.dial()
        for sensor in SENSORS:
            send = partial(station.send, sensor)
            manager.timer_add(sensor.period_ms, send, repeat=True, run_now=True)
        manager.run()


if __name__ == "__main__":
    main()
