"""The gateway with a handful of devices to look at, all in one process and one event loop.

    python examples/demo/demo.py

The options and the page are those of ../gateway/gateway.py, the devices those of sensors.py.
``make demo`` builds the package and runs this.  Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "gateway"))

from gateway import listening, settings
from sensors import play

from mongoose_py import TlsOpts


def main() -> None:
    args = settings()
    with listening(args) as web:
        play(web.mqtt.manager, web.urls, TlsOpts(ca=args.certificate, name=args.name))
        web.mqtt.manager.run()


if __name__ == "__main__":
    main()
