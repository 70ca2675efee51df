"""Measure TLS: server CPU per request, per handshake and per MiB, ours beside others.

    python benchmarks/tls.py
    python benchmarks/tls.py --rounds 2 --servers mongoose_py nginx
    python benchmarks/tls.py --write            # and put the tables into README.md

Linux, wrk, the openssl command, and whatever of nginx and cymongoose is to be compared with.
Servers take turns within a round, and ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import procfs
import report
import rig
import wrk

SERVERS = ("mongoose_py", "nginx", "cymongoose")
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
BIG = 16  # MiB
IDLE = 500  # connections
REQUEST, FULL, FULL_12, RESUMED, BULK, MEMORY = COLUMNS = (
    "request, µs",
    "handshake 1.3, µs",
    "handshake 1.2, µs",
    "resumed 1.2, µs",
    "MiB, µs",
    "idle, KiB",
)
TARGETS = (
    (REQUEST, "nginx", 0.85),
    (REQUEST, "cymongoose", 0.90),
    (FULL, "nginx", 1.15),
    (BULK, "nginx", 1.11),
)
NGINX_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; ssl_session_cache shared:a:10m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; root {folder};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location = / {{ default_type text/plain; return 200 "hello, world\\n"; }}
  }}
}}
"""


def make_files(folder: Path) -> None:
    (folder / "big.bin").write_bytes(os.urandom(1 << 20) * BIG)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, stderr=subprocess.DEVNULL)


@contextmanager
def running(name: str, folder: Path, cpu: int) -> Iterator[tuple[int, int]]:
    """Start a server; give its port and process number."""
    port = rig.free_port()
    if name == "nginx":
        conf = folder / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=folder, port=port))
        command = [str(NGINX), "-p", str(folder), "-c", str(conf), "-e", "stderr"]
    else:
        command = [
            sys.executable,
            str(rig.HERE / "servers" / "https.py"),
            name,
            str(port),
            str(folder),
        ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        os.sched_setaffinity(process.pid, {cpu})
        try:
            if name != "nginx":
                assert process.stdout is not None
                if process.stdout.readline().strip() != b"ready":
                    raise RuntimeError(f"{name} does not start")
            answer(port)
            yield port, process.pid
        finally:
            process.kill()


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def answer(port: int) -> ssl.SSLSocket:
    """Ask once, until somebody answers; return the connection."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError, ssl.SSLError):
            sock = context().wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if b"200 OK" not in sock.recv(4096):
                raise RuntimeError("no answer")
            return sock
    raise RuntimeError("nobody listens")


def handshakes(port: int, seconds: float, *flags: str) -> int:
    """Shake hands again and again; return how often."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", *flags]
    command += ["-time", str(max(1, round(seconds)))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counts = re.findall(r"^(\d+) connections in (\d+) real seconds", done.stdout, re.MULTILINE)
    if not counts or "ERROR" in done.stderr:
        raise RuntimeError(done.stdout + done.stderr)
    return int(counts[0][0])


def idle_memory(port: int, pid: int) -> float:
    """Return the KiB of the server for each connection that has been answered and waits."""
    held = [answer(port) for _ in range(20)]  # what is made once is made by now
    before = procfs.resident(pid)
    held += [answer(port) for _ in range(IDLE)]
    grown = procfs.resident(pid) - before
    for sock in held:
        sock.close()
    return grown / IDLE / 1024


def measure(name: str, folder: Path, cpu: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Yield each column's value for a server."""
    with running(name, folder, cpu) as (port, pid):
        url = f"https://127.0.0.1:{port}"

        def cost(count: int, before: int) -> float:
            return (procfs.cpu_ns(pid) - before) / count / 1000

        def load(path: str, connections: int) -> float:
            for tries_left in (2, 1, 0):
                before = procfs.cpu_ns(pid)
                try:
                    return cost(wrk.run(url + path, seconds, connections=connections), before)
                except RuntimeError as exc:
                    # Now and then a handshake with it fails.
                    if name != "cymongoose" or not tries_left:
                        raise RuntimeError(f"{name}: {exc}") from exc
            raise AssertionError

        if name != "cymongoose":
            yield MEMORY, idle_memory(port, pid)
        yield REQUEST, load("/", 32)
        if name != "cymongoose":
            before = procfs.cpu_ns(pid)
            yield FULL, cost(handshakes(port, seconds, "-new", "-tls1_3"), before)
            before = procfs.cpu_ns(pid)
            yield FULL_12, cost(handshakes(port, seconds, "-new", "-tls1_2"), before)
            before = procfs.cpu_ns(pid)
            yield RESUMED, cost(handshakes(port, seconds, "-reuse", "-tls1_2"), before)
        yield BULK, load("/big.bin", 2) / BIG


def hand_in(times: rig.Times, args: argparse.Namespace) -> None:
    ours = SERVERS[0]
    rows = [[name, *(times.cell(what, name, 1) for what in COLUMNS)] for name in args.servers]
    verdicts = [
        times.verdict(f"{what.partition(',')[0]}: {ours} / {other}", what, ours, other, target)
        for what, other, target in TARGETS
        if times.has(what, ours, other)
    ]
    if times.has(RESUMED, ours):
        value = report.ratio(times.of(RESUMED, ours), times.of(FULL_12, ours))
        verdicts.append(report.Verdict("resumed / full handshake 1.2", value, 0.5))
        spread = report.Spread.of(times.of(MEMORY, ours))
        verdicts.append(report.Verdict("idle connection", spread, 40, " KiB", 1))
    note = (
        f"- Server CPU: median (lowest to highest) of {args.rounds} rounds of {args.seconds:g} s; "
        f"key P-256; requests on 32 connections kept alive; a file of {BIG} MiB on 2. Memory: "
        f"resident, by {IDLE} connections that wait after an answer."
    )
    rig.hand_in(args, "tls", verdicts, ["server", *COLUMNS], rows, note)


def main() -> int:
    args = rig.options(__doc__, SERVERS).parse_args()
    cpu, _ = rig.two_cpus()
    times = rig.Times()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        for _ in range(args.rounds):
            for server in args.servers:
                for what, value in measure(server, folder, cpu, args.seconds):
                    times.add(what, server, value)
    hand_in(times, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
