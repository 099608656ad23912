"""The head of a request: reading it within limits, and its content."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import h11
import trio

from portfolio_trio.escaping import echo
from portfolio_trio.http._response import refuse

_CHUNK = 4_096
_MAX_QUERY_FIELDS = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIRST_BYTE = re.compile(rb"[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]")


@dataclass(frozen=True, slots=True)
class Head:
    """A request's line and headers.

    `path` is percent-decoded UTF-8, `query` has the last value of each field, header names are lower case.
    `behind` is what was read beyond the head. Parts that may contain a secret are left out of the repr.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    http_version: str = "1.1"
    behind: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """Return the header's value, repeated ones joined with commas; None if it is absent.

        Non-ASCII bytes are decoded as Latin-1.
        """
        wanted = name.lower().encode("ascii")
        values = [value.decode("latin-1") for key, value in self.headers if key == wanted]
        return ", ".join(values) if values else None

    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the comma-separated items of a header, stripped, without empty ones."""
        items = (item.strip() for item in (self.header(name) or "").split(","))
        return tuple(item for item in items if item)

    @property
    def allows_another(self) -> bool:
        """Whether the connection may be kept: only where nothing is in doubt about where this request ends.

        A request with both Content-Length and Transfer-Encoding must close it (RFC 9112, 6.1); here any body
        does.
        """
        return (
            self.http_version == "1.1"
            and "close" not in (token.lower() for token in self.tokens("connection"))
            and self.header("transfer-encoding") is None
            and self.header("content-length") in {None, "0"}
        )

    @property
    def is_upgrade(self) -> bool:
        """Whether the client requests a WebSocket upgrade."""
        return (
            self.http_version == "1.1"
            and "websocket" in (token.lower() for token in self.tokens("upgrade"))
            and "upgrade" in (token.lower() for token in self.tokens("connection"))
        )


class HeadReader:
    """Reads one head from a stream; knows afterwards what arrived, even if it was not a valid head.

    `received` counts the peer's bytes, with those of `behind`, which came behind the request before;
    `wants_head_only` is whether it asked with HEAD.
    """

    def __init__(self, stream: trio.abc.Stream, *, max_bytes: int, behind: bytes = b"") -> None:
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=max_bytes)
        if behind:
            self.connection.receive_data(behind)
        self.received = len(behind)
        self.wants_head_only = False
        self._stream = stream
        self._max_bytes = max_bytes

    async def read(self) -> Head | None:
        """Return the head, or None if the peer left without sending anything.

        Raises `HttpError`: 431 for a head over the limit, 400 (or what h11 suggests) for bad HTTP.
        """
        try:
            request = await self._request()
        except h11.RemoteProtocolError as error:
            raise refuse(error.error_status_hint, *_what_is_wrong(error)) from None
        if request is None:
            return None
        self.wants_head_only = request.method == b"HEAD"
        behind, _ = self.connection.trailing_data
        if self.received - len(behind) > self._max_bytes:
            raise refuse(431, "head_too_large", f"A request's head is limited to {self._max_bytes} bytes.")
        return _parse(request, behind)

    async def _request(self) -> h11.Request | None:
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Request):
                return event
            if isinstance(event, h11.ConnectionClosed):
                return None
            data = await self._stream.receive_some(_CHUNK)
            if data and not self.received and not _FIRST_BYTE.match(data):
                raise refuse(400, "bad_request", "Speak HTTP/1.1 here, without TLS.")
            self.received += len(data)
            self.connection.receive_data(bytes(data))


def _what_is_wrong(error: h11.RemoteProtocolError) -> tuple[str, str]:
    if error.error_status_hint == 431:  # noqa: PLR2004  (the status itself)
        return "head_too_large", "The request's head is too large."
    return "bad_request", f"This is not a valid HTTP/1.1 request: {echo(str(error))}."


def _parse(request: h11.Request, behind: bytes) -> Head:
    if not request.http_version.startswith(b"1."):
        raise refuse(505, "bad_request", "Speak HTTP/1.1 here.")
    path, query = _parse_target(request.target)
    return Head(
        method=request.method.decode("ascii"),
        path=path,
        query=query,
        headers=tuple((bytes(name), bytes(value)) for name, value in request.headers),
        http_version=request.http_version.decode("ascii"),
        behind=behind,
    )


def _parse_target(target: bytes) -> tuple[str, Mapping[str, str]]:
    try:
        parts = urlsplit(target.decode("ascii"))
        path = unquote_to_bytes(parts.path).decode()
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS)
        )
    except ValueError:
        raise refuse(
            400, "bad_request", "The request's target must be a path in percent-encoded UTF-8."
        ) from None
    if _CONTROL.search(path):
        raise refuse(400, "bad_request", "The request's path contains control characters.")
    return path, query
