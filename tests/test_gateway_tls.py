"""The gateway over TLS: a certificate that is given, one that it makes, and what is told."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import stat
import urllib.request
from pathlib import Path

import pytest
from certificates import localhost, root
from programs import DEADLINE, DEMO, GATEWAY, QUICK, Gateway, Program
from websockets.sync.client import connect

HTTPS = ("--web", "https://127.0.0.1:0")
TLS = (*HTTPS, "--tcp", "tls://127.0.0.1:0", "--mqtt", "mqtts://127.0.0.1:0")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


def api(gateway: Gateway, ca: Path, what: str) -> object:
    """Return an answer of the JSON API over HTTPS."""
    trust = ssl.create_default_context(cafile=str(ca))
    with urllib.request.urlopen(
        f"{gateway.url}/api/{what}", timeout=DEADLINE, context=trust
    ) as answer:
        return json.load(answer)


@needs_openssl
def test_a_certificate_is_made_once_and_kept_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "gateway.pem"
    args = (*QUICK, *HTTPS, "--certificate", str(file), "--name", "gateway.local")
    with Program(GATEWAY, *args) as program:
        program.line(rf"^gateway: {file} is a new certificate")
        gateway = Gateway(program)
        assert api(gateway, file, "sensors") == []
        trust = ssl.create_default_context(cafile=str(file))
        for name in ("localhost", "gateway.local"):
            with (
                socket.create_connection(("127.0.0.1", gateway.http_port), DEADLINE) as sock,
                trust.wrap_socket(sock, server_hostname=name),
            ):
                pass
        program.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_bytes()
    with Program(GATEWAY, *args) as program:
        assert api(Gateway(program), file, "sensors") == []
        program.stop()
    assert file.read_bytes() == made


@needs_openssl
def test_devices_and_pages_use_the_certificate_that_is_given(tmp_path: Path) -> None:
    pair, file = localhost(), tmp_path / "given.pem"
    file.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    trust = ssl.create_default_context(cafile=str(root().cert))
    with Program(GATEWAY, *QUICK, *TLS, "--certificate", str(file)) as program:
        gateway = Gateway(program)
        url = gateway.url.replace("https", "wss") + "/live"
        with (
            connect(url, ssl=trust, ping_interval=None, open_timeout=DEADLINE) as page,
            socket.create_connection(("127.0.0.1", gateway.tcp_port), DEADLINE) as sock,
            trust.wrap_socket(sock, server_hostname="localhost") as sender,
        ):
            sender.sendall(b"a 1.5 V\n")
            while not any(one["name"] == "a" for one in json.loads(page.recv())["sensors"]):
                pass
        assert api(gateway, root().cert, "sensors/a")["value"] == 1.5
        program.stop()


@needs_openssl
def test_the_demo_plays_its_devices_over_tls_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.pem"
    with Program(DEMO, *QUICK, *TLS, "--certificate", str(file)) as program:
        program.line("is a new certificate")
        gateway = Gateway(program)
        trust = ssl.create_default_context(cafile=str(file))
        url = gateway.url.replace("https", "wss") + "/live"
        known: set[str] = set()
        with connect(url, ssl=trust, ping_interval=None, open_timeout=DEADLINE) as page:
            while len(known) < 6:
                known.update(one["name"] for one in json.loads(page.recv(DEADLINE))["sensors"])
        program.stop()


def test_without_the_openssl_command_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "gateway.pem"
    with Program(GATEWAY, *QUICK, *HTTPS, "--certificate", str(file)) as program:
        code, output, errors = program.finish()
    assert (code, output) == (1, "")
    assert errors.startswith(f"gateway: TLS needs a certificate, but there is no {file}, and ")
    assert "'openssl'" in errors
    assert not file.exists()


def test_a_certificate_that_is_none_is_told_without_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "gateway.pem"
    file.write_text("no certificate\n")
    with Program(GATEWAY, *QUICK, *HTTPS, "--certificate", str(file)) as program:
        code, output, errors = program.finish()
    assert (code, output) == (1, "")
    assert errors.startswith("gateway: ")
    assert "cert" in errors
    assert len(errors.splitlines()) == 1
