"""What a connection can do that speaks HTTP (:rfc:`9110`, :rfc:`9112`).

The part of :class:`~mongoose_py.Connection` that concerns HTTP; the C core does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mongoose_py import _dispatch, http
from mongoose_py._args import Data, as_bytes, as_text
from mongoose_py._connection import BaseConnection
from mongoose_py._mongoose_cffi import lib
from mongoose_py.errors import ConnectionClosed

if TYPE_CHECKING:
    from mongoose_py.http import Headers

_EINVAL: int = lib.MGX_EINVAL
_ESTATE: int = lib.MGX_ESTATE
_PLAIN_TEXT = b"Content-Type: text/plain\r\n"
_JSON = b"Content-Type: application/json\r\n"
_kept = _dispatch.kept
_http_reply = lib.mgx_http_reply


class HttpConnection(BaseConnection):
    """The HTTP methods of :class:`~mongoose_py.Connection`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def send(self, data: Data) -> None:
            """Queue bytes, as every connection does."""

    def reply(self, status_code: int, body: Data = b"", headers: Headers | None = None) -> None:
        """Answer the pending request with a complete response.

        Status line, ``Date``, lengths and framing are made here. With ``Transfer-Encoding:
        chunked`` or ``Content-Type: text/event-stream`` among *headers* the answer is
        chunked and stays open: go on with ``http_chunk()`` or ``http_sse()``, end it with
        ``http_chunk(b"")``. No body goes out in answer to HEAD, and none with 1xx, 204
        and 304. May be called at any time, from any event.

        Args:
            status_code: 100 to 999.
            body: ``str`` goes as UTF-8.
            headers: Mapping or pairs of names and values; values are converted with
                ``str()``. ``Content-Type: text/plain`` is added when none is given.

        Raises:
            ValueError: If a name is not a token, a value has a control character,
                *status_code* is out of range, or a ``Content-Length`` or
                ``Transfer-Encoding`` does not fit. Nothing was sent.
            TypeError: If a name or value is of the wrong type.
            Error: If the request was answered already, or ``Limits.send_backlog`` stands
                against it.
            ConnectionClosed: If the connection is closed.
        """
        if headers is None:
            head = _PLAIN_TEXT if status_code == 200 or _has_body(status_code) else b""
        else:
            default = "text/plain" if _has_body(status_code) else ""
            head = http.reply_headers(headers, default)
        if type(body) is not bytes:
            body = as_bytes(body, "body")
        number = self._id  # _reply() written out: one frame less on the hot path
        if not number:
            raise ConnectionClosed("Connection has been closed")
        code = _http_reply(self._mgr, number, status_code, head, len(head), body, len(body))
        if code:
            self._check_reply(code, status_code, len(body))

    def reply_json(
        self, data: object, status_code: int = 200, headers: Headers | None = None
    ) -> None:
        """Answer the pending request with *data* as JSON.

        ``Content-Type: application/json`` wins over one in *headers*; else as
        :meth:`reply`.

        Raises:
            TypeError: If *data* is not serialisable. Nothing was sent.
            ValueError: So too, for NaN and infinities and for circular references.
        """
        from json import dumps  # when needed: it takes its time

        if headers is None:
            head = _JSON
        else:
            head = http.reply_headers(headers, "application/json", replace=True)
        self._reply(status_code, head, dumps(data, allow_nan=False).encode())

    def _reply(self, status_code: int, head: bytes, body: bytes) -> None:
        number = self._open_id()
        code = _http_reply(self._mgr, number, status_code, head, len(head), body, len(body))
        if code or _kept:
            self._check_reply(code, status_code, len(body))

    def _check_reply(self, code: int, status_code: int, size: int) -> None:
        if code == lib.MGX_ELENGTH:
            raise ValueError(f"reply: Content-Length must be the body's, {size}")
        status = f"status_code must be 100..999, not {status_code}"
        framing = "Transfer-Encoding must be chunked, and without Content-Length"
        self._check(code, "reply", {_EINVAL: framing if 100 <= status_code < 1000 else status})

    def http_chunk(self, data: Data) -> None:
        """Send a piece of the body of an answer, or of a request, that was begun.

        Framed as its head announced: as a chunk, or as it is. Empty data ends the body.

        Raises:
            Error: If nothing was begun, or more comes than ``Content-Length`` announced.
            ConnectionClosed: If the connection is closed.
        """
        payload = as_bytes(data)
        number = self._open_id()
        code = lib.mgx_http_chunk(self._mgr, number, payload, len(payload))
        if code < 0 or _kept:
            self._check(code, "http_chunk", {lib.MGX_EANSWERED: "no body was begun"})

    def http_sse(self, event_type: str, data: Data) -> None:
        """Send one server-sent event in an answer that was begun.

        ``reply(200, "", {"Content-Type": "text/event-stream"})`` begins one.

        Args:
            event_type: Name of the event; ``""``: none, which browsers call ``message``.
            data: Text of any number of lines.

        Raises:
            ValueError: If *event_type* has a line break.
            Error: If no answer was begun.
            ConnectionClosed: If the connection is closed.
        """
        self.http_chunk(http.event_text(event_type, data))

    def http_basic_auth(self, username: str, password: str) -> None:
        """Queue an ``Authorization: Basic`` header line, :rfc:`7617`.

        For a client that writes its request by hand. A colon in *username* would move
        the border between the two.

        Raises:
            ValueError: If NUL is in either.
            ConnectionClosed: If the connection is closed.
        """
        from binascii import b2a_base64

        credentials = f"{as_text(username, 'username')}:{as_text(password, 'password')}"
        code = b2a_base64(credentials.encode(), newline=False)
        self.send(b"Authorization: Basic " + code + b"\r\n")

    def request(
        self,
        method: str,
        path: str = "/",
        headers: Headers | None = None,
        body: Data = b"",
    ) -> None:
        """Send an HTTP request, with ``Host`` and framing; several may be under way.

        Without *body*, ``Content-Length`` or ``Transfer-Encoding: chunked`` among
        *headers* announces one that ``http_chunk()`` sends.

        Args:
            method: A token, ``"GET"``.
            path: Path and query, percent-encoded; or another form of request target
                (:rfc:`9112`, section 3.2).
            headers: As in :meth:`reply`; ``Host`` is added when it is not there.
            body: ``str`` goes as UTF-8.

        Raises:
            ValueError: If *method*, *path* or a header is malformed, or a
                ``Content-Length`` does not fit *body*.
            Error: If this is not a client's HTTP connection.
            ConnectionClosed: If the connection is closed.
        """
        lines = http.header_lines(headers or ())
        payload = as_bytes(body, "body")
        number = self._open_id()
        wire = http.request_text(method, path, self._host, lines, payload)
        is_head = method == "HEAD"
        code = lib.mgx_http_request(self._mgr, number, wire, len(wire), is_head)
        if code < 0 or _kept:
            self._check(code, "request", {lib.MGX_EKIND: "not an HTTP client's connection"})

    def stream_body(self) -> None:
        """Have the body of the message whose ``MG_EV_HTTP_HDRS`` is running in pieces.

        They come as ``MG_EV_READ``, without chunk framing and counted against no buffer
        limit; then ``MG_EV_HTTP_MSG`` with an empty body. A body that is cut off gives
        ``MG_EV_ERROR`` instead.

        Raises:
            Error: In any other event.
            ConnectionClosed: If the connection is closed.
        """
        number = self._open_id()
        causes = {_ESTATE: "only while MG_EV_HTTP_HDRS is being handled"}
        code = lib.mgx_http_stream_body(self._mgr, number)
        self._check(code, "stream_body", causes)


def _has_body(status_code: int) -> bool:
    """Tell whether a response of this status has content, RFC 9110 section 6.4.1."""
    return status_code >= 200 and status_code not in (204, 304)
