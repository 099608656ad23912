"""A WebSocket upgrade that has not been answered yet, and the check of its handshake."""

import base64
import binascii
import re
from contextlib import nullcontext
from dataclasses import dataclass, field

import trio
from wsproto.utilities import generate_accept_token

from portfolio_trio.escaping import echo
from portfolio_trio.http._head import Head
from portfolio_trio.http._pending import Visit
from portfolio_trio.http._response import Response, linger, refuse

SESSION_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HANDSHAKE_HEADERS = frozenset({b"host", b"connection", b"upgrade", b"origin", b"authorization"})
_KEY_BYTES = 16


@dataclass(slots=True, kw_only=True)
class Upgrade:
    """A client that requests a WebSocket; its handshake is checked but not yet answered.

    Answer it once: `reject`, or enter `accept_websocket(upgrade)`. It keeps only what a handler needs to
    decide, not the whole head, because it lives as long as its connection.
    """

    session_id: str
    subprotocols: tuple[str, ...] = ()
    origin: str | None = None
    host: str = ""
    token: str | None = field(default=None, repr=False)
    """The token in `Authorization: Bearer`, else the query's `token`."""
    peer: str | None = None
    """The client's address without port; None if the stream has none."""
    stream: trio.abc.Stream = field(repr=False)
    key: str = field(repr=False)
    behind: bytes = field(default=b"", repr=False)
    linger_seconds: float = 2.0
    answered: bool = False
    visit: Visit | None = field(default=None, repr=False)

    async def reject(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        send_seconds: float = 10.0,
    ) -> None:
        """Answer with an HTTP error instead of a WebSocket: 401, 403, 429, 503, ...

        Bounded by `send_seconds`; it is not an error if the client leaves meanwhile.
        """
        visit = self.visit
        self.take()
        response = Response.error(status, code, detail, retry_after=retry_after, headers=headers)
        with visit or nullcontext():
            await send_response(
                self.stream,
                response,
                send_seconds=send_seconds,
                linger_seconds=self.linger_seconds,
                visit=visit,
            )

    def acceptance(self, subprotocol: str | None) -> bytes:
        """Return the answer that opens the WebSocket (RFC 6455, section 4.2.2).

        Raises ValueError for a subprotocol that the client did not offer.
        """
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {generate_accept_token(self.key.encode()).decode()}",
        ]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ValueError(f"The client did not offer the subprotocol {subprotocol!r}.")
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def take(self) -> bytes:
        """Mark the upgrade as answered and return the bytes after its head; RuntimeError the second time.

        What only the answer needs is forgotten: an upgrade lives as long as its WebSocket.
        """
        if self.answered:
            raise RuntimeError("This upgrade has already been answered: reject or accept it only once.")
        self.answered = True
        behind, self.behind = self.behind, b""
        self.key, self.visit = "", None
        return behind


async def send_response(
    stream: trio.abc.Stream,
    response: Response,
    *,
    send_seconds: float,
    linger_seconds: float,
    head_only: bool = False,
    visit: Visit | None = None,
) -> None:
    """Send an answer, at most `send_seconds`, and end the connection so that it arrives."""
    with trio.move_on_after(send_seconds) as scope:
        try:
            await stream.send_all(response.encode(head_only=head_only))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
    if visit is not None:
        visit.answered()
    if not scope.cancelled_caught:
        await linger(stream, seconds=linger_seconds)


def read_upgrade(head: Head, session_id: str, stream: trio.abc.Stream) -> Upgrade:
    """Check the opening handshake (RFC 6455, section 4.2.1) and return the upgrade.

    Its headers must be ASCII, so that later code need not handle anything else. Raises `HttpError` with 400,
    or 426 for another version of the protocol.
    """
    for name, value in head.headers:
        if (name in _HANDSHAKE_HEADERS or name.startswith(b"sec-websocket-")) and not value.isascii():
            raise refuse(400, "bad_handshake", f"The header {echo(name.decode('latin-1'))} must be ASCII.")
    if head.header("sec-websocket-version") != "13":
        raise _wrong_version()
    if head.header("transfer-encoding") is not None or head.header("content-length") not in {None, "0"}:
        raise refuse(400, "bad_handshake", "A WebSocket handshake has no body.")
    subprotocols = head.tokens("sec-websocket-protocol")
    if not all(map(_TOKEN.fullmatch, subprotocols)):
        raise refuse(400, "bad_handshake", "Sec-WebSocket-Protocol must list tokens.")
    return Upgrade(
        session_id=session_id,
        subprotocols=subprotocols,
        origin=head.header("origin"),
        host=head.header("host") or "",
        token=token_of(head),
        peer=peer_of(stream),
        stream=stream,
        key=_key(head),
        behind=head.behind,
    )


def upgrade_required() -> Exception:
    """Return the refusal of a plain request to the path of a WebSocket."""
    return refuse(426, "upgrade_required", "Speak WebSocket here.", {"Upgrade": "websocket"})


def _wrong_version() -> Exception:
    headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    return refuse(426, "upgrade_required", "Speak version 13 of the WebSocket protocol.", headers)


def _key(head: Head) -> str:
    key = head.header("sec-websocket-key") or ""
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        nonce = b""
    if len(nonce) != _KEY_BYTES:
        raise refuse(400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64.")
    return key


def token_of(head: Head) -> str | None:
    """Return the token in the Authorization header, else in the query."""
    return _bearer(head) or head.query.get("token")


def _bearer(head: Head) -> str | None:
    scheme, _, credentials = (head.header("authorization") or "").partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None


def peer_of(stream: trio.abc.Stream) -> str | None:
    """Return the peer's address without port, or None if the stream is not a TCP connection."""
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        name: object = stream.socket.getpeername()
    except OSError:
        return None
    return str(name[0]) if isinstance(name, tuple) else None
