"""Accept loops that survive failing connections and a shortage of descriptors."""

import errno
import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from portfolio_trio.http._pending import Pending, Visit
from portfolio_trio.http._response import Response
from portfolio_trio.http._upgrade import send_response
from portfolio_trio.log_throttle import Seldom

logger = logging.getLogger(__name__)

Handler = Callable[[trio.abc.Stream, Visit], Awaitable[None]]

_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_PEER_GAVE_UP = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH})
# The last one is reported by Windows for a client that left before it was accepted.
_PEER_GAVE_UP |= {errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ECONNRESET}
_PAUSE_SECONDS = 0.1
_TURN_AWAY_AT_ONCE = 64
_TURN_AWAY_SECONDS = 1.0


class _Reception:
    """Counts the open connections and starts a task for each new one."""

    def __init__(
        self, handler: Handler, nursery: trio.Nursery, max_connections: int, pending: Pending
    ) -> None:
        self._handler = handler
        self._nursery = nursery
        self._max_connections = max_connections
        self._pending = pending
        self._open = 0
        self._turning_away = 0
        self.shortage = Seldom(logger, clock=trio.current_time)
        """Reports, once per pause at most, that accepting is not possible now."""

    def welcome(self, stream: trio.abc.Stream) -> None:
        if self._open < self._max_connections or self._pending.make_room(stream):
            self._open += 1
            self._nursery.start_soon(self._serve, stream, self._pending.enter(stream))
        else:
            self._turning_away += 1
            self._nursery.start_soon(self._turn_away, stream)

    async def _serve(self, stream: trio.abc.Stream, visit: Visit) -> None:
        try:
            await self._handler(stream, visit)
        except* Exception:
            logger.exception("A connection's handler failed.", extra={"event": "handler_failed"})
        finally:
            self._open -= 1
            visit.asked()
            await trio.aclose_forcefully(stream)

    async def _turn_away(self, stream: trio.abc.Stream) -> None:
        try:
            # A TLS client would need a handshake first, which is the work to be avoided.
            if self._turning_away <= _TURN_AWAY_AT_ONCE and not isinstance(stream, trio.SSLStream):
                full = Response.error(503, "overloaded", "The server is full; try again soon.", retry_after=1)
                await send_response(
                    stream, full, send_seconds=_TURN_AWAY_SECONDS, linger_seconds=_TURN_AWAY_SECONDS
                )
        except* Exception:
            # This nursery is shared by all connections.
            logger.exception("Turning a connection away failed.", extra={"event": "turn_away_failed"})
        finally:
            self._turning_away -= 1
            await trio.aclose_forcefully(stream)


async def serve_listeners(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    handler: Handler,
    *,
    handler_nursery: trio.Nursery,
    max_connections: int = 10_000,
    pending: Pending | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections on all listeners until cancelled, then close the listeners.

    Each connection runs `handler(stream, visit)` in a task of `handler_nursery`, so cancelling this function
    stops accepting and lets open connections continue. The handler uses its visit to report when the request
    has arrived and when it is answered; before and after that the connection is one of `pending`, which may
    be closed in favour of others, so until a WebSocket is open the handler works in the block of its visit.
    Above `max_connections` a new connection replaces such a one, or is answered 503 and closed. trio sets
    TCP_NODELAY on accepted sockets. A handler's exception is logged and ends only its connection.

    Raises OSError if a listener itself fails.
    """
    reception = _Reception(
        handler, handler_nursery, max_connections, Pending() if pending is None else pending
    )
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(_accept_all, listener, reception)
        task_status.started()


async def _accept_all(listener: trio.abc.Listener[trio.abc.Stream], reception: _Reception) -> None:
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                await _recover(error, reception.shortage)
            else:
                reception.welcome(stream)


async def _recover(error: OSError, shortage: Seldom) -> None:
    """Wait until accepting may work again. Raises `error` if it never will."""
    if error.errno in _PEER_GAVE_UP:
        await trio.lowlevel.checkpoint()
    elif error.errno in _NO_RESOURCES:
        # The listener stays readable meanwhile; without a pause this loop would spin.
        shortage.warning(
            "No descriptors or memory for new connections; trying again. See the process's limits.",
            extra={"event": "no_resources", "error": str(error)},
        )
        await trio.sleep(_PAUSE_SECONDS)
    else:
        raise error
