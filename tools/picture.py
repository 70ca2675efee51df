"""Make docs/assets/gateway.png, the picture of the demo in README.md, with headless Chromium.

    make picture

The minute before is played by the devices of the demo with a clock and a dice of its own,
then the demo runs for a moment: but for "just now" the picture is the same every time.
"""

from __future__ import annotations

import base64
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path += [
    str(Path(__file__).resolve().parent.parent / folder)
    for folder in ("tests", "examples/demo", "examples/gateway")
]

import sensors
import store
from browser import browser_page, find_chromium
from programs import DEMO, QUICK, Gateway, Program, Stream

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/assets/gateway.png"
WIDTH = 1060  # of the page; three cards stand side by side
VIA = {"cellar.co2": "tcp", "garden.wind": "udp", "roof.solar": "ws"}  # others: mqtt


def past(database: str) -> None:
    """Fill a database with the newest minute, which ends where the devices begin."""
    random.seed(4)
    kept = store.Store(database)
    now = int(time.time() * 1000)
    lines = []
    for one in [one for one in vars(sensors).values() if isinstance(one, sensors.Sensor)]:
        for at in range(now - one.period_ms, now - 60_000, -one.period_ms):
            lines.append((at, VIA.get(one.name, "mqtt"), f"{one.name} {one.measure()}"))
    for at, via, line in sorted(lines):
        store.now_ms = partial(int, at)
        kept.take(via, "", line.encode())
    kept.db.execute("DELETE FROM device")
    kept.set_alarm("tank.level", 100, 900)
    kept.set_alarm("cellar.co2", None, 600)
    kept.save()
    kept.db.close()


def main() -> None:
    """Take the picture."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit("picture: Chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "gateway.db")
        past(database)
        with (
            Program(DEMO, *QUICK, "--database", database) as program,
            browser_page(chromium, Path(folder) / "profile") as page,
        ):
            gateway = Gateway(program)
            size = {"width": WIDTH, "height": 800, "deviceScaleFactor": 0.75, "mobile": False}
            page.call("Emulation.setDeviceMetricsOverride", **size)
            page.open(gateway.url)
            with Stream(gateway) as stream:
                stream.actuator("tank.pump", state="off")
                stream.send("switch tank.pump on")
                stream.actuator("tank.pump", state="on")
            page.wait_for("document.querySelectorAll('#devices tr').length === 5")
            page.wait_for(
                "document.querySelector('[data-name=\"tank.pump\"]').dataset.state === 'on'"
            )
            bottom = "document.getElementById('sensors').getBoundingClientRect().bottom"
            clip = {
                "x": 0,
                "y": 0,
                "width": WIDTH,
                "height": page.evaluate(bottom) + 24,
                "scale": 1,
            }
            shot = page.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
            program.stop()
    PICTURE.write_bytes(base64.b64decode(shot["data"]))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
