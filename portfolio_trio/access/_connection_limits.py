"""How many sockets may be open at once."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from portfolio_trio.access._refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUBNET_BITS: Final = 64


class Limit(StrEnum):
    """Which limit was reached."""

    SESSION = "session"
    ADDRESS = "address"
    SERVER = "server"


class _Answer(NamedTuple):
    status: int
    code: str
    detail: str
    retry_after: float


_ANSWERS: Final[Mapping[Limit, _Answer]] = {
    Limit.SESSION: _Answer(429, "session_full", "This session has too many sockets; close one first.", 1.0),
    Limit.ADDRESS: _Answer(429, "address_full", "Your address has too many sockets; close one first.", 5.0),
    Limit.SERVER: _Answer(503, "overloaded", "The server is full; try again soon.", 5.0),
}


class LimitReached(Refused):
    """There is no slot left (HTTP 429 or 503, with Retry-After).

    Attributes:
        limit: The limit that was reached.
    """

    def __init__(self, limit: Limit) -> None:
        status, code, detail, retry_after = _ANSWERS[limit]
        super().__init__(status, code, detail, retry_after=retry_after)
        self.limit = limit


class ConnectionLimits:
    """Counts open sockets by session, by address and in total; it remembers nothing about closed ones.

    Args:
        per_session: Slots of one session; None for no limit, as for the others.
        per_address: Slots of one address, see ``address_group``.
        total: Slots in total.
    """

    def __init__(
        self, *, per_session: int | None = None, per_address: int | None = None, total: int | None = None
    ) -> None:
        self._limits = {Limit.SESSION: per_session, Limit.ADDRESS: per_address, Limit.SERVER: total}
        self._counts: dict[tuple[Limit, str], int] = {}

    def enter(self, address: str | None) -> Slots:
        """Take a slot of the server and of the address.

        Raises:
            LimitReached: A limit is reached; no slot was taken.
        """
        slots = Slots(self._counts, self._limits)
        slots.take(Limit.SERVER)
        if (group := address_group(address)) is not None:
            try:
                slots.take(Limit.ADDRESS, group)
            except LimitReached:
                slots.leave()
                raise
        return slots

    def count(self, limit: Limit, key: str = "") -> int:
        """How many slots are taken of a session (its id), of an address (its group), or in total."""
        return self._counts.get((limit, key), 0)

    def __len__(self) -> int:
        """How many entries are remembered; 0 when no socket is open."""
        return len(self._counts)


class Slots:
    """The slots of one client, made by `ConnectionLimits.enter`; also a context manager that gives them back.

    It lives as long as its socket, so to save memory it is neither a generator nor a stack of callbacks.
    """

    __slots__ = ("_counts", "_limits", "_taken")

    def __init__(self, counts: dict[tuple[Limit, str], int], limits: Mapping[Limit, int | None]) -> None:
        self._counts = counts
        self._limits = limits
        self._taken: tuple[tuple[Limit, str], ...] = ()

    def take(self, limit: Limit, key: str = "") -> None:
        """Take one more slot.

        Raises:
            LimitReached: The limit is reached; the slots taken before stay taken.
        """
        most, taken = self._limits[limit], self._counts.get((limit, key), 0)
        if most is not None and taken >= most:
            raise LimitReached(limit)
        self._counts[limit, key] = taken + 1
        self._taken += ((limit, key),)

    def join(self, session_id: str) -> None:
        """Take a slot of a session as well.

        Raises:
            LimitReached: The limit is reached; the slots taken before stay taken.
        """
        self.take(Limit.SESSION, session_id)

    def leave(self) -> None:
        """Give all slots back; calling it again has no effect."""
        for slot in self._taken:
            self._counts[slot] -= 1
            if not self._counts[slot]:
                del self._counts[slot]
        self._taken = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def address_group(address: str | None) -> str | None:
    """Return what an address is counted as if loopback is exempt; None if it is not counted.

    As `counted_as`, but loopback is not counted: it is this machine, usually a proxy with many clients, which
    has its own limits.
    """
    return None if _is_loopback(address) else counted_as(address)


def counted_as(address: str | None) -> str | None:
    """Return what an address is counted as; None if there is none (no TCP).

    An IPv4 address counts by itself, also in its IPv6 form; an IPv6 address counts as its /64, the network
    that a provider gives to one customer.
    """
    parsed = _parse(address)
    if parsed is None:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.is_loopback:
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed), _SUBNET_BITS), strict=False))


def _is_loopback(address: str | None) -> bool:
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _parse(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if address is None:
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return parsed if mapped is None else mapped
