"""The resolver with name servers that others wrote, and with the C library's configuration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Callable

import pytest
from conftest import DEADLINE, Recorder, pump
from dnsserver import A, pairs, query_wire
from ports import free_port

from mongoose_py import (
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_RESOLVE,
    Manager,
    Resolver,
)

MANY = [f"10.1.{i}.1" for i in range(60)]
ZONE = {
    "one.test": ["10.0.0.1"],
    "both.test": ["10.0.0.1", "::1"],
    "six.test": ["::1"],
    "many.test": MANY,  # more than a datagram of 512 bytes holds
    "here.test": ["127.0.0.1"],
}


def command_dnsmasq(directory: Path, port: int) -> list[str]:
    records = [f"--host-record={name},{ip}" for name, ips in ZONE.items() for ip in ips]
    return [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        f"--pid-file={directory / 'pid'}",
        "--no-resolv",
        "--no-hosts",
        "--local=/test/",
        "--user=root" if os.geteuid() == 0 else "--user=",
        f"--port={port}",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local-ttl=60",
        "--cname=alias.test,one.test",
        "--cname=twice.test,alias.test",
        *records,
    ]


def command_unbound(directory: Path, port: int) -> list[str]:
    config = directory / "unbound.conf"
    data = [
        f"local-data: '{name}. 60 IN {'AAAA' if ':' in ip else 'A'} {ip}'"
        for name, ips in ZONE.items()
        for ip in ips
    ]
    lines = [
        "server:",
        "interface: 127.0.0.1",
        f"port: {port}",
        "do-daemonize: no",
        'username: ""',
        'chroot: ""',
        f'directory: "{directory}"',
        'pidfile: ""',
        "use-syslog: no",
        "module-config: iterator",
        "do-not-query-localhost: no",
        "local-zone: test. static",
        *data,
    ]
    config.write_text("\n".join(lines) + "\n")
    return ["unbound", "-d", "-p", "-c", str(config)]


COMMANDS = {"dnsmasq": command_dnsmasq, "unbound": command_unbound}


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def server(name: str) -> Iterator[str]:
    """Run a name server and give its address once it answers."""
    path = program(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
        for _ in range(5):  # somebody else may have taken the port
            port = free_port()
            command = COMMANDS[name](Path(directory), port)
            process = subprocess.Popen([path, *command[1:]], stdout=log, stderr=log)
            try:
                if answers(process, port):
                    yield f"127.0.0.1:{port}"
                    return
            finally:
                process.kill()
                process.wait(DEADLINE)
        log.seek(0)
        raise AssertionError(log.read().decode())


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a server answers; tell whether it did, or ended instead."""
    deadline = monotonic() + DEADLINE
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect(("127.0.0.1", port))
        probe.settimeout(0.05)
        while process.poll() is None:
            assert monotonic() < deadline, "it does not answer"
            try:
                probe.send(query_wire(1, "one.test", A))
                return bool(probe.recv(512))
            except ConnectionRefusedError:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            except socket.timeout:
                continue
    return False


@pytest.fixture(scope="module", params=list(COMMANDS))
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    with server(request.param) as address:
        yield address


@pytest.fixture
def ask(make_manager: Callable[..., Manager], peer: str) -> Callable[..., Any]:
    def look(name: str, **options: Any) -> Any:
        settings: dict[str, Any] = {"search": [], "config": None, "hosts": None}
        settings.update(servers=[peer], timeout=5, family_delay=5, **options)
        seen = Recorder()
        manager = make_manager(seen, resolver=Resolver(**settings))
        manager.listen("udp://127.0.0.1:0").resolve(name)
        pump(manager, lambda: seen.data(MG_EV_RESOLVE) or seen.data(MG_EV_ERROR))
        (found,) = seen.data(MG_EV_RESOLVE) or seen.data(MG_EV_ERROR)
        return found

    return look


Ask = Callable[..., Any]


def test_addresses_of_one_and_of_both_families(ask: Ask) -> None:
    assert ask("one.test:1") == list(pairs(["10.0.0.1"], 1))
    assert ask("SIX.test.:1") == list(pairs(["::1"], 1))
    assert ask("both.test:1") == list(pairs(["::1", "10.0.0.1"], 1))


def test_what_does_not_fit_into_a_datagram_comes_over_tcp(ask: Ask) -> None:
    found = ask("many.test")
    assert len(found) == 16
    assert {ip for ip, _, _ in found} <= set(MANY)


def test_names_that_do_not_exist(ask: Ask) -> None:
    assert ask("no.test") == "no.test DNS lookup failed: there is no such name"


def test_the_search_list(ask: Ask) -> None:
    assert ask("one", search=["no.test", "test"]) == list(pairs(["10.0.0.1"], 0))


def test_over_tcp_only(make_manager: Callable[..., Manager], peer: str) -> None:
    seen = Recorder()
    resolver = Resolver(servers=[f"tcp://{peer}"], search=[], hosts=None, config=None)
    manager = make_manager(seen, resolver=resolver)
    manager.listen("udp://127.0.0.1:0").resolve("one.test")
    pump(manager, seen.saw(MG_EV_RESOLVE))
    assert seen.data(MG_EV_RESOLVE) == [[("10.0.0.1", 0, False)]]


def test_a_client_connects(make_manager: Callable[..., Manager], peer: str) -> None:
    seen = Recorder()
    resolver = Resolver(servers=[peer], search=[], hosts=None, config=None)
    manager = make_manager(seen, resolver=resolver)
    port = manager.listen("tcp://127.0.0.1:0", lambda *_: None).local_addr[1]
    manager.connect(f"tcp://here.test:{port}")
    pump(manager, seen.saw(MG_EV_CONNECT))
    assert seen.names() == ["OPEN", "RESOLVE", "CONNECT"]


def test_aliases(make_manager: Callable[..., Manager]) -> None:
    with server("dnsmasq") as address:
        seen = Recorder()
        resolver = Resolver(servers=[address], search=[], hosts=None, config=None)
        manager = make_manager(seen, resolver=resolver)
        manager.listen("udp://127.0.0.1:0").resolve("twice.test")
        pump(manager, seen.saw(MG_EV_RESOLVE))
    assert seen.data(MG_EV_RESOLVE) == [[("10.0.0.1", 0, False)]]


@pytest.mark.skipif(sys.platform != "linux", reason="C libraries differ in what they add")
def test_names_of_the_hosts_file_are_those_that_the_c_library_has(
    make_manager: Callable[..., Manager],
) -> None:
    try:
        lines = Path("/etc/hosts").read_text().splitlines()
    except OSError:
        pytest.skip("no /etc/hosts here")
    words = [name for line in lines for name in line.partition("#")[0].split()[1:]]
    names = [word for word in words if word.isascii() and not word.startswith("localhost")]
    for name in dict.fromkeys(names):
        theirs = {info[4][0] for info in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
        seen = Recorder()
        manager = make_manager(seen)
        manager.listen("udp://127.0.0.1:0").resolve(name)
        pump(manager, seen.saw(MG_EV_RESOLVE))
        ours = {ip for ip, _, _ in seen.data(MG_EV_RESOLVE)[0]}
        assert ours == theirs
