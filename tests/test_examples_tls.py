"""The examples about TLS do what their docstrings say."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certificates import Pair, client, issue, localhost, root, stranger
from programs import Program


@contextmanager
def serving(*args: object, pair: Pair | None = None) -> Iterator[tuple[Program, str]]:
    """Start https_server.py on a free port; give the program and its URL."""
    cert, key = pair or localhost()
    given = [str(arg) for arg in (cert, key, "--port", 0, *args)]
    with Program("https_server.py", *given) as program:
        port = int(program.line(r"listening on https://127\.0\.0\.1:(\d+)")[1])
        yield program, f"https://localhost:{port}"


def fetch(*args: object) -> tuple[int, str, str]:
    """Run https_client.py; return its exit code, output and errors."""
    with Program("https_client.py", *map(str, args)) as program:
        return program.finish()


def test_https_client_shows_what_https_server_says() -> None:
    with serving() as (server, url):
        code, body, errors = fetch("--ca", root().cert, f"{url}/")
        assert (code, body) == (0, "<h1>It works</h1>")
        assert "TLSv1.3" in errors
        assert "certificate for localhost, 127.0.0.1, ::1 until 20" in errors
        assert fetch("--ca", root().cert, f"{url}/nowhere")[0] == 1
        status = json.loads(fetch("--ca", root().cert, f"{url}/status")[1])
        assert (status["tls"], status["client"]) == (True, None)
        assert status["asked_for"] == "localhost"
        server.stop()


def test_https_client_refuses_strangers_unless_told_otherwise() -> None:
    with serving(pair=issue(stranger())) as (server, url):
        code, body, errors = fetch("--ca", root().cert, url)
        assert (code, body) == (1, "")
        assert "certificate verify failed" in errors
        assert fetch("--insecure", url)[0] == 0
        server.process.terminate()
        assert "unknown ca" in server.finish()[2]


def test_https_server_wants_certificates_with_ca() -> None:
    pair = client("somebody")
    with serving("--ca", root().cert) as (server, url):
        shown = ("--cert", pair.cert, "--key", pair.key)
        code, body, _ = fetch("--ca", root().cert, *shown, f"{url}/status")
        assert code == 0
        assert json.loads(body)["client"] == "somebody"
        assert fetch("--ca", root().cert, url)[0] == 1
        server.process.terminate()
        assert "did not return a certificate" in server.finish()[2]


def test_https_server_has_a_certificate_for_each_name() -> None:
    other = issue(stranger(), names=("DNS:localhost",))
    with serving("--name", "localhost", *other) as (server, url):
        assert fetch("--ca", root().cert, url.replace("localhost", "127.0.0.1"))[0] == 0
        assert fetch("--ca", stranger().cert, url)[0] == 0
        server.stop()


def test_https_server_reads_its_files_again_on_sighup(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(pair: Pair) -> None:
        shutil.copy(pair.cert, cert)
        shutil.copy(pair.key, key)

    write(localhost())
    with serving(pair=Pair(cert, key)) as (server, url):
        assert fetch("--ca", root().cert, url)[0] == 0
        write(issue(stranger()))
        server.process.send_signal(signal.SIGHUP)
        server.line("^reloaded$")
        assert fetch("--ca", stranger().cert, url)[0] == 0
        server.stop()


def test_what_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    good, empty = localhost(), tmp_path / "empty.pem"
    empty.touch()
    for cert, key in ((empty, good.key), (good.cert, tmp_path / "none.pem")):
        with Program("https_server.py", str(cert), str(key), "--port", "0") as server:
            code, _, errors = server.finish()
        assert code == 1
        assert errors.startswith("error: ")
    code, _, errors = fetch("--ca", tmp_path / "none.pem", "https://localhost:1")
    assert code == 1
    assert "none.pem" in errors
