"""TLS with others: curl, requests, Chromium, nginx, the openssl command, Python's ssl."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable

import certificates
import pytest
import requests
from browser import browser_page, find_chromium
from certificates import client, localhost, openssl, root, trusting
from conftest import DEADLINE, Recorder, pump, receive_all, running
from ports import free_port
from tlskit import client_context, on_thread, one_client, options, server_context, tls_client

from mongoose_py import (
    MG_EV_ERROR,
    MG_EV_HTTP_MSG,
    MG_EV_READ,
    MG_EV_TLS_HS,
    Connection,
    Handler,
    HttpMessage,
    Manager,
    TlsOpts,
    WsMessage,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]
CURL = shutil.which("curl")
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CHROMIUM = find_chromium()
BIG = bytes(range(256)) * 10_000
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Site(Handler):
    """Answers with the body of the request, or many bytes; echoes messages."""

    def __init__(self) -> None:
        self.resumed: list[bool] = []
        self.errors: list[str] = []
        self.failed = threading.Event()

    def on_tls(self, conn: Connection) -> None:
        info = conn.tls_info()
        assert info is not None
        self.resumed.append(info.resumed)

    def on_error(self, conn: Connection, message: str) -> None:
        self.errors.append(message)
        self.failed.set()

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        if message.uri == "/ws":
            conn.ws_upgrade(message)
        elif message.uri == "/big":
            conn.reply(200, BIG)
        elif message.uri == "/page":
            conn.reply(200, "<h1>it works</h1>", {"Content-Type": "text/html"})
        else:
            conn.reply(200, message.body_bytes or b"hello")

    def on_ws_message(self, conn: Connection, message: WsMessage) -> None:
        conn.ws_send(message.data)


@contextmanager
def site(make_manager: Make, opts: Any = None) -> Iterator[tuple[Site, int]]:
    """Serve a :class:`Site` and give it, and its port."""
    handler = Site()
    manager = make_manager(handler)
    listener = manager.listen("https://127.0.0.1:0", tls=opts or localhost().opts)
    assert listener.local_addr is not None
    with running(manager):
        yield handler, listener.local_addr[1]


# -- clients ---------------------------------------------------------------------


def curl(*args: object) -> subprocess.CompletedProcess[bytes]:
    """Run curl with the tests' root as the only one it trusts."""
    if CURL is None:
        pytest.skip("needs curl")
    command = [CURL, "-sS", "--max-time", "20", "--cacert", str(root().cert), *map(str, args)]
    return subprocess.run(command, capture_output=True, timeout=60)


@pytest.mark.parametrize("key", certificates.KEYS)
def test_curl_gets_a_page(make_manager: Make, key: str) -> None:
    if key == "ed25519":
        pytest.skip("not every build of curl offers ed25519")
    with site(make_manager, localhost(key).opts) as (_, port):
        done = curl(f"https://localhost:{port}/", f"https://127.0.0.1:{port}/")
    assert (done.returncode, done.stdout) == (0, b"hellohello")


def test_curl_moves_megabytes(make_manager: Make, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(BIG[:2_000_000])
    with site(make_manager) as (_, port):
        down = curl(f"https://localhost:{port}/big")
        up = curl("--data-binary", f"@{body}", "-H", "Expect:", f"https://localhost:{port}/")
    assert down.stdout == BIG
    assert up.stdout == BIG[:2_000_000]


def test_curl_refuses_what_it_should(make_manager: Make) -> None:
    with site(make_manager, certificates.issue(certificates.stranger()).opts) as (handler, port):
        done = curl(f"https://localhost:{port}/")
        assert done.returncode == 60  # a peer that cannot be authenticated
        assert handler.failed.wait(DEADLINE)
    assert any("unknown ca" in error for error in handler.errors)


def test_curl_shows_its_certificate(make_manager: Make) -> None:
    pair = client()
    with site(make_manager, options(localhost(), ca=root().cert)) as (_, port):
        url = f"https://localhost:{port}/"
        assert curl("--cert", pair.cert, "--key", pair.key, url).stdout == b"hello"
        assert curl(url).returncode != 0


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_the_openssl_command_resumes_its_session(
    make_manager: Make, tmp_path: Path, flag: str
) -> None:
    saved = tmp_path / "session"
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    def ask(port: int, *more: object) -> bytes:
        return openssl(
            *("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", root().cert, flag),
            *("-verify_return_error", "-ign_eof", *more),
            stdin=request,
        )

    with site(make_manager) as (handler, port):
        first = ask(port, "-sess_out", saved)
        second = ask(port, "-sess_in", saved)
    assert first.count(b"hello") == second.count(b"hello") == 1
    assert b"Reused, " in second
    assert handler.resumed == [False, True]
    assert not handler.errors


@pytest.mark.parametrize("version", VERSIONS)
def test_pythons_ssl_gets_everything_and_a_clean_end(
    make_manager: Make, version: ssl.TLSVersion
) -> None:
    context = client_context(version=version)
    with site(make_manager) as (_, port), tls_client(("127.0.0.1", port), context) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        sock.suppress_ragged_eofs = False
        assert receive_all(sock).endswith(b"\r\n\r\n" + BIG)
        assert sock.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_pythons_ssl_resumes_its_session(make_manager: Make, version: ssl.TLSVersion) -> None:
    context = client_context(version=version)
    session = None
    with site(make_manager) as (handler, port):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), DEADLINE) as plain:
                sock = context.wrap_socket(plain, server_hostname="localhost", session=session)
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert receive_all(sock).endswith(b"hello")
                session = sock.session
                sock.close()
    assert handler.resumed == [False, True, True]


