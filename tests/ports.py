"""Ports for programs that have to be told theirs."""

from __future__ import annotations

import random
import socket
from contextlib import closing, suppress
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")  # Linux; others begin at 49152
FIRST_OF_THE_SYSTEM = int(RANGE.read_text().split()[0]) if RANGE.exists() else 49152
choice = random.SystemRandom()  # Hypothesis gives the other one the same seed each time


def free_port() -> int:
    """Return a port that is free for TCP and UDP.

    It is below those which the system gives to whoever asks for any, so nobody
    can get it by chance before the program binds it.
    """
    while True:
        port = choice.randrange(10_000, FIRST_OF_THE_SYSTEM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(udp), closing(socket.socket()) as tcp, suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
