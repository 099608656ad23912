"""The snapshot of one run (one set of holdings, one tick), and the messages of its outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from portfolio_trio.hub.unpriced import explained
from portfolio_trio.metrics import METHOD_VERSION, AnalysisError, MetricError, compute_text
from portfolio_trio.protocol.messages import AnalysisStarted, MetricFailure, Receipt
from portfolio_trio.protocol.results import ComputedResult, RunTexts
from portfolio_trio.targets import NO_TARGETS
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portfolio_trio.market import Tick
    from portfolio_trio.metrics import AnalysisInputs, Metric, ResultText
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.services import Services
    from portfolio_trio.store import Head

Outcome = ComputedResult | MetricFailure


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

    @classmethod
    def take(cls, services: Services, request: Analyze, head: Head, run_id: int) -> Snapshot:
        """Take it without a checkpoint, so that holdings, tick and prices are consistent.

        Raises:
            AnalysisError: Holdings or prices allow no analysis of this ticker.
        """
        book = services.book
        prices = book.prices_for(head.holdings)
        try:
            inputs = services.returns.inputs(
                request.ticker, head.holdings, prices, targets=head.targets or NO_TARGETS
            )
        except AnalysisError as failure:
            raise explained(book, failure) from None
        tick = book.current
        texts = RunTexts(
            ticker=request.ticker,
            run_id=run_id,
            snapshot=inputs.snapshot,
            tick_id=tick.tick_id,
            as_of=tick.as_of,
            last_bar=inputs.last_bar,
            stale=book.is_stale(inputs.tickers),
            method=METHOD_VERSION,
            receipt=_receipt(head, prices, inputs) if request.receipt else None,
        )
        return cls(head, run_id, tick, inputs, texts)

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

    def outcome(self, metric: Metric, computed: ResultText | MetricError, at: float) -> Outcome:
        """The message about one metric, computed at a time in seconds since the epoch."""
        if not isinstance(computed, MetricError):
            return self.texts.result(metric.name, computed.value, rfc3339(at), computed.detail)
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
