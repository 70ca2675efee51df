"""The examples about TCP, UDP, DNS and SNTP do what their docstrings say."""

from __future__ import annotations

import re
import signal
import socket
import time
from datetime import datetime

import pytest
from conftest import udp_socket
from dnsserver import Server as NameServer
from dnsserver import zone
from exampletalk import listening, run, serving
from programs import DEADLINE, Program
from sntppackets import Packet, Server

NAME = "network/sntp_client.py"


def test_tcp_line_server_answers_lines_wherever_the_reads_end() -> None:
    with serving("network/tcp_line_server.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            replies = client.makefile("rb")
            client.sendall(b"one\ntw")
            assert replies.readline() == b"ONE\n"  # so "tw" has been read and kept
            client.sendall(b"o\n\nlast\n")
            assert [replies.readline() for _ in range(3)] == [b"TWO\n", b"\n", b"LAST\n"]
            replies.close()
        program.stop()


def test_tcp_line_server_sends_an_endless_line_away() -> None:
    with serving("network/tcp_line_server.py") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(b"x" * 1025)
            replies = client.makefile("rb")
            assert replies.read() == b"LINE TOO LONG\n"
            replies.close()
        program.stop()


def test_udp_listener_prints_and_acknowledges_each_datagram() -> None:
    with serving("network/udp_listener.py") as (program, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            client.connect(("127.0.0.1", port))
            for datagram in (b"hello\n", b"", b"\xff\0"):
                client.send(datagram)
                assert client.recv(100) == b"%d bytes\n" % len(datagram)
                address = f"127.0.0.1:{client.getsockname()[1]}"
                program.line(re.escape(f"{address} {datagram!r}"))
        program.stop()


# -- echoes -----------------------------------------------------------------


def test_tcp_echo_server_sends_back_each_piece_once() -> None:
    with listening("network/tcp_echo_server.py", "--server", scheme="tcp") as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            program.line("^server: somebody came$")
            for piece in (b"a", b"bb", b"\0\xff"):
                client.sendall(piece)
                assert client.recv(100) == piece
                program.line(re.escape(f"server: got {piece!r}"))
        program.line("^server: closed$")
        assert program.stop() == "server: closed\nstopped\n"  # the listener


def test_the_tcp_echo_client_hangs_up_when_it_has_its_words_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        words = ["--client", "--connect", url]
        with Program("network/tcp_echo_server.py", *words) as program:
            conn = server.accept()[0]
            with conn:
                conn.settimeout(DEADLINE)
                greeting = conn.recv(100)
                conn.sendall(greeting[:5])
                conn.sendall(greeting[5:])
                program.line(re.escape(f"client: got {greeting!r}"))
                assert conn.recv(100) == b""
            program.line("^client: closed$")
            assert program.stop() == "stopped\n"


def test_the_udp_echo_client_closes_its_socket_when_it_has_its_words_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(DEADLINE)
        server.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{server.getsockname()[1]}"
        words = ["--client", "--connect", url]
        with Program("network/udp_echo_server.py", *words) as program:
            greeting, client = server.recvfrom(100)
            server.sendto(greeting, client)
            program.line(re.escape(f"client: got {greeting!r}"))
            program.line("^client: closed$")
            assert program.stop() == "stopped\n"


def test_udp_echo_server_sends_back_each_datagram_by_itself() -> None:
    with listening("network/udp_echo_server.py", "--server", scheme="udp") as (program, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            client.connect(("127.0.0.1", port))
            for _ in range(3):
                client.send(b"one")
                client.send(b"two")
                assert [client.recv(100), client.recv(100)] == [b"one", b"two"]
        assert program.stop().count("server: got b'one'\n") == 3


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_echo_client_ends_when_there_can_be_no_such_server(scheme: str) -> None:
    words = ["--client", "--connect", f"{scheme}://a..b:1"]
    code, output, errors = run(f"network/{scheme}_echo_server.py", *words)
    assert (code, output) == (1, "")
    assert "a..b" in errors


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_echo_server_and_its_client_share_a_loop(scheme: str) -> None:
    kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}://localhost:{taken.getsockname()[1]}"
    words = ["--listen", url, "--connect", url]
    with Program(f"network/{scheme}_echo_server.py", *words) as program:
        lines = {program.line("(.*)")[1] for _ in range(4 if scheme == "udp" else 6)}
        assert "server: got b'Hello from the client!'" in lines
        assert "client: got b'Hello from the client!'" in lines
        assert "client: closed" in lines
        assert program.stop().endswith("stopped\n")


# -- dns_client -------------------------------------------------------------

DNS = "network/dns_client.py"
ADDRESSES = {"one.test": ["10.0.0.1"], "two.test": ["10.0.0.2", "::2"]}


def test_dns_client_prints_the_addresses_of_all_names_and_fails_if_one_has_none() -> None:
    with NameServer(zone(ADDRESSES)) as server:
        words = ["--once", "--server", server.url, "-H", "one.test"]
        code, output, errors = run(DNS, *words, "--hostname", "two.test")
        assert (code, errors) == (0, "")
        assert sorted(output.splitlines()) in (
            ["one.test 10.0.0.1", "two.test 10.0.0.2 ::2"],
            ["one.test 10.0.0.1", "two.test ::2 10.0.0.2"],
        )
        assert run(DNS, *words, "-H", "no.test") == (
            1,
            "one.test 10.0.0.1\n",
            "no.test DNS lookup failed: there is no such name\n",
        )


def test_dns_client_asks_again_and_again() -> None:
    server = NameServer(zone(ADDRESSES))
    words = ["-H", "one.test", "-H", "localhost", "--interval", "0.05", "--server", server.url]
    with server, Program(DNS, *words) as program:
        lines = {program.line(r"^(\w+)")[1] for _ in range(8)}
        program.stop()
    assert lines == {"one", "localhost"}


def test_dns_client_does_not_wait_for_a_silent_server_for_ever() -> None:
    with udp_socket() as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        code, output, errors = run(DNS, "-H", "a.test", "--once", "--server", server)
    assert (code, output, errors) == (1, "", "DNS timeout: nobody has answered for a.test\n")


def test_dns_client_says_what_is_no_name_and_no_server() -> None:
    for words, text in (
        (["-H", "a..b"], "'a..b' is neither an address nor a host name"),
        (["--server", "dns.test"], "'dns.test' is not a numeric address"),
    ):
        code, output, errors = run(DNS, *words)
        assert (code, output) == (2, "")
        assert text in errors


# -- sntp_client ------------------------------------------------------------


def test_sntp_client_prints_the_time_and_how_far_this_machine_is_off() -> None:
    with Server() as server, Program(NAME, "--server", server.url, "--once") as program:
        server.tell(server.asked(), 1_704_067_200)
        line = program.line(
            r"^2024-01-01T00:00:0\d\.\d{3}\+00:00 17040672\d{5} this clock is \d+\.\d{3} s fast, "
            r"within \d\.\d{3} s; booted (\S+)$"
        )
        before = 1_704_067_200 - datetime.fromisoformat(line[1]).timestamp()
        assert abs(before - time.clock_gettime(time.CLOCK_BOOTTIME)) < DEADLINE
        assert program.finish() == (0, "", "")


def test_sntp_client_goes_on_after_an_answer_that_is_of_no_use() -> None:
    words = ["--server", "", "--interval", "0.05"]
    with Server() as server:
        words[1] = server.url
        with Program(NAME, *words) as program:
            server.say(Packet(server.asked(), 1, 1, leap=3))
            for day in range(3):
                server.tell(server.asked(), 1_704_067_200 + day * 86400)
                program.line(f"^2024-01-0{day + 1}T")
            program.process.send_signal(signal.SIGINT)
            code, output, errors = program.finish()
    assert code == 0
    assert output.startswith("last synchronisation: 2024-01-03T00:00:0")
    assert errors == "SNTP: the server's clock is not synchronized\n"


def test_sntp_client_says_what_is_no_server() -> None:
    code, output, errors = run(NAME, "--server", "http://somewhere", "--once")
    assert (code, output) == (1, "")
    assert "http://somewhere" in errors
    assert errors.count("\n") == 1


def test_sntp_client_fails_when_the_server_refuses() -> None:
    with Server() as server, Program(NAME, "--server", server.url, "--once") as program:
        server.say(Packet(server.asked(), 0, 0, stratum=0, reference=b"DENY", leap=3))
        code, output, errors = program.finish()
    assert (code, output) == (1, "")
    assert "DENY" in errors
