"""The tree of exceptions, and what the codes of the C core become."""

from __future__ import annotations

import errno
import pickle
import socket
from contextlib import closing

import pytest

from mongoose_py import AddressError, ConnectionClosed, Error, Manager, SystemCallError
from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import failure

CODES = [name for name in dir(lib) if name.startswith("MGX_E")]


def test_every_exception_is_a_runtime_error_and_what_it_is_about() -> None:
    assert issubclass(Error, RuntimeError)
    assert issubclass(ConnectionClosed, Error)
    assert issubclass(AddressError, Error)
    assert issubclass(AddressError, ValueError)
    assert issubclass(SystemCallError, Error)
    assert issubclass(SystemCallError, OSError)


@pytest.mark.parametrize("name", CODES)
def test_every_code_of_the_core_has_an_exception_with_a_text(name: str) -> None:
    exc = failure(getattr(lib, name), "doing it", "", errno.EACCES)
    assert isinstance(exc, (Error, ValueError, MemoryError))
    assert not str(exc).endswith(f"error {getattr(lib, name)}")
    assert "closed" in str(exc) or str(exc).startswith("doing it: ")


def test_a_system_error_keeps_its_number_and_survives_pickling() -> None:
    exc = failure(lib.MGX_ESYSTEM, "Failed to listen", errno=errno.EADDRINUSE)
    assert isinstance(exc, SystemCallError)
    again = pickle.loads(pickle.dumps(exc))
    for one in (exc, again):
        assert one.errno == errno.EADDRINUSE
        assert str(one) == "Failed to listen: Address already in use"


BAD_URLS = [
    "",
    "nonsense",
    "tcp://",
    "tcp://127.0.0.1:99999",
    "tcp://127.0.0.1:-1",
    "tcp://127.0.0.1:80\0",
    "tcp://[::1",
    "bad://bad:bad",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_malformed_url_is_a_value_error_that_shows_it(url: str) -> None:
    with Manager() as manager:
        with pytest.raises(AddressError, match=r"^Failed to listen on") as listening:
            manager.listen(url)
        with pytest.raises(AddressError, match=r"^Failed to connect to"):
            manager.connect(url)
        assert repr(url) in str(listening.value)
        assert manager.connections == ()


def test_a_port_in_use_is_an_os_error_with_its_number() -> None:
    with Manager() as manager, closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=r"^Failed to listen on") as refused:
            manager.listen(url)
        assert refused.value.errno == errno.EADDRINUSE
        assert isinstance(refused.value, RuntimeError)
        assert str(refused.value) == f"Failed to listen on {url!r}: Address already in use"


@pytest.mark.parametrize("url", [b"tcp://127.0.0.1:0", None, 80])
def test_a_url_that_is_no_text_is_a_type_error(url: object) -> None:
    with Manager() as manager, pytest.raises(TypeError, match="url must be str"):
        manager.listen(url)  # type: ignore[arg-type]
