"""Glob patterns over paths and topics."""

from __future__ import annotations

from mongoose_py._args import Data, as_bytes
from mongoose_py._mongoose_cffi import ffi, lib


def match(s: Data, pattern: Data) -> tuple[bool, list[str]]:
    """Match the whole of *s* against *pattern*; return the verdict and what the wildcards took.

    ``?`` takes one character, ``*`` any run without ``/``, ``#`` any run at all;
    everything else stands for itself. There is one capture per wildcard, in
    order; an earlier wildcard takes as little as it can. Without a match the
    list is empty. Bytes are read as UTF-8; one that is not part of a character counts
    as one, and is a lone surrogate in a capture (:pep:`383`).

    The time is bounded by the product of both lengths, whatever the pattern.

    Raises:
        TypeError: If an argument is neither text nor bytes-like.
        MemoryError: If the pattern and the text are both huge.
    """
    text = ffi.from_buffer(as_bytes(s, "s"))
    glob = as_bytes(pattern, "pattern")
    room = glob.count(b"*") + glob.count(b"#") + glob.count(b"?")
    captures = ffi.new("struct mg_str[]", room)
    count = lib.mg_match(text, len(text), glob, len(glob), captures, room)
    if count == lib.MGX_MATCH_ENOMEM:
        raise MemoryError(f"matching {len(text)} bytes against a pattern of {len(glob)}")
    if count < 0:
        return False, []
    return True, [str(ffi.buffer(c.buf, c.len), "utf-8", "surrogateescape") for c in captures]
