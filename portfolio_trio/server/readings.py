"""Readings of a server's state, for its metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portfolio_trio.telemetry import Readings

if TYPE_CHECKING:
    from portfolio_trio.market.updater import MarketUpdater
    from portfolio_trio.peers.membership import Membership
    from portfolio_trio.redis import RedisClient
    from portfolio_trio.session.services import Services


def take_readings(
    services: Services, updater: MarketUpdater, membership: Membership, redis: RedisClient, sockets: int
) -> Readings:
    """Take all readings, without waiting for anything."""
    book = services.book
    return Readings(
        connections=sockets,
        redis_up=redis.ready,
        redis_reconnects=redis.statistics().reconnects,
        # The tick_id is a time in milliseconds.
        tick_at=book.current.tick_id / 1000,
        last_bar_at=_start_of(book.last_closes.newest),
        stale=book.current.stale,
        ticks_skipped=updater.skipped,
        leads=membership.leads,
    )


def _start_of(day: str | None) -> float | None:
    """The first second of an ISO date in UTC; None for a plug-in's own form of date."""
    try:
        return None if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
