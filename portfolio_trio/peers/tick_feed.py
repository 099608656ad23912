"""The effect of a market tick on the sockets: stale runs start again, subscribers see the new value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.hub.state import line_values, portfolio_message
from portfolio_trio.protocol.messages import PortfolioUpdate
from portfolio_trio.store import SessionMissing, StoreError, WrongType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.faults import Faults
    from portfolio_trio.hub.hub import Hub
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.market import PriceBook, Tick
    from portfolio_trio.right_of_way import RightOfWay
    from portfolio_trio.store import PortfolioStore

# Concurrent reads. What has to be done with replies that arrive together, a seventh of a millisecond each, is
# done in one pass of the scheduler, for which all clients wait.
READS_AT_ONCE: Final = 2

# Sessions after which other tasks run: a tenth of a millisecond.
SLICE: Final = 16


class Caretaker(Protocol):
    """Maintains the documents."""

    def sweep(self) -> None:
        """Try again to clear runs that no task runs."""

    def reread(self, group: SessionGroup) -> None:
        """The session has a document other than the known one: read it."""

    def find_out(self, group: SessionGroup, run_id: int) -> None:
        """A run that is open here is over in the document: show how it ended, if that is not reported."""


class TickFeed:
    """Informs the sockets of a process of each tick.

    Args:
        hub: The sockets.
        store: The documents, which have the authoritative value.
        book: The prices behind it.
        faults: Contains errors of one session.
        caretaker: Does the periodic maintenance.
        right_of_way: Lets requests pass first.
    """

    def __init__(
        self,
        hub: Hub,
        store: PortfolioStore,
        book: PriceBook,
        faults: Faults,
        caretaker: Caretaker,
        *,
        right_of_way: RightOfWay,
    ) -> None:
        self._hub = hub
        self._caretaker = caretaker
        self._store = store
        self._book = book
        self._faults = faults
        self._right_of_way = right_of_way
        self._swept = 0

    async def ticked(self, tick: Tick) -> None:
        """Restart every run whose portfolio the tick moves by more than the tolerance."""
        for place, group in enumerate(self._hub.groups, 1):
            # An error of one session must not stop the tick, for which all the others wait.
            with self._faults.contained("a tick", instead=group.fail):
                group.runs.reprice(tick.prices)
            if place % SLICE == 0:
                await trio.lowlevel.checkpoint()
                await self._right_of_way.give_way()

    async def swept(self, tick: Tick) -> None:
        """Send the new value to every session that has a subscriber, once for each tick.

        Raises:
            StoreError: The store could not be reached.
        """
        if tick.tick_id <= self._swept:
            return
        self._swept = tick.tick_id
        self._caretaker.sweep()
        await self._update_all(self._hub.groups, tick)

    async def _update_all(self, groups: Sequence[SessionGroup], tick: Tick) -> None:
        left = (group for group in groups if group.has_subscribers)
        failures: list[StoreError] = []

        async def work() -> None:
            for group in left:
                await self._right_of_way.give_way()
                # As in `ticked`.
                with self._faults.contained("a sweep", instead=group.fail):
                    try:
                        await self._update(group, tick)
                    except StoreError as failure:
                        failures.append(failure)
                if failures:
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(min(READS_AT_ONCE, len(groups))):
                nursery.start_soon(work)
        if failures:
            raise failures[0]

    async def _update(self, group: SessionGroup, tick: Tick) -> None:
        known = group.document.known
        try:
            portfolio = await self._store.peek_portfolio(group.session_id)
        except SessionMissing:
            # Whoever only watches would take the last value for a live one.
            if group.incarnation == known.incarnation:
                group.expire()
            return
        except WrongType:
            # Nothing was revalued; the next request will report why.
            return
        has_fallen = known.is_above(portfolio) or group.document.contradicts(portfolio)
        if portfolio.incarnation != group.incarnation or has_fallen:
            # It was created again by a worker that did not know this one, or has lost what was shown.
            self._caretaker.reread(group)
            return
        run, current = group.sequencer.open, portfolio.current_analysis
        is_over = run is not None and (current is None or current.run_id != run.run_id)
        if run is not None and is_over and run.run_id != group.runs.running:
            # Its end may be on its way; or it was lost with a batch that no other has followed.
            self._caretaker.find_out(group, run.run_id)
        prices = self._book.values_for(portfolio.holdings)
        frozen = any(shares and ticker not in prices for ticker, shares in portfolio.holdings.items())
        if portfolio.valued.tick_id != tick.tick_id and not frozen:
            return
        state = portfolio_message(portfolio, self._book)
        update = PortfolioUpdate(
            total_value=state.total_value,
            values=line_values(portfolio.holdings, prices) if state.values is None else state.values,
            tick_id=state.valued.tick_id,
            as_of=state.valued.as_of,
            last_bar=state.last_bar,
            stale=state.stale,
            unpriced=state.unpriced,
            stale_prices=state.stale_prices,
            outside=state.outside,
        )
        # The value of holdings that were not shown yet has no meaning: they must be shown first.
        group.broadcast_state(state)
        group.update(update, portfolio.version)
