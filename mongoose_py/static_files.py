"""Files as answers to HTTP requests, and what :class:`~mongoose_py.Connection` has for it."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

from mongoose_py import http
from mongoose_py._args import as_text
from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import ffi, lib

if TYPE_CHECKING:
    from mongoose_py.http import HttpMessage

    Path = Union[str, "os.PathLike[str]"]

_ESTATE: int = lib.MGX_ESTATE
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class FilesConnection(BaseConnection):
    """The methods of :class:`~mongoose_py.Connection` that send files."""

    __slots__ = ()

    def serve_dir(
        self,
        message: HttpMessage,
        root_dir: Path,
        extra_headers: str = "",
        mime_types: str = "",
        page404: Path = "",
        *,
        listing: bool = False,
        fallthrough: bool = False,
    ) -> int:
        """Answer *message* with the file below *root_dir* that its URI names.

        Args:
            message: The message of the running event.
            root_dir: Nothing outside it is ever served.
            extra_headers: Header lines, separated by CR LF.
            mime_types: ``"ext=type,ext=type"``; ``"*=type"`` for all.
            page404: File that is sent, with status 200, instead of the 404 text.
            listing: Whether directories without ``index.html`` are listed.
            fallthrough: Whether to send nothing when there is no such file, the path
                cannot be one's, or the method is neither GET nor HEAD: the program has
                another answer. *page404* is of no use then.

        Returns:
            The status code that was sent; 0: nothing was, see *fallthrough*.

        Raises:
            ValueError: If *message* is not that of the running event, a path has NUL, or
                a header line is malformed.
            ConnectionClosed: If the connection is closed.
        """
        return self._serve(
            lib.mg_http_serve_dir,
            message,
            root_dir,
            extra_headers,
            mime_types,
            page404,
            listing,
            fallthrough,
        )

    def serve_file(
        self, message: HttpMessage, path: Path, extra_headers: str = "", mime_types: str = ""
    ) -> int:
        """Answer *message* with one file, whatever its URI; else as :meth:`serve_dir`."""
        return self._serve(
            lib.mg_http_serve_file, message, path, extra_headers, mime_types, "", False, False
        )

    def _serve(
        self,
        serve: Any,
        message: HttpMessage,
        root: Path,
        extra_headers: str,
        mime_types: str,
        page404: Path,
        listing: bool,
        fallthrough: bool,
    ) -> int:
        stale = "HttpMessage is not valid for this event"
        if not isinstance(message, http.HttpMessage):
            raise TypeError(f"message must be an HttpMessage, not {type(message).__name__}")
        if not message or message._raw.conn != self._id:
            raise ValueError(stale)
        flags = bool(listing), bool(fallthrough)
        asked: tuple[Any, ...] = (root, extra_headers, mime_types, page404, *flags)
        try:
            opts, views = _remembered_serve_options(*asked)
        except TypeError:  # what cannot be hashed: let it be refused by its name
            opts, views = _serve_options(*asked)
        number = self._open_id()
        code: int = serve(self._mgr, number, opts)
        del views  # opts pointed at them
        if code == _ESTATE:
            raise ValueError(stale)
        self._check(code, "serve")
        return code


def _serve_options(
    root: Path,
    extra_headers: str,
    mime_types: str,
    page404: Path,
    listing: bool,
    fallthrough: bool,
) -> tuple[Any, list[Any]]:
    """Return a ``struct mg_http_serve_opts *`` and what it points at."""
    texts = {
        "root": _path(root, "path"),
        "extra_headers": http.raw_header_lines(extra_headers),
        "mime_types": _mime_types(mime_types),
        "page404": _path(page404, "page404"),
    }
    opts = ffi.new("struct mg_http_serve_opts *", {"listing": listing, "fallthrough": fallthrough})
    views = []
    for name, text in texts.items():
        views.append(ffi.from_buffer(text))
        getattr(opts, name).buf = views[-1]
        getattr(opts, name).len = len(text)
    return opts, views


# A server has a few directories and asks for them with every request; to fill the
# struct takes 11 us, more than to find and open the file.
_remembered_serve_options = lru_cache(maxsize=64, typed=True)(_serve_options)


def _path(value: Path, name: str) -> bytes:
    path = os.fsencode(value)
    if b"\0" in path:
        raise ValueError(f"{name} must not contain NUL, not {value!r}")
    return path


def _mime_types(value: str) -> bytes:
    if _CONTROL.search(as_text(value, "mime_types")):
        raise ValueError(f"mime_types must be one line, not {value!r}")
    return value.encode()
