"""TLS that changes while it runs: new certificates, earlier sessions, handlers that interfere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable

import certificates
import pytest
from certificates import localhost, trusting
from conftest import Recorder, dial, pump, turns, udp_socket, url_of
from tlskit import Ends, echo, options, shown

from mongoose_py import (
    MG_EV_ACCEPT,
    MG_EV_CLOSE,
    MG_EV_CONNECT,
    MG_EV_ERROR,
    MG_EV_OPEN,
    MG_EV_READ,
    MG_EV_TLS_HS,
    Connection,
    ConnectionClosed,
    Error,
    Manager,
    TlsOpts,
)

pytestmark = pytest.mark.usefixtures("engine")
Make = Callable[..., Manager]


def test_certificates_are_changed_without_dropping_a_connection(make_manager: Make) -> None:
    first, second = localhost(), localhost("rsa")
    ends = Ends(make_manager(), first.opts, server=Recorder(echo)).shake()
    before = ends.conn
    ends.listener.tls_reload(second.opts)
    after = ends.connect()
    ends.shake(2)
    assert (shown(before), shown(after)) == (first.der, second.der)
    before.send("still here")
    pump(ends.manager, lambda: ends.client.data(MG_EV_READ) == [b"still here"])


def test_reload_reads_the_files_again(make_manager: Make, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(pair: certificates.Pair) -> None:
        cert.write_bytes(pair.cert.read_bytes())
        key.write_bytes(pair.key.read_bytes())

    write(localhost())
    ends = Ends(make_manager(), TlsOpts(cert=cert, key=key)).shake()
    assert shown(ends.conn) == localhost().der
    write(localhost("rsa"))
    ends.listener.tls_reload()
    ends.conn = ends.connect()
    ends.shake(2)
    assert shown(ends.conn) == localhost("rsa").der
    key.write_text("half a key")
    with pytest.raises(ValueError, match="key"):
        ends.listener.tls_reload()
    ends.conn = ends.connect()
    ends.shake(3)
    assert shown(ends.conn) == localhost("rsa").der


def test_reload_is_for_listeners_with_options(make_manager: Make) -> None:
    ends = Ends(make_manager()).shake()
    with pytest.raises(Error, match="not a listener"):
        ends.conn.tls_reload()
    with pytest.raises(Error, match="no TLS options"):
        ends.manager.listen("https://127.0.0.1:0").tls_reload()


def test_what_is_not_possible_any_more_raises(make_manager: Make) -> None:
    ends = Ends(make_manager()).shake()
    with pytest.raises(Error, match="has begun"):
        ends.conn.tls_init(trusting())
    ends.conn.close()
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    for call in (
        lambda: ends.conn.tls_init(trusting()),
        lambda: ends.conn.tls_free(),
        lambda: ends.conn.tls_reload(),
    ):
        with pytest.raises(ConnectionClosed):
            call()


def test_tls_is_not_for_datagrams(make_manager: Make) -> None:
    with pytest.raises(ValueError, match="udp"):
        make_manager().listen("udp://127.0.0.1:0", tls=localhost().opts)
    with pytest.raises(Error, match="TCP"):
        make_manager().listen("udp://127.0.0.1:0").tls_init(localhost().opts)
    with udp_socket() as sock, pytest.raises(ValueError, match="udp"):
        make_manager().connect(f"udp://127.0.0.1:{sock.getsockname()[1]}", tls=trusting())


def test_tls_free_undoes_tls_init_before_the_handshake(make_manager: Make) -> None:
    manager, server = make_manager(), Recorder(echo)
    listener = manager.listen("tcp://127.0.0.1:0", server)
    for _ in range(2):
        listener.tls_init(localhost().opts)
        assert listener.is_tls
        listener.tls_free()
        assert not listener.is_tls
    with dial(listener) as sock:
        sock.sendall(b"plain")
        pump(manager, server.saw(MG_EV_READ))
    assert server.data(MG_EV_READ) == [b"plain"]


def test_tls_init_in_a_row_uses_the_last(make_manager: Make) -> None:
    manager, server, client = make_manager(), Recorder(), Recorder()
    listener = manager.listen("https://127.0.0.1:0", server)
    for opts in (localhost("rsa").opts, TlsOpts(), localhost().opts):
        listener.tls_init(opts)
    conn = manager.connect(url_of(listener, "https"), client, tls=trusting())
    pump(manager, client.saw(MG_EV_TLS_HS))
    assert shown(conn) == localhost().der


# -- sessions -----------------------------------------------------------------


@pytest.mark.parametrize("resumption", [True, False])
def test_a_second_connection_takes_up_the_first_ones_session(
    make_manager: Make, resumption: bool
) -> None:
    opts = trusting(resumption=resumption)
    ends = Ends(make_manager(), client_opts=opts, server=Recorder(echo)).shake()
    assert not ends.conn.tls_info().resumed  # type: ignore[union-attr]
    for i in range(1, 3):
        ends.conn.send("x")  # its answer comes behind the session ticket
        pump(ends.manager, ends.client.saw(MG_EV_READ, i))
        ends.conn = ends.connect(opts)
        ends.shake(i + 1)
        assert ends.conn.tls_info().resumed == resumption  # type: ignore[union-attr]
        assert ends.accepted.tls_info().resumed == resumption  # type: ignore[union-attr]
        assert shown(ends.conn) == localhost().der


def test_a_server_can_do_without_sessions(make_manager: Make) -> None:
    ends = Ends(make_manager(), options(localhost(), resumption=False), server=Recorder(echo))
    ends.shake()
    ends.conn.send("x")
    pump(ends.manager, ends.client.saw(MG_EV_READ))
    ends.conn = ends.connect()
    ends.shake(2)
    assert not ends.conn.tls_info().resumed  # type: ignore[union-attr]


# -- handlers that interfere --------------------------------------------------


@pytest.mark.parametrize("when", [MG_EV_ACCEPT, MG_EV_TLS_HS, MG_EV_READ])
@pytest.mark.parametrize("how", ["close", "drain", "error"])
def test_a_handler_may_end_its_connection_at_any_time(
    make_manager: Make, when: int, how: str
) -> None:
    def end(conn: Connection, ev: int, data: Any) -> None:
        if ev == when:
            conn.error("enough") if how == "error" else getattr(conn, how)()

    ends = Ends(make_manager(), server=Recorder(end))
    ends.conn.send("x")
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    pump(ends.manager, ends.server.saw(MG_EV_CLOSE))
    assert ends.server.names(ends.server.conns(MG_EV_CLOSE)[0])[-1] == "CLOSE"


@pytest.mark.parametrize("when", [MG_EV_CONNECT, MG_EV_TLS_HS])
def test_a_client_may_be_closed_at_any_time(make_manager: Make, when: int) -> None:
    ends = Ends(
        make_manager(), client=Recorder(lambda conn, ev, _: conn.close() if ev == when else None)
    )
    pump(ends.manager, ends.client.saw(MG_EV_CLOSE))
    pump(ends.manager, lambda: ends.server.saw(MG_EV_CLOSE)() or not ends.server.conns(MG_EV_OPEN))
    assert not ends.client.data(MG_EV_ERROR)


def test_a_handler_that_raises_behind_the_handshake_is_reported_and_ends_it(
    make_manager: Make,
) -> None:
    raised: list[tuple[Exception, int | None]] = []

    def fail(conn: Connection, ev: int, _: Any) -> None:
        if ev == MG_EV_TLS_HS:
            raise KeyError("x")

    manager = make_manager(on_exception=lambda exc, conn, ev: raised.append((exc, ev)))
    ends = Ends(manager, client=Recorder(fail), server=Recorder(echo))
    pump(manager, lambda: ends.conn.id == 0)
    assert ends.client.names()[-2:] == ["ERROR", "CLOSE"]
    assert [(type(exc), ev) for exc, ev in raised] == [(KeyError, MG_EV_TLS_HS)]


def test_an_error_that_nobody_takes_is_logged(
    make_manager: Make, caplog: pytest.LogCaptureFixture
) -> None:
    manager = make_manager()
    listener = manager.listen("https://127.0.0.1:0", tls=localhost().opts)
    conn = manager.connect(url_of(listener, "https"))
    with caplog.at_level(logging.WARNING, "mongoose_py"):
        pump(manager, lambda: conn.id == 0)
        turns(manager)
    assert "certificate verify failed" in caplog.text
