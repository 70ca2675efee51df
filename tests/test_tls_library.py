"""Which OpenSSL is used, and what is said when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from certificates import localhost, root

import mongoose_py
from mongoose_py import Error, Manager, TlsOpts, tls_context

PROGRAM = """
import sys
from mongoose_py import MG_EV_TLS_HS, Manager, TlsOpts, tls_context
from pathlib import Path

done = []
def note(conn, ev, data):
    if ev == MG_EV_TLS_HS:
        done.append(conn.tls_info().version)

with Manager(note) as manager:
    listener = manager.listen("tls://127.0.0.1:0", tls=TlsOpts(cert=Path(sys.argv[1])))
    host, port, _ = listener.local_addr
    manager.connect(f"tls://{host}:{port}", tls=TlsOpts(ca=Path(sys.argv[2])))
    for _ in range(200):
        manager.poll(50)
        if len(done) == 2:
            break
print(tls_context.library.is_open, tls_context.library.is_pythons, *done)
print("; ".join(tls_context.library.tried))
"""


def run(**environment: str) -> list[str]:
    """Shake hands in a new interpreter; return what it used, and what it tried in vain."""
    pair = localhost()
    both = pair.cert.with_name("both.pem")
    both.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(both), str(root().cert)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_library_that_is_named_is_used_or_none() -> None:
    used, tried = run(MONGOOSE_PY_LIBSSL="/no/such/libssl.so")
    assert used == "False False TLSv1.3 TLSv1.3"  # by Python's ssl
    assert "/no/such/libssl.so" in tried


def test_the_library_of_the_interpreter_is_preferred() -> None:
    if not list(tls_context._mapped()):
        pytest.skip("this interpreter's ssl is linked into it")
    assert run()[0] == "True True TLSv1.3 TLSv1.3"


def test_without_any_openssl_an_error_names_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_context.library, "is_open", False)
    monkeypatch.setattr(tls_context.library, "tried", ["libssl.so.3: not found"])
    monkeypatch.setitem(sys.modules, "ssl", None)
    monkeypatch.delitem(sys.modules, "mongoose_py.tls_engine", raising=False)
    monkeypatch.delattr(mongoose_py, "tls_engine", raising=False)
    with Manager() as manager:
        for call in (
            lambda: manager.connect("https://127.0.0.1:1"),
            lambda: manager.listen("https://127.0.0.1:0", tls=TlsOpts(cert="x")),
        ):
            with pytest.raises(Error, match=r"needs OpenSSL.*libssl\.so\.3: not found"):
                call()


def test_import_does_not_open_it() -> None:
    program = "import sys, mongoose_py; print('ssl' in sys.modules, '_ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize(
    ("maps", "found"),
    [
        ("7f00-7f01 r-xp 00000000 08:01 5  /usr/lib/x86_64-linux-gnu/libssl.so.3\n" * 3, True),
        ("7f00-7f01 r-xp 00000000 08:01 5  /a b/libssl-1.so.1.1\n", True),
        ("7f00-7f01 r-xp 00000000 08:01 5  /usr/lib/libssl3.txt\n", False),
        ("7f00-7f01 r-xp 00000000 08:01 5  /usr/lib/libssl/libx.so\n", False),
        ("libssl\n", False),
        ("", False),
    ],
)
def test_a_mapped_libssl_is_found(
    maps: str, found: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "maps"
    file.write_text(maps)
    monkeypatch.setattr(tls_context, "_MAPS", str(file))
    assert bool(list(tls_context._mapped())) == found