def test_requests_keeps_its_connection(make_manager: Make) -> None:
    ca = str(root().cert)
    with site(make_manager) as (handler, port), requests.Session() as session:
        url = f"https://localhost:{port}/"
        for i in range(5):
            assert session.post(url, data=f"{i}", verify=ca).text == f"{i}"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, verify=str(certificates.stranger().cert), timeout=DEADLINE)
    assert len(handler.resumed) == 1


def test_many_threads_with_pythons_ssl_are_all_served(make_manager: Make) -> None:
    bodies: list[bytes] = []

    def work(port: int) -> None:
        for _ in range(5):
            with tls_client(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                bodies.append(receive_all(sock).rpartition(b"\r\n")[2])

    with site(make_manager) as (handler, port):
        threads = [threading.Thread(target=work, args=(port,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert bodies == [b"hello"] * 30
    assert not handler.errors


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_chromium_shows_a_page_and_uses_a_websocket(make_manager: Make, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    public = openssl("x509", "-in", localhost("rsa").cert, "-pubkey", "-noout")
    der = openssl("pkey", "-pubin", "-outform", "DER", stdin=public)
    pin = base64.b64encode(hashlib.sha256(der).digest()).decode()
    flag = f"--ignore-certificate-errors-spki-list={pin}"
    with ExitStack() as stack:
        _, port = stack.enter_context(site(make_manager, localhost("rsa").opts))
        page = stack.enter_context(browser_page(CHROMIUM, tmp_path, flag))
        page.open(f"https://localhost:{port}/page")
        page.wait_for("document.querySelector('h1')?.textContent === 'it works'")
        echoed = page.evaluate(
            """new Promise((done, failed) => {
              const ws = new WebSocket(`wss://${location.host}/ws`);
              ws.onopen = () => ws.send("over TLS");
              ws.onmessage = (event) => done(event.data);
              ws.onerror = () => failed("no");
            })"""
        )
        big = page.evaluate("fetch('/big').then(r => r.arrayBuffer()).then(b => b.byteLength)")
    assert (echoed, big) == ("over TLS", len(BIG))


# -- servers -----------------------------------------------------------------------


def ask(make_manager: Make, port: int, opts: TlsOpts, path: str = "/") -> tuple[Recorder, Any]:
    """Request *path* and poll until it is answered or refused; return the TLS too."""
    infos: list[Any] = [None]

    def note(conn: Connection, ev: int, _: Any) -> None:
        if ev == MG_EV_HTTP_MSG:
            infos.append(conn.tls_info())

    manager, told = make_manager(), Recorder(note)
    conn = manager.connect(f"https://localhost:{port}", told, tls=opts)
    conn.request("GET", path, {"Connection": "close"})
    pump(manager, lambda: told.saw(MG_EV_HTTP_MSG)() or told.saw(MG_EV_ERROR)())
    conn.close()
    pump(manager, lambda: conn.id == 0)
    return told, infos[-1]


@contextmanager
def s_server(*args: object) -> Iterator[int]:
    """Run ``openssl s_server`` with a page about the connection; give its port."""
    if certificates.OPENSSL is None:
        pytest.skip("needs the openssl command")
    pair = localhost()
    command = ["s_server", "-accept", "127.0.0.1:0", "-cert", pair.cert, "-key", pair.key]
    process = subprocess.Popen(
        [certificates.OPENSSL, *map(str, [*command, "-www", *args])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:  # "ACCEPT 127.0.0.1:40123" once it listens
            if line.startswith(b"ACCEPT"):
                break
        yield int(line.rpartition(b":")[2])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_our_client_asks_openssls_server(make_manager: Make, flag: str) -> None:
    with s_server(flag) as port:
        told, info = ask(make_manager, port, trusting())
    assert not told.data(MG_EV_ERROR)
    assert b"Secure Renegotiation" in told.data(MG_EV_HTTP_MSG)[0][2]
    assert info.version == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[flag]


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_our_client_resumes_with_openssls_server(make_manager: Make, flag: str) -> None:
    manager, told = make_manager(), Recorder()
    opts, resumed = trusting(), []
    with s_server(flag) as port:
        for i in range(1, 4):
            conn = manager.connect(f"https://localhost:{port}", told, tls=opts)
            conn.request("GET", "/")
            pump(manager, told.saw(MG_EV_HTTP_MSG, i))
            pump(manager, lambda conn=conn: conn.id == 0)
            conn = told.conns(MG_EV_TLS_HS)[-1]
            resumed.append(b"Reused, " in told.data(MG_EV_HTTP_MSG)[-1][2])
    assert resumed == [False, True, True]


def test_our_client_shows_its_certificate_to_openssls_server(make_manager: Make) -> None:
    pair = client()
    with s_server("-Verify", "1", "-verify_return_error", "-CAfile", root().cert) as port:
        told, _ = ask(make_manager, port, trusting(cert=pair.cert, key=pair.key))
        assert not told.data(MG_EV_ERROR)
        told, _ = ask(make_manager, port, trusting())
        assert told.data(MG_EV_ERROR)


@contextmanager
def nginx(folder: Path, *directives: str) -> Iterator[int]:
    """Run nginx with our certificate and give its port."""
    if NGINX is None:
        pytest.skip("needs nginx")
    port = free_port()
    pair, run = localhost(), folder / "run"
    run.mkdir()
    (run / "big").write_bytes(BIG)
    temporary = "".join(
        f"{name}_temp_path {run}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (run / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {run}/pid; error_log stderr notice;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n server {{\n"
        f"  listen 127.0.0.1:{port} ssl; ssl_certificate {pair.cert};\n"
        f"  ssl_certificate_key {pair.key}; ssl_session_cache shared:a:1m; root {run};\n"
        f"  {' '.join(directives)}\n"
        "  location = /tls { return 200 '$ssl_protocol $ssl_session_reused $ssl_client_s_dn'; }\n"
        "} }\n"
    )
    process = subprocess.Popen(
        [NGINX, "-p", str(run), "-c", str(run / "nginx.conf"), "-e", "stderr"],
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:  # "start worker processes" when it is about to serve
            if b"built by" in line or b"start worker" in line or b"OS: " in line:
                break
        for _ in range(1000):  # it listens already; this is for a build that says it earlier
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", port), DEADLINE),
            ):
                break
        yield port
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_our_client_asks_nginx(make_manager: Make, tmp_path: Path, version: str) -> None:
    with nginx(tmp_path, f"ssl_protocols {version};") as port:
        told, info = ask(make_manager, port, trusting(), "/tls")
        assert told.data(MG_EV_HTTP_MSG)[0][2].startswith(version.encode())
        assert info.version == version
        told, _ = ask(make_manager, port, trusting(), "/big")
        assert told.data(MG_EV_HTTP_MSG)[0][2] == BIG


def test_our_client_shows_its_certificate_to_nginx(make_manager: Make, tmp_path: Path) -> None:
    pair = client("somebody")
    more = f"ssl_verify_client on; ssl_client_certificate {root().cert};"
    with nginx(tmp_path, more) as port:
        told, _ = ask(make_manager, port, trusting(cert=pair.cert, key=pair.key), "/tls")
        assert b"CN=somebody" in told.data(MG_EV_HTTP_MSG)[0][2]
        told, _ = ask(make_manager, port, trusting(), "/tls")
        assert told.data(MG_EV_HTTP_MSG)[0][1] == "400"


@pytest.mark.parametrize("version", VERSIONS)
def test_our_client_talks_to_pythons_ssl(make_manager: Make, version: ssl.TLSVersion) -> None:
    context = server_context()
    context.minimum_version = context.maximum_version = version

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as sock:
            got = b""
            while len(got) < len(BIG):
                got += sock.recv(65536)
            sock.sendall(got)
            assert sock.recv(1) == b""
            sock.unwrap()

    manager, told = make_manager(), Recorder()
    with one_client(serve) as (host, port):
        conn = manager.connect(f"tls://{host}:{port}", told, tls=trusting())
        conn.send(BIG)
        pump(manager, lambda: sum(map(len, told.data(MG_EV_READ))) >= len(BIG))
        conn.drain()
        pump(manager, lambda: conn.id == 0)
    assert b"".join(told.data(MG_EV_READ)) == BIG
    assert not told.data(MG_EV_ERROR)


def test_one_thread_serves_while_another_one_asks(make_manager: Make) -> None:
    with site(make_manager) as (_, port):
        answers: list[Any] = []

        def work() -> None:
            told, _ = ask(make_manager, port, trusting())
            answers.append(told.data(MG_EV_HTTP_MSG)[0][2])

        with on_thread(work):
            pass
    assert answers == [b"hello"]
