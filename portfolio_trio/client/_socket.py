"""One WebSocket to a server; the only module of the client that touches trio-websocket.

trio-websocket reads in a separate task, which is started in the nursery of the connection. Whatever that task
raises ends here: its user gets `Disconnected`, never an exception group.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError as WebSocketProtocolError

from portfolio_trio.client._errors import ABNORMAL, Disconnected, Ending
from portfolio_trio.protocol.closes import worth_reconnecting
from portfolio_trio.protocol.messages import SUBPROTOCOL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log: Final = logging.getLogger(__name__)

_READ_BYTES: Final = 65_536
_QUEUED_MESSAGES: Final = 16
_PORTS: Final = {"ws": 80, "wss": 443}
# Statuses after which a later attempt may work: the server or its proxy is busy or down.
_PASSING_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a session.

    Attributes:
        secure: Whether it is reached over TLS.
        host: Name or address.
        port: TCP port.
        resource: Path and query of the upgrade.
    """

    secure: bool
    host: str
    port: int
    resource: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Read ``ws://host:port/ws/session`` or ``wss://...``; ValueError if it is something else."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or not parts.path.startswith("/ws/"):
            raise ValueError(f"{url!r} is not like ws://127.0.0.1:8000/ws/my-session")
        resource = f"{parts.path}?{parts.query}" if parts.query else parts.path
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        return cls(parts.scheme == "wss", parts.hostname, port, resource)

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in _PORTS.values() else f"{host}:{self.port}"

    async def open(self, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
        """Open a TCP connection, with TLS if the URL says so.

        Raises:
            OSError: The server cannot be reached.
            trio.BrokenResourceError: The TLS handshake failed.
        """
        if not self.secure:
            return await trio.open_tcp_stream(self.host, self.port)
        context = ssl_context or ssl.create_default_context()
        stream = await trio.open_ssl_over_tcp_stream(
            self.host, self.port, https_compatible=True, ssl_context=context
        )
        try:
            # Here and not at the first byte, so that its failure can be distinguished from others.
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


class Socket:
    """An open WebSocket that speaks ``portfolio.v1``: text in, text out.

    Args:
        stream: The stream it uses; the caller that opened it closes it.
        max_message_chars: Longer messages of the server end the connection with 1009.
    """

    def __init__(self, stream: trio.abc.Stream, *, max_message_chars: int) -> None:
        self._stream = stream
        self._max_message_chars = max_message_chars
        self._opening = trio.CancelScope()
        self._over = trio.Event()
        self._refusal = Ending("the server closed the connection during the handshake")
        self._library: WebSocketConnection

    async def open(self, nursery: trio.Nursery, address: Address, headers: list[tuple[bytes, bytes]]) -> None:
        """Ask for the upgrade and wait for the answer; its reader runs in ``nursery``.

        Raises:
            Disconnected: The server refused, or went away.
        """
        guarded = cast("trio.Nursery", _GuardedNursery(nursery, self._read))
        with self._opening:
            self._library = await wrap_client_stream(
                guarded,
                cast("trio.SocketStream", self._stream),  # typed for sockets; any stream will do
                address.authority,
                address.resource,
                subprotocols=[SUBPROTOCOL],
                extra_headers=headers,
                message_queue_size=_QUEUED_MESSAGES,
                max_message_size=self._max_message_chars,
                receive_buffer_size=_READ_BYTES,
            )
        if self._opening.cancelled_caught:
            raise Disconnected(self._refusal)
        if self._library.subprotocol != SUBPROTOCOL:
            raise Disconnected(Ending(f"the server does not speak {SUBPROTOCOL}", retryable=False))

    async def receive(self) -> str | bytes:
        """The server's next message.

        Raises:
            Disconnected: The connection is over.
        """
        try:
            return await self._library.get_message()
        except ConnectionClosed:
            # The reader knows the reason, and is ending.
            await self._over.wait()
            raise self._disconnected() from None

    async def send(self, text: str) -> None:
        """Send one message; if it is cancelled midway it leaves a partial frame, so end the connection then.

        Raises:
            Disconnected: The connection is over.
        """
        try:
            await self._library.send_message(text)
        except (ConnectionClosed, WebSocketProtocolError):
            raise self._disconnected() from None

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and wait for the server's; set a deadline."""
        try:
            await self._library.aclose(code, reason or None)
        except WebSocketProtocolError:
            # The server's close frame was faster.
            await trio.aclose_forcefully(self._stream)

    async def abort(self) -> None:
        """End the connection immediately; a waiting `receive` raises."""
        await trio.aclose_forcefully(self._stream)

    def _disconnected(self) -> Disconnected:
        closed = self._library.closed
        if closed is None:
            return Disconnected(Ending("the connection was lost", ABNORMAL))
        code = int(closed.code)
        said = f": {closed.reason}" if closed.reason else ""
        what = "the connection was lost" if code == ABNORMAL else f"the server closed with {code}{said}"
        return Disconnected(Ending(what, code, retryable=worth_reconnecting(code)))

    async def _read(self, reader: Callable[[], Awaitable[object]]) -> None:
        """Run the library's reader; its exceptions do not get out."""
        try:
            await reader()
        except ConnectionRejected as rejected:
            self._refusal = _refusal(rejected)
        except (ConnectionClosed, WebSocketProtocolError) as error:
            log.debug("the server violated the WebSocket protocol: %s", error)
        except Exception:
            log.exception("reading a WebSocket failed")
        finally:
            self._over.set()
            self._opening.cancel()


class _GuardedNursery:
    """Replaces the nursery in which trio-websocket starts its reader, to start it inside a guard."""

    def __init__(
        self, nursery: trio.Nursery, guard: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]
    ) -> None:
        self._nursery = nursery
        self._guard = guard

    def start_soon(self, reader: Callable[[], Awaitable[object]]) -> None:
        self._nursery.start_soon(self._guard, reader)


def _refusal(rejected: ConnectionRejected) -> Ending:
    status = rejected.status_code
    body = (rejected.body or b"")[:200].decode("utf-8", "replace").strip()
    headers = {name.lower(): value for name, value in rejected.headers}
    wait = headers.get(b"retry-after", b"").strip()
    return Ending(
        f"the server refused with HTTP {status}{': ' if body else ''}{body}",
        status=status,
        retryable=status in _PASSING_STATUS,
        retry_after=float(wait) if wait.isdigit() else 0.0,
    )
