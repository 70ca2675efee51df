"""How gateway.py is told what to do: options, and a file of settings.

    python examples/gateway.py --settings gateway.toml

where the file has any of the options by name, and the limits of alarms for sensors that
the page has not set any for:

    http_port = 8080
    database = "gateway.db"

    [alarms]
    "cellar.co2" = { high = 1200 }
    "tank.level" = { low = 100, high = 900 }
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gateway_history import ROWS
from gateway_store import MAX_VALUE, NAME, Limits


def settings_of(path: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what a file sets: options by name, and a table "alarms"."""
    if sys.version_info < (3, 11):
        sys.exit("gateway: --settings needs Python 3.11 or newer, which has tomllib")
    import tomllib

    try:
        found = tomllib.loads(Path(path).read_text("utf-8"))
        for key, value in found.items():
            if key not in defaults or type(value) is not type(defaults[key]):
                raise ValueError(f"no such setting: {key} = {value!r}")
        found["alarms"] = {name: limits_of(name, x) for name, x in found.get("alarms", {}).items()}
    except (OSError, ValueError) as exc:
        sys.exit(f"gateway: {path}: {exc}")
    return found


def limits_of(name: str, table: Any) -> Limits:
    """Return the limits of an alarm as a file sets them, ``{ low = 1, high = 2 }``."""
    if NAME.fullmatch(name) and isinstance(table, dict) and {*table} <= {"low", "high"}:
        low, high = table.get("low", -MAX_VALUE), table.get("high", MAX_VALUE)
        if {type(low), type(high)} <= {int, float} and -MAX_VALUE <= low <= high <= MAX_VALUE:
            return table.get("low"), table.get("high")
    raise ValueError(f"no such alarm: {name} = {table!r}")


def options() -> argparse.Namespace:
    """Read the command line, and the file of settings it may name."""
    parser = argparse.ArgumentParser(description="Sensors in, a live page and JSON out.")
    parser.add_argument("--demo", action="store_true", help="play some devices as well")
    parser.add_argument("--settings", metavar="FILE", help="TOML: host = ..., [alarms] ...")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--name", default="", help="of this host, if browsers know it by one")
    parser.add_argument("--http-port", type=int, default=8000, help="page and API; 0: any free")
    parser.add_argument("--port", type=int, default=9000, help="UDP and TCP; 0: any free")
    parser.add_argument("--mqtt-port", type=int, default=1883, help="MQTT; 0: any free")
    parser.add_argument("--database", default=":memory:", metavar="FILE", help="keeps the history")
    parser.add_argument("--history", type=int, default=ROWS, help="values kept (%(default)s)")
    parser.set_defaults(alarms={})
    args = parser.parse_args()
    if args.settings:
        defaults = {name: parser.get_default(name) for name in vars(args) if name != "settings"}
        parser.set_defaults(**settings_of(args.settings, defaults))
        args = parser.parse_args()  # the command line goes first
    return args
