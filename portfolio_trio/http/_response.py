"""HTTP answers: their fields, their bytes, and how to end a connection so that they arrive."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Self

import h11
import trio

from portfolio_trio.escaping import echo

_DETAIL_CHARACTERS = 1_000
_DRAIN_CHUNK = 65_536
_DRAIN_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer.

    `headers` are additional headers; Content-Type, Content-Length, Connection and Date are made from the
    other fields. `keeps` allows the connection to stay open for another request; without it the answer closes
    its connection.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    keeps: bool = False

    @classmethod
    def json(cls, value: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Self:
        """Return `value` as JSON. Raises ValueError for NaN and infinities, which JSON does not have."""
        body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        return cls(status=status, body=body, headers=headers)

    @classmethod
    def error(
        cls,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Self:
        """Return an error whose JSON body has the fields of the WebSocket message `error`.

        `retry_after` is in seconds, sent rounded up; if given, the error is retryable.
        """
        if retry_after is not None:
            headers = (*headers, ("Retry-After", str(math.ceil(retry_after))))
        body = {
            "type": "error",
            "code": code,
            "detail": echo(detail, _DETAIL_CHARACTERS),
            "retryable": retry_after is not None,
        }
        return cls.json(body, status=status, headers=headers)

    def encode(self, *, head_only: bool = False, keep: bool = False) -> bytes:
        """Return the bytes on the wire.

        `head_only` leaves the body out, as the answer to HEAD must; `keep` does not announce that the
        connection closes.
        """
        connection = h11.Connection(h11.SERVER)
        reason = HTTPStatus(self.status).phrase
        head = connection.send(
            h11.Response(
                status_code=self.status, headers=self._header_lines(keep=keep), reason=reason.encode()
            )
        )
        return (head or b"") + (b"" if head_only else self.body)

    def _header_lines(self, *, keep: bool) -> list[tuple[str, str]]:
        # RFC 9110, 7.8: a sender of Upgrade must also list it in Connection.
        upgrades = any(name.lower() == "upgrade" for name, _ in self.headers)
        # RFC 9110, 8.6 and 15.4.5: a 304 has no content, and does not describe any.
        content = [("Content-Type", self.content_type), ("Content-Length", str(len(self.body)))]
        return [
            ("Date", formatdate(usegmt=True)),
            *(() if self.status == HTTPStatus.NOT_MODIFIED else content),
            *(() if keep else [("Connection", "upgrade, close" if upgrades else "close")]),
            *self.headers,
        ]


class HttpError(Exception):
    """Raised while a request is read or routed, to answer it with `response` at once."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> HttpError:
    """Return a `HttpError` with a JSON error body."""
    return HttpError(Response.error(status, code, detail, headers=tuple((headers or {}).items())))


async def half_close(stream: trio.abc.Stream) -> None:
    """Tell the peer that no more bytes follow, if the stream can do that (TLS cannot)."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()


async def linger(stream: trio.abc.Stream, *, seconds: float) -> None:
    """Half-close, then read and drop until the peer closes, so that it gets everything sent to it.

    A socket closed with unread bytes in its buffer answers the peer with a reset, which destroys what the
    peer has not read yet. Bounded by `seconds` and by 16 MiB; the caller closes the stream afterwards.
    """
    with trio.move_on_after(seconds):
        try:
            await half_close(stream)
            dropped = 0
            while dropped < _DRAIN_BYTES and (data := await stream.receive_some(_DRAIN_CHUNK)):
                dropped += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
