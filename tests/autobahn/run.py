"""Run the Autobahn suite against our server and our client.

    python tests/autobahn/run.py --wstest "/path/to/python2.7 /path/to/wstest"

The suite needs Python 2.7: ``pip install autobahntestsuite`` there brings the program
``wstest``. What counts is sections 1 to 7, 9, 10, 12 and 13; 12 and 13 are compression.
The exit code is 0 when every case is OK, or informational, in behaviour and in closing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from mongoose_py import Connection, Handler, HttpMessage, Limits, Manager, WsMessage

HERE = Path(__file__).resolve().parent
GOOD = ("OK", "INFORMATIONAL")
LIMITS = Limits(ws_message=64 * 1024 * 1024)


def free_port() -> int:
    """Return a port that nobody has right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Knock(Handler):
    """Sees whether a connection comes up."""

    answered = False

    def on_connect(self, conn: Connection) -> None:
        """Somebody is there."""
        self.answered = True
        conn.close()

    def on_error(self, conn: Connection, message: str) -> None:
        """Nobody, yet."""


def wait_for(port: int) -> None:
    """Return when somebody listens at *port*."""
    knock = Knock()
    with Manager(knock) as manager:
        while not knock.answered:
            conn = manager.connect(f"tcp://127.0.0.1:{port}")
            while conn.id:
                manager.poll(100)


def judge(report: Path) -> int:
    """Print what was not good; return how many cases that were."""
    bad = 0
    for agent, cases in json.loads(report.read_text()).items():
        for name, case in sorted(cases.items()):
            if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD:
                bad += 1
                print(f"{agent} {name}: {case['behavior']}, closing {case['behaviorClose']}")
        print(f"{agent}: {len(cases)} cases, {bad} not as they should be")
    return bad


def test_server(wstest: list[str], cases: list[str], folder: Path) -> int:
    """Have the suite play a client."""
    port = free_port()
    spec = {
        "outdir": str(folder / "server"),
        "servers": [{"agent": "server", "url": f"ws://127.0.0.1:{port}"}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "client.json").write_text(json.dumps(spec))
    command = [sys.executable, str(HERE / "echo_server.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        server.stdout.readline()
        subprocess.run(
            [*wstest, "-m", "fuzzingclient", "-s", str(folder / "client.json")],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        server.terminate()
    return judge(folder / "server" / "index.json")


class Client(Handler):
    """Echoes on one connection; keeps the last text for whoever asked a question."""

    def __init__(self) -> None:
        self.text = ""

    def on_error(self, conn: Connection, message: str) -> None:
        """Expected in half of the cases, which break the protocol."""
        if conn.userdata == "ask":
            print(message, file=sys.stderr)

    def on_ws_open(self, conn: Connection, message: HttpMessage) -> None:
        """Begin anew."""
        self.text = ""

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        """Send it back, unless it is an answer to us."""
        if conn.userdata == "echo":
            conn.ws_send(message.data, message.flags)
        else:
            self.text = message.text


def test_client(wstest: list[str], cases: list[str], folder: Path) -> int:
    """Have the suite play a server."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    spec = {
        "outdir": str(folder / "client"),
        "url": url,
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "server.json").write_text(json.dumps(spec))
    command = [*wstest, "-m", "fuzzingserver", "-s", str(folder / "server.json"), "-w", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        wait_for(port)
        client = Client()
        with Manager(client, limits=LIMITS) as manager:

            def visit(path: str, what: str) -> str:
                conn = manager.ws_connect(url + path, compression=True)
                conn.userdata = what
                while conn.id:
                    manager.poll(1000)
                return client.text

            for case in range(1, int(visit("/getCaseCount", "ask")) + 1):
                visit(f"/runCase?case={case}&agent=client", "echo")
            visit("/updateReports?agent=client", "ask")
        server.terminate()
    return judge(folder / "client" / "index.json")


def main() -> int:
    """Run both sides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wstest", default="wstest", help="how to start it")
    parser.add_argument("--cases", nargs="+", default=["*"], help="1.* 9.1.1 ...")
    parser.add_argument("--side", choices=("server", "client"), help="default: both")
    args = parser.parse_args()
    wstest = shlex.split(args.wstest)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        if args.side != "client":
            bad += test_server(wstest, args.cases, Path(folder))
        if args.side != "server":
            bad += test_client(wstest, args.cases, Path(folder))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
