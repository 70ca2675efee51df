"""What scanners of other people find in a TLS server with the options it has by default.

testssl.sh grades what it finds, and nothing may be graded above LOW. sslyze compares with
Mozilla's profile "intermediate", and there may be no difference. The certificate is as
it should be on the net, so that what they find is the server's.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Callable

import pytest
from certificates import Pair, issue, root
from conftest import running

from mongoose_py import Connection, Handler, HttpMessage, Manager

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("engine")]
Make = Callable[..., Manager]
TESTSSL = shutil.which("testssl.sh") or shutil.which("testssl")
HARMLESS = {"OK", "INFO", "LOW", "WARN"}  # WARN: the scanner could not do something
# What a scan has looked at, if it was a whole one.
LOOKED_AT = {
    *("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipher_order"),
    *("cert_trust", "cert_chain_of_trust", "heartbleed", "CCS", "ticketbleed", "ROBOT"),
    *("secure_renego", "secure_client_renego", "CRIME_TLS", "POODLE_SSL", "SWEET32"),
    *("FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4"),
}
PROBED = {
    *("ssl_2_0_cipher_suites", "ssl_3_0_cipher_suites", "tls_1_0_cipher_suites"),
    *("tls_1_1_cipher_suites", "tls_1_2_cipher_suites", "tls_1_3_cipher_suites"),
    *("tls_compression", "tls_fallback_scsv", "heartbleed", "robot", "openssl_ccs_injection"),
    *("session_renegotiation", "session_resumption", "elliptic_curves", "certificate_info"),
    *("tls_1_3_early_data", "tls_extended_master_secret"),
}


class Site(Handler):
    """Answers requests, and expects that most handshakes fail."""

    def on_http(self, conn: Connection, message: HttpMessage) -> None:
        conn.reply(200, "hello\n")

    def on_error(self, conn: Connection, message: str) -> None:
        pass


@cache
def certificate(key: str) -> Pair:
    return issue(root(), key=key, crl="http://localhost/revoked.crl", days=(-1, 90))


@pytest.fixture(params=["p256", "rsa"])
def address(make_manager: Make, request: pytest.FixtureRequest) -> Any:
    """Run a server, and give where it is."""
    manager = make_manager(Site())
    listener = manager.listen("https://127.0.0.1:0", tls=certificate(request.param).opts)
    with running(manager):
        yield f"localhost:{listener.local_addr[1]}"


@pytest.mark.parametrize("poller", ["epoll"], indirect=True)
def test_testssl_finds_nothing_above_low(address: str, tmp_path: Path) -> None:
    if TESTSSL is None:
        pytest.skip("needs testssl.sh, the package of that name")
    found = tmp_path / "found.json"
    # Protocols, kinds of ciphers, forward secrecy, the server's choice, what it shows by
    # itself, vulnerabilities. Headers of HTTP are whose server it is.
    done = subprocess.run(
        [
            *(TESTSSL, "--quiet", "--warnings=off", "--nodns=none", "--color=0"),
            *("-p", "-s", "-f", "-P", "-S", "-U", "--add-ca", str(root().cert)),
            *("--jsonfile", str(found), address),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert found.exists(), done.stdout + done.stderr
    findings = json.loads(found.read_text())
    assert {finding["id"].split(" ")[0] for finding in findings} >= LOOKED_AT
    assert [finding for finding in findings if finding["severity"] not in HARMLESS] == []


@pytest.mark.parametrize("poller", ["epoll"], indirect=True)
def test_sslyze_finds_what_mozilla_recommends(address: str, engine: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("sslyze") is None:
        pytest.skip("needs sslyze: pip install sslyze")
    scan = tmp_path / "scan.json"
    command = [sys.executable, "-m", "sslyze", "--json_out", str(scan), address]
    command += [
        "--resum",
        "--early_data",
        "--mozilla_config=intermediate",
        "--certinfo_ca_file",
        str(root().cert),
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    assert scan.exists(), done.stdout + done.stderr
    (server,) = json.loads(scan.read_text())["server_scan_results"]
    results = server["scan_result"]
    assert {name for name in results if results[name]["status"] == "COMPLETED"} >= PROBED
    assert (
        results["session_resumption"]["result"]["tls_ticket_resumption_result"] == "FULLY_SUPPORTED"
    )
    assert not results["tls_1_3_early_data"]["result"]["supports_early_data"]
    differences = set(re.findall(r"^ +\* (\w+): ", done.stdout, re.MULTILINE))
    # Before 3.15 Python's ssl has no way to leave curves out.
    assert differences <= ({"tls_curves"} if engine == "ssl" else set()), done.stdout
    assert done.returncode == bool(differences), done.stdout + done.stderr
