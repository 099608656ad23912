"""Statistics of a client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a node's connection."""

    CONNECTING = "connecting"
    READY = "ready"
    WAITING = "waiting"  # for the back-off before the next attempt
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """One node's connection.

    Attributes:
        address: ``host:port``, a socket path or ``embedded``.
        state: The current state of the connection.
        pending: Commands without a reply so far.
        unsent_bytes: Bytes gathered for the next send.
        sent: Commands accepted since the client was opened.
        received: Replies received since the client was opened.
        connects: Connections that became ready; reconnects are one fewer.
        last_error: Why the last connection or attempt ended; empty if none has.
    """

    address: str
    state: State
    pending: int = 0
    unsent_bytes: int = 0
    sent: int = 0
    received: int = 0
    connects: int = 0
    last_error: str = ""

    @property
    def reconnects(self) -> int:
        """Connections that replaced a lost one."""
        return max(self.connects - 1, 0)


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """All nodes of a client; one outside a cluster."""

    nodes: tuple[NodeStatistics, ...]

    @property
    def connections(self) -> int:
        """Connections ready now."""
        return sum(node.state is State.READY for node in self.nodes)

    @property
    def pending(self) -> int:
        """Commands without a reply so far."""
        return sum(node.pending for node in self.nodes)

    @property
    def sent(self) -> int:
        """Commands accepted since the client was opened."""
        return sum(node.sent for node in self.nodes)

    @property
    def received(self) -> int:
        """Replies received since the client was opened."""
        return sum(node.received for node in self.nodes)

    @property
    def reconnects(self) -> int:
        """Connections that replaced a lost one."""
        return sum(node.reconnects for node in self.nodes)

    @property
    def state(self) -> State:
        """The state of the node that is furthest from ready."""
        order = (State.CLOSED, State.WAITING, State.CONNECTING)
        return next((s for s in order if any(node.state is s for node in self.nodes)), State.READY)
