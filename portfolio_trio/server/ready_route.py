"""``GET /ready``: whether the server is ready for new clients, and if not, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portfolio_trio.http import Response
from portfolio_trio.server.startup import not_fresh
from portfolio_trio.server.write_probe import WriteProbe

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.http import Request
    from portfolio_trio.redis import RedisClient
    from portfolio_trio.session.services import Services

# A tick may be this many intervals plus this many seconds late before the server is not ready.
LATE_TICKS: Final = 3
LATE_SECONDS: Final = 10.0


class ReadyRoute:
    """Answers 200 while the store accepts writes and prices are fresh, else 503; the body has the reasons.

    Args:
        services: What the server's sessions share.
        redis: The store's connection.
        draining: Whether the server is draining.
    """

    def __init__(self, services: Services, redis: RedisClient, draining: Callable[[], bool]) -> None:
        self._services = services
        self._redis = redis
        self._writes = WriteProbe(redis)
        self._draining = draining

    async def __call__(self, _request: Request) -> Response:
        """Answer."""
        reasons = self._of_the_market()
        if not self._redis.ready:
            reasons.append("the store cannot be reached")
        refusal = await self._writes.reason()
        if refusal is not None:
            reasons.append(refusal)
        if self._draining():
            reasons.append("the server is draining")
        book = self._services.book
        return Response.json(
            {
                "status": "not ready" if reasons else "ready",
                "reasons": reasons,
                "store": "reachable" if self._redis.ready else "away",
                "tick_id": book.current.tick_id,
                "as_of": book.current.as_of,
                "last_bar": book.last_closes.newest,
                "stale": book.current.stale,
                "draining": self._draining(),
            },
            status=503 if reasons else 200,
        )

    def _of_the_market(self) -> list[str]:
        settings, book = self._services.settings, self._services.book
        reasons = [*not_fresh(book, settings.default_holdings)]
        if book.current.stale and not reasons:
            reasons.append("the prices are stale")
        # The tick_id is its time, or later if the clock went back.
        age = self._services.now() - book.current.tick_id / 1000
        if age > LATE_TICKS * settings.market_update_interval_seconds + LATE_SECONDS:
            reasons.append("the market is no longer updated: ticks are missing")
        return reasons
