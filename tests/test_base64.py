"""Base64: the standard library's, and each text but the right ones refused."""

from __future__ import annotations

import base64
import binascii
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mongoose_py import base64_decode, base64_encode

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"


@given(st.binary(max_size=100))
@example(bytes(range(256)))
def test_encoding_is_that_of_the_standard_library_and_decodes_again(data: bytes) -> None:
    text = base64_encode(data)
    assert text == base64.b64encode(data).decode()
    assert base64_decode(text) == base64_decode(text.encode()) == data


@given(st.binary(max_size=100))
def test_padding_may_be_missing_as_a_whole(data: bytes) -> None:
    assert base64_decode(base64_encode(data).rstrip("=")) == data


@given(st.text(ALPHABET + "=", max_size=12) | st.text(max_size=12))
@example("QQ==QQ==")
@example("QR==")
@example("QQ=")
@example("AAAA====")
@example("=")
@example("Zm9v\n")
def test_exactly_what_could_have_been_encoded_is_decoded(text: str) -> None:
    data = model(text)
    if data is None:
        with pytest.raises(ValueError, match="data is not Base64"):
            base64_decode(text)
    else:
        assert base64_decode(text) == data


def model(text: str) -> bytes | None:
    """Return what *text* with or without its padding is the encoding of."""
    padded = text if text.endswith("=") else text + "=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded.encode("utf-8", "surrogatepass"))
    except binascii.Error:
        return None
    return data if base64.b64encode(data).decode() == padded else None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Zm9v!", r"b'!' at position 4"),
        ("Zm 9v", r"b' ' at position 2"),
        ("Zm9vé", r"b'\\xc3' at position 4"),
        ("QQ==QQ==", r"b'=' at position 2"),
        ("Zm9vY", "5 digits are one too many or too few"),
        ("QQ=", "1 '=' at the end, not 2"),
        ("AAAA====", "4 '=' at the end, not 0"),
        ("=", "1 '=' at the end, not 0"),
        ("QR==", "the last digit, 'R', has bits too many"),
        ("Zm9=", "the last digit, '9', has bits too many"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"data is not Base64: {why}"):
        base64_decode(text)


@given(st.text(ALPHABET, min_size=1, max_size=16), st.integers(0, 15), st.characters())
def test_one_character_of_another_alphabet_spoils_the_text(text: str, at: int, char: str) -> None:
    assume(char not in ALPHABET + "=")
    with pytest.raises(ValueError):
        base64_decode(text[:at] + char + text[at:])


@pytest.mark.parametrize("wrong", [None, 5, 1.5])
def test_anything_but_text_and_bytes_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError):
        base64_encode(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        base64_decode(wrong)  # type: ignore[arg-type]
