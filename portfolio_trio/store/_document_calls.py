"""Running one script on one session document: the part that all calls of the store share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portfolio_trio.store._calls import Timed, translated
from portfolio_trio.store._keys import key_of
from portfolio_trio.store.errors import FellBack
from portfolio_trio.store.models import NOTHING, Known
from portfolio_trio.store.scripts import script
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient
    from portfolio_trio.telemetry import Telemetry

# The statuses that mean a write came too late, or was meant for a document that no longer exists.
FENCES: Final = frozenset(
    {b"superseded", b"not_running", b"portfolio_changed", b"out_of_step", b"version", b"behind"}
)


class DocumentCalls:
    """Runs scripts on session documents, within the limits of a document."""

    def __init__(
        self,
        client: RedisClient,
        *,
        ttl_seconds: int = 86_400,
        max_results: int = 1_000,
        max_results_bytes: int = 1_048_576,
        max_holdings: int = 500,
        worker: str = "",
        telemetry: Telemetry = OFF,
    ) -> None:
        """Make a store over ``client``, which should have been opened with `all_scripts`.

        Args:
            client: The way to Redis.
            ttl_seconds: Seconds a session lives after its client's last activity; 0 means it never expires.
            max_results: How many results a document keeps; the newest stay.
            max_results_bytes: Limit of the total length of their texts; whichever limit is reached first
                applies.
            max_holdings: Maximum number of lines of a portfolio.
            worker: The name under which this process is known to the other processes on this Redis.
            telemetry: Counts calls, and writes that a fence refused.
        """
        self._client = client
        self._ttl = ttl_seconds
        self._max_results = max_results
        self._max_results_bytes = max_results_bytes
        self._max_holdings = max_holdings
        self.worker = worker
        self._telemetry = telemetry

    async def _run(
        self,
        name: str,
        session_id: str,
        *args: str | bytes | float,
        known: Known = NOTHING,
        idempotent: bool = False,
    ) -> list[bytes]:
        with translated(), Timed(self._telemetry, name):
            reply: list[bytes] = await self._client.run_script(
                script(name), [key_of(session_id)], args, idempotent=idempotent
            )
        if reply[0] in FENCES:
            self._telemetry.write_refused(name, reply[0].decode())
        if reply[0] == b"behind":
            raise FellBack(session_id, known)
        return reply
