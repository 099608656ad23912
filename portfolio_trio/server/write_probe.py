"""Whether the store accepts writes: checked for readiness, at most once a second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.store import StoreError, StoreFull, StoreReadOnly, check_writes

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient

KEPT_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 1.0


class WriteProbe:
    """Tries a write and remembers the result for a second."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._tried_at = -math.inf
        self._reason: str | None = None

    async def reason(self) -> str | None:
        """Why writes are not accepted now; None if they are, or if the store is down."""
        if trio.current_time() - self._tried_at >= KEPT_SECONDS:
            # Set first: requests in the meantime get the previous answer.
            self._tried_at = trio.current_time()
            self._reason = await self._try()
        return self._reason

    async def _try(self) -> str | None:
        if not self._redis.ready:
            return None
        with trio.move_on_after(PATIENCE_SECONDS):
            try:
                await check_writes(self._redis)
            except StoreFull:
                return "the store is full"
            except StoreReadOnly:
                return "the store refuses writes"
            except StoreError:
                # The connection was just lost: `ready` will say so next time.
                return "the store does not answer"
            return None
        return "the store does not answer"
