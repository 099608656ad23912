"""The snapshot of one run (one set of holdings, one tick), and the messages of its outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from portfolio_trio.hub.unpriced import explained
from portfolio_trio.metrics import METHOD_VERSION, AnalysisError, MetricError, compute_text
from portfolio_trio.metrics.recent import Recent
from portfolio_trio.metrics.returns import MAX_LINES
from portfolio_trio.protocol.messages import AnalysisStarted, MetricFailure, Receipt
from portfolio_trio.protocol.results import ComputedResult, RunTexts, common_text
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portfolio_trio.market import PriceBook, Tick
    from portfolio_trio.metrics import AnalysisInputs, Bars, Metric, ResultText, ReturnsCache
    from portfolio_trio.metrics.portfolio import PortfolioInputs
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.store import Head

Outcome = ComputedResult | MetricFailure


class _Priced(NamedTuple):
    """What the runs of one portfolio have in common until the next tick."""

    tick: Tick
    bars: Bars
    portfolio: PortfolioInputs
    stale: bool
    common: str


class Snapshots:
    """Takes the snapshots of all sessions' runs.

    Args:
        book: The prices.
        returns: Gives the cache of the newest bars.
    """

    def __init__(self, book: PriceBook, returns: Callable[[], ReturnsCache]) -> None:
        self._book = book
        self._returns = returns
        # By the texts in the document, which hash faster than the numbers in them.
        self._priced: Recent[tuple[bytes, bytes], _Priced] = Recent(MAX_LINES)

    def take(self, request: Analyze, head: Head, run_id: int) -> Snapshot:
        """Take one without a checkpoint, so that holdings, tick and prices are consistent.

        Raises:
            AnalysisError: Holdings or prices allow no analysis of this ticker.
        """
        known = self._priced.get(head.texts)
        if known is not None and self._is_current(known):
            inputs = known.portfolio.of(request.ticker)
        else:
            inputs = self._at_new_prices(known, request.ticker) or self._inputs(head, request.ticker)
            known = self._price(head, inputs)
        receipt = _receipt(head, self._book.prices_for(head.holdings), inputs) if request.receipt else None
        return Snapshot(
            head, run_id, known.tick, inputs, RunTexts(request.ticker, run_id, known.common, receipt)
        )

    def _is_current(self, known: _Priced) -> bool:
        # Bars change only together with the tick.
        book = self._book
        return known.tick is book.current and known.stale == book.is_stale(known.portfolio.tickers)

    def _at_new_prices(self, known: _Priced | None, ticker: str) -> AnalysisInputs | None:
        """The inputs of one ticker, if only prices have changed."""
        book = self._book
        if known is None or known.bars is not book.bars:
            return None
        portfolio = known.portfolio.at_prices(book.column_prices)
        return None if portfolio is None else portfolio.of(ticker)

    def _inputs(self, head: Head, ticker: str) -> AnalysisInputs:
        book, holdings = self._book, head.holdings
        prices = book.prices_for(holdings)
        try:
            return self._returns().inputs(ticker, holdings, prices, targets=head.targets or NO_TARGETS)
        except AnalysisError as failure:
            raise explained(book, failure) from None

    def _price(self, head: Head, inputs: AnalysisInputs) -> _Priced:
        """A portfolio at the newest tick."""
        book = self._book
        # Admitting a name makes a new tick.
        portfolio, tick, stale = inputs.portfolio, book.current, book.is_stale(inputs.tickers)
        common = common_text(
            snapshot=inputs.snapshot,
            tick_id=tick.tick_id,
            as_of=tick.as_of,
            last_bar=inputs.last_bar,
            stale=stale,
            method=METHOD_VERSION,
        )
        priced = _Priced(tick, book.bars, portfolio, stale, common)
        self._priced.keep(head.texts, priced, portfolio.count)
        return priced


class Snapshot(NamedTuple):
    """The inputs of one run.

    Attributes:
        head: The part from the document.
        run_id: The run, whose number is in all its outcomes.
        tick: The part from the market.
        inputs: The inputs of the metrics.
        texts: The part that all results of the run have in common.
    """

    head: Head
    run_id: int
    tick: Tick
    inputs: AnalysisInputs
    texts: RunTexts

    def announcement(self, metrics: tuple[str, ...]) -> AnalysisStarted:
        """The message that the run has begun."""
        return AnalysisStarted(
            ticker=self.inputs.ticker,
            run_id=self.run_id,
            metrics=metrics,
            snapshot=self.inputs.snapshot,
            version=self.head.version,
            tick_id=self.tick.tick_id,
            as_of=self.tick.as_of,
        )

    def attempt(self, metric: Metric) -> ResultText | MetricError:
        """Compute one metric; needs no event loop."""
        try:
            return compute_text(metric, self.inputs)
        except MetricError as error:
            return error

    def outcome(self, metric: Metric, computed: ResultText | MetricError, at: str) -> Outcome:
        """The message about one metric, computed at a time in RFC 3339."""
        if not isinstance(computed, MetricError):
            return self.texts.result(metric.name, computed.value, at, computed.detail)
        return MetricFailure(
            ticker=self.inputs.ticker,
            metric=metric.name,
            code=computed.code,
            detail=computed.reason,
            tickers=computed.tickers or None,
            run_id=self.run_id,
        )


def _receipt(head: Head, prices: Mapping[str, float], inputs: AnalysisInputs) -> Receipt:
    held = {ticker: shares for ticker, shares in head.holdings.items() if shares}
    cash = tuple(sorted(inputs.history.cash)) or None
    return Receipt(
        holdings=held, prices=dict(prices), last_bar=inputs.last_bar, cash=cash, targets=head.targets
    )
