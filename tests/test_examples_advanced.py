"""The examples about proxies, threads and TLS do what their docstrings say."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from certificates import client, localhost, root
from exampletalk import ask, library_server, listening, run
from programs import DEADLINE

PROXY = "advanced/http_proxy_client.py"
TLS = "advanced/tls_https_server.py"


@contextmanager
def proxy(refuses: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Run a proxy for one CONNECT; give its URL and what it was asked."""
    asked: list[bytes] = []

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with server.accept()[0] as ours:
            ours.settimeout(DEADLINE)
            while b"\r\n\r\n" not in b"".join(asked):
                asked.append(ours.recv(1000))
            if refuses:
                ours.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = asked[0].split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port)), DEADLINE) as theirs:
                ours.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\n")
                back = threading.Thread(target=pass_on, args=(theirs, ours))
                back.start()
                pass_on(ours, theirs)
                back.join(DEADLINE)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_http_proxy_client_fetches_through_a_tunnel() -> None:
    with library_server(200, b"y" * 600) as port, proxy() as (url, asked):
        code, output, errors = run(PROXY, url, f"http://127.0.0.1:{port}/x")
    assert asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:" % port)
    assert (code, errors) == (0, "")
    assert output == f"HTTP/1.0 200 OK\n3 headers, 600 bytes\n{'y' * 500}"


def test_http_proxy_client_verifies_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = localhost()
    words = ["--cert", str(pair.cert), "--key", str(pair.key)]
    with listening(TLS, *words, scheme="https") as (server, port):
        target = f"https://localhost:{port}/api/status"
        with proxy() as (url, _):
            code, output, errors = run(PROXY, url, target)
        assert (code, output) == (1, "")
        assert "certificate verify failed" in errors
        monkeypatch.setenv("SSL_CERT_FILE", str(root().cert))
        with proxy() as (url, _):
            code, output, errors = run(PROXY, url, target)
        assert (code, errors) == (0, "")
        assert output.endswith('{"tls": true, "version": "TLSv1.3"}')
        server.process.terminate()
        assert server.finish()[:2] == (0, "stopped\n")


def test_http_proxy_client_says_what_is_wrong() -> None:
    code, _, errors = run(PROXY)
    assert (code, errors[:6]) == (1, "usage:")
    for words in (("http://", "http://target"), ("http://127.0.0.1:1", "http:///")):
        code, output, errors = run(PROXY, *words)
        assert (code, output, errors[:7]) == (1, "", "error: ")
    with proxy(refuses=True) as (url, _):
        answer = run(PROXY, url, "http://127.0.0.1:1/")
    assert answer == (1, "", "error: the proxy says 403\n")
    with library_server(404, b"") as port, proxy() as (url, _):
        assert run(PROXY, url, f"http://127.0.0.1:{port}/x")[0] == 1


# -- multithreaded_server ---------------------------------------------------


def test_multithreaded_server_answers_others_while_threads_work() -> None:
    words = ["--sleep-time", "1.5"]
    with listening("advanced/multithreaded_server.py", *words) as (program, port):
        slow = [http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE) for _ in range(3)]
        for one in slow:
            one.request("GET", "/slow")
        assert ask(port, "GET", "/fast")[:2] == (200, b"fast\n")
        for one in slow:
            one.sock.setblocking(False)
            with pytest.raises(BlockingIOError):  # nothing yet
                one.sock.recv(1)
            one.sock.settimeout(DEADLINE)
        for one in slow:
            assert one.getresponse().read() == b"slow, after 1.5 s\n"
            one.close()
        assert b"/slow" in ask(port, "GET", "/")[1]
        assert ask(port, "GET", "/else")[0] == 404
        assert program.stop() == "stopped\n"


def test_multithreaded_server_takes_it_when_a_client_does_not_wait() -> None:
    words = ["--sleep-time", "0.2"]
    with listening("advanced/multithreaded_server.py", *words) as (program, port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as impatient:
            impatient.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ask(port, "GET", "/slow")[0] == 200
        with closing(socket.create_connection(("127.0.0.1", port), DEADLINE)) as late:
            late.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            assert ask(port, "GET", "/fast")[0] == 200
            assert program.stop() == "stopped\n"  # while a thread is at work


# -- tls_https_server -------------------------------------------------------


def https(
    port: int, method: str, path: str, body: str | None = None, *, context: ssl.SSLContext
) -> tuple[int, bytes]:
    """Make one request with the standard library's client."""
    conn = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
    with closing(conn) as one:
        one.request(method, path, body)
        response = one.getresponse()
        return response.status, response.read()


def test_tls_https_server_makes_itself_a_certificate() -> None:
    localhost()  # skips where there is no openssl command
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with listening(TLS, scheme="https") as (program, port):
        assert b"It works" in https(port, "GET", "/", context=context)[1]
        status = json.loads(https(port, "GET", "/api/status", context=context)[1])
        assert status["tls"] is True
        assert https(port, "POST", "/api/echo", "a text", context=context) == (200, b"a text")
        assert https(port, "GET", "/else", context=context)[0] == 404
        assert program.stop() == "stopped\n"


def test_tls_https_server_shows_the_certificate_it_is_given_and_wants_one_with_ca() -> None:
    pair, own = localhost(), client("somebody")
    words = ["--cert", str(pair.cert), "--key", str(pair.key)]
    context = ssl.create_default_context(cafile=str(root().cert))
    with listening(TLS, *words, scheme="https") as (program, port):
        assert https(port, "GET", "/", context=context)[0] == 200
        program.stop()
    with listening(TLS, *words, "--ca", str(root().cert), scheme="https") as (program, port):
        with pytest.raises(OSError):
            https(port, "GET", "/", context=context)
        context.load_cert_chain(str(own.cert), str(own.key))
        assert https(port, "GET", "/", context=context)[0] == 200
        program.process.terminate()
        code, _, errors = program.finish()
        assert code == 0
        assert "did not return a certificate" in errors


def test_tls_https_server_says_what_it_cannot_use() -> None:
    code, _, errors = run(TLS, "--cert", "/nowhere/cert.pem")
    assert code == 1
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
