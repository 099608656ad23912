"""trio-websocket from the first frame on; the only module that knows its private parts.

Its public way in, `wrap_server_stream`, wants to read and answer the opening handshake itself. The front door
has done that: a second reading would cost CPU for each socket, and the library would keep the head, the
request and an HTTP parser for as long as the socket lives, which is 4 KB of it. So it is given a wsproto
connection that is open already, and its reader is run from here. A test holds these parts against the
installed version.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import trio
from trio_websocket import WebSocketConnection
from wsproto.connection import Connection, ConnectionType

if TYPE_CHECKING:
    from wsproto import WSConnection


def open_library(
    stream: trio.abc.Stream, *, behind: bytes, queue_messages: int, max_characters: int, read_bytes: int
) -> WebSocketConnection:
    """Return the library's side of a WebSocket whose handshake has been answered.

    Args:
        stream: Where frames come from and the library's own go to.
        behind: What the client has sent behind its head.
        queue_messages: How many messages wait to be received before the stream is left unread.
        max_characters: Longer messages end the WebSocket; bytes for binary ones.
        read_bytes: How much is read at a time.
    """
    frames = Connection(ConnectionType.SERVER, trailing_data=behind)
    library = WebSocketConnection(
        stream,
        # It has all that is used of a WSConnection, which only adds the handshake.
        cast("WSConnection", frames),
        message_queue_size=queue_messages,
        max_message_size=max_characters,
        receive_buffer_size=read_bytes,
    )
    _forget_the_handshake(library)
    return library


def _forget_the_handshake(library: WebSocketConnection) -> None:
    """Free what nobody waits for once the handshake is over: a future and two events, which is 1 KB."""
    library._connection_proposal = None  # noqa: SLF001  (as the library itself does then)
    ended = library._close_handshake  # noqa: SLF001  (it sets all three of these, and waits for this one)
    library._open_handshake = library._for_testing_peer_closed_connection = ended  # noqa: SLF001  (as above)


def reader_of(library: WebSocketConnection) -> Callable[[], Awaitable[None]]:
    """Return the task that reads frames and answers pings and closes, until the WebSocket is over."""
    return library._reader_task  # noqa: SLF001  (started by `wrap_server_stream` only)


def fragments_of(library: WebSocketConnection) -> int:
    """Return how many fragments of an unfinished message have come."""
    return len(library._message_parts)  # noqa: SLF001  (no public way to see them)
