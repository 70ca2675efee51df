"""Digests and checksums: the same as the standard library's, for every kind of argument."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import zlib
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mongoose_py import crc32, hmac_sha256, md5, sha1, sha256

DIGESTS = {"md5": md5, "sha1": sha1, "sha256": sha256}


@pytest.mark.parametrize("name", DIGESTS)
@given(data=st.binary(max_size=300))
def test_digests_are_those_of_hashlib(name: str, data: bytes) -> None:
    assert DIGESTS[name](data) == hashlib.new(name, data).digest()


def test_digests_of_the_rfcs() -> None:
    assert md5("message digest").hex() == "f96b697d7cb7938d525a2f31aaf161d0"
    assert sha1("abc").hex() == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert sha256("").hex()[:16] == "e3b0c44298fc1c14"


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library(key: bytes, data: bytes) -> None:
    assert hmac_sha256(key, data) == hmac.new(key, data, "sha256").digest()


def test_hmac_of_rfc_4231() -> None:
    digest = hmac_sha256("Jefe", "what do ya want for nothing?")
    assert digest.hex().startswith("5bdcc146bf60754e6a042426089575c7")


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_crc32_is_that_of_zlib(data: bytes, initial: int) -> None:
    assert crc32(data, initial) == zlib.crc32(data, initial) == binascii.crc32(data, initial)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_a_crc32_goes_on_where_the_last_one_ended(pieces: list[bytes]) -> None:
    check = 0
    for piece in pieces:
        check = crc32(piece, initial=check)
    assert check == crc32(b"".join(pieces))


@pytest.mark.parametrize("initial", [-1, 2**32])
def test_a_crc32_begins_with_32_bits(initial: int) -> None:
    with pytest.raises(OverflowError, match=rf"initial must be 0\.\.4294967295, not {initial}"):
        crc32(b"", initial)


FUNCTIONS: list[Callable[[Any], object]] = [
    md5,
    sha1,
    sha256,
    crc32,
    lambda data: hmac_sha256(data, data),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@given(text=st.text(max_size=40))
def test_text_counts_as_its_utf8_and_every_kind_of_bytes_is_the_same(
    function: Callable[[Any], object], text: str
) -> None:
    data = text.encode()
    for same in (bytearray(data), memoryview(data), memoryview(data + data)[: len(data)]):
        assert function(same) == function(data)
    assert function(text) == function(data)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wrong", [None, 5, 1.5, ["a"]])
def test_anything_else_is_a_type_error(function: Callable[[Any], object], wrong: object) -> None:
    with pytest.raises(TypeError, match="must be str or a bytes-like object"):
        function(wrong)


def test_the_start_of_a_crc32_is_a_whole_number() -> None:
    with pytest.raises(TypeError):
        crc32(b"", 1.5)  # type: ignore[arg-type]
