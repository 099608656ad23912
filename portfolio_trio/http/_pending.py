"""Connections that wait for their client, by address: silent ones are closed in favour of new ones."""

from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

_PATIENCE_SECONDS = 1.0


class Visit:
    """One accepted connection, from the accept on.

    ``with visit`` is around the work for a plain request, from waiting for it to the end of its answer; the
    block is cancelled if the connection is closed in favour of another.
    """

    __slots__ = ("_address", "_pending", "_scope", "evicted")

    def __init__(self, pending: "Pending", address: str | None) -> None:
        self.evicted = False
        """The connection is closed in favour of another."""
        self._pending = pending
        self._address = address
        # Only in the block: a WebSocket keeps its visit, but no scope.
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> Self:
        self._scope = trio.CancelScope()
        if self.evicted:
            self._scope.cancel()
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope, self._scope = self._scope, None
        return scope is not None and scope.__exit__(kind, error, traceback)

    @property
    def address(self) -> str | None:
        """The address it is counted by."""
        return self._address

    def asked(self) -> None:
        """The whole request has been read: from now on the connection is not closed in favour of others."""
        self._pending.forget(self)

    def answered(self) -> None:
        """The answer has been sent: the connection waits for its client again, to ask or to close."""
        if not self.evicted:
            self._pending.add(self)

    def evict(self) -> None:
        """Close the connection in favour of another."""
        self.evicted = True
        self._pending.forget(self)
        if self._scope is not None:
            self._scope.cancel()


class Pending:
    """The connections that wait for their client: to send its request, another one, or to close.

    Above ``per_address`` of one address, the oldest is closed in favour of the newest. So clients that
    connect and stay silent, or send a body byte by byte, cannot lock out others, least of all other
    addresses.

    Args:
        per_address: Connections of one address; None for no limit.
        address_of: Returns the address a connection is counted by.
    """

    def __init__(
        self,
        *,
        per_address: int | None = None,
        address_of: Callable[[trio.abc.Stream], str | None] = lambda _: None,
    ) -> None:
        self._per_address = per_address
        self._address_of = address_of
        self._since: dict[str | None, OrderedDict[Visit, float]] = {}

    def __len__(self) -> int:
        """The number of connections that wait for their client."""
        return sum(map(len, self._since.values()))

    def enter(self, stream: trio.abc.Stream) -> Visit:
        """Count a connection that has just been accepted; `Visit.asked` or `forget` ends that."""
        visit = Visit(self, self._address_of(stream))
        self.add(visit)
        return visit

    def add(self, visit: Visit) -> None:
        """Count a connection as the newest of its address."""
        same = self._since.setdefault(visit.address, OrderedDict())
        same[visit] = trio.current_time()
        if self._per_address is not None and len(same) > self._per_address:
            next(iter(same)).evict()

    def forget(self, visit: Visit) -> None:
        """Stop counting a connection; it need not be counted."""
        same = self._since.get(visit.address)
        if same is not None and same.pop(visit, None) is not None and not same:
            del self._since[visit.address]

    def make_room(self, stream: trio.abc.Stream) -> bool:
        """Close one connection in favour of a new one, if one should be; returns whether there was one.

        It is the oldest of the address with the most. It is closed if the newcomer's address has fewer, or if
        it has waited for a second: a real client has sent its request by then.
        """
        most = max(self._since.values(), key=len, default=None)
        if most is None:
            return False
        same = self._since.get(self._address_of(stream), ())
        oldest, since = next(iter(most.items()))
        if len(most) > len(same) + 1 or trio.current_time() - since >= _PATIENCE_SECONDS:
            oldest.evict()
            return True
        return False
