"""The services that all sessions of one server share; passed down, never global."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.access import KeepAlive
from portfolio_trio.hub.error_messages import explain
from portfolio_trio.log_throttle import Seldom
from portfolio_trio.metrics import ReturnsCache
from portfolio_trio.right_of_way import RightOfWay
from portfolio_trio.session.snapshot import Snapshots
from portfolio_trio.session.turns import Turns
from portfolio_trio.store import StoreError
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.hub import Hub
    from portfolio_trio.market import MarketFullError, PriceBook
    from portfolio_trio.metrics import AnalysisError, MetricError, MetricRegistry
    from portfolio_trio.peers.subscriber import PeerSubscriber
    from portfolio_trio.protocol.messages import Error
    from portfolio_trio.settings import Settings
    from portfolio_trio.store import Portfolio, PortfolioStore
    from portfolio_trio.telemetry import Telemetry


log: Final = logging.getLogger(__name__)

HEAVY_THREADS: Final = 16
# Two are computed while Redis records the third; each more delays other requests.
FOLLOWERS_AT_ONCE: Final = 3
FAILURE_LOG_SECONDS: Final = 60.0


class Services:
    """The layers below a session.

    Attributes:
        settings: Every setting.
        store: The documents.
        book: Live prices and closed bars.
        metrics: The metrics of a run, in the order in which results that are ready together are sent.
        hub: The other sockets of each session.
        peer_subscriber: The other workers.
        faults: Contained faults of this program, counted by place.
        telemetry: Counts events.
        now: Seconds since the epoch; virtual in tests.
        heavy: Limits the worker threads of heavy metrics.
        followers: Limits the runs that start by themselves at a tick, until they have their snapshot.
        right_of_way: Lets requests pass before work that starts by itself.
        snapshots: Takes the snapshots of runs.
        immediate: All metrics, if none of them ever waits; else None.
        keep_alive: Pings the sockets.
        left_behind: Logs what sessions could not clear in the store when they ended; a drain without a store
            has one case per socket.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: PortfolioStore,
        book: PriceBook,
        metrics: MetricRegistry,
        hub: Hub,
        peer_subscriber: PeerSubscriber,
        faults: Faults,
        telemetry: Telemetry,
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.settings = settings
        self.store = store
        self.book = book
        self.metrics = metrics
        self.hub = hub
        self.peer_subscriber = peer_subscriber
        self.faults = faults
        self.telemetry = telemetry
        self.now = now
        self._rng = rng
        # Separate from Trio's own limit, so that threads of abandoned metrics do not block file access and
        # name look-ups.
        self.heavy = trio.CapacityLimiter(HEAVY_THREADS)
        self.followers = Turns(FOLLOWERS_AT_ONCE)
        self.right_of_way = RightOfWay()
        self.keep_alive = KeepAlive(
            interval=settings.ping_interval_seconds, timeout=settings.ping_timeout_seconds, faults=faults
        )
        self.left_behind = Seldom(log, clock=trio.current_time)
        self._failure_log = Seldom(log, seconds=FAILURE_LOG_SECONDS, clock=trio.current_time)
        self._metric_log = Seldom(log, clock=trio.current_time)
        self._returns = ReturnsCache(book.bars, cash=book.cash)
        self.snapshots = Snapshots(book, lambda: self.returns)
        waits = settings.metric_delay_seconds is not None or any(each.heavy for each in metrics.values())
        self.immediate = None if waits else tuple(metrics.values())
        # A random number for each run would cost a system call.
        self._token_prefix = secrets.token_hex(8)
        self._token_numbers = count()

    @property
    def returns(self) -> ReturnsCache:
        """The weighted returns of the newest bars, computed once for all sessions."""
        if self._returns.bars is not self.book.bars:
            self._returns = ReturnsCache(self.book.bars, cash=self.book.cash)
        return self._returns

    async def open_session(
        self,
        session_id: str,
        *,
        holdings: Mapping[str, float] | None = None,
        attach: bool = False,
        address: str | None = None,
    ) -> Portfolio:
        """The session's portfolio; a new one holds ``holdings``, or the default, at the newest tick.

        A default line without a price is valued at its last known one: the client did not request it, and can
        sell or replace it only once the session exists.

        Args:
            session_id: The session.
            holdings: The holdings of a new session.
            attach: Record in the document that this worker has sockets of the session.
            address: What the client's address counts as; None if it does not count.

        Raises:
            StoreError: The store refused or could not be reached.
            MarketFullError: Too many of the holdings are new to the market.
        """
        return await self.store.open_session(
            session_id,
            holdings=self.settings.default_holdings if holdings is None else holdings,
            tick=self.book.current,
            at=rfc3339(self.now()),
            price_lookup=(
                self.book.values_for
                if holdings is None
                else partial(self.book.prices_for, session_id=session_id, address=address)
            ),
            attach=attach,
        )

    def explain(
        self,
        failure: AnalysisError | MarketFullError | StoreError,
        *,
        request_id: str | int | None = None,
        ticker: str | None = None,
    ) -> Error:
        """The ``error`` message for a failed request; internal details go only to the log."""
        if isinstance(failure, StoreError) and failure.for_clients is not None:
            self._failure_log.warning(
                "a request failed; the client was not told why",
                extra={"event": "request_failed", "kind": type(failure).__name__, "error": str(failure)},
                alike=type(failure).__name__,
            )
        return explain(failure, request_id=request_id, ticker=ticker)

    def report_metric(self, metric: str, error: MetricError, *, session_id: str, run_id: int) -> None:
        """Log a fault in a metric, possibly a plug-in's; every run of every session may reach this."""
        if error.__cause__ is not None:
            self._metric_log.error(
                "a metric failed because of a bug in its code",
                exc_info=error.__cause__,
                extra={"event": "metric_failed", "metric": metric, "session": session_id, "run_id": run_id},
                alike=metric,
            )

    def goodbye(self) -> str:
        """The reason of a close with 1001, with a random time to return, so that not all return at once."""
        return f"the server is going away; retry_after={self._rng.uniform(0.5, 3.0):.1f}"

    def draw_token(self) -> str:
        """Identifies the start of one run, in case its reply is lost; no two of any workers are the same."""
        return f"{self._token_prefix}{next(self._token_numbers):x}"

    def draw_delay(self) -> float:
        """The artificial delay of a metric in seconds; usually 0."""
        bounds = self.settings.metric_delay_seconds
        return 0.0 if bounds is None else self._rng.uniform(bounds.shortest, bounds.longest)
