"""The results in the document of a run whose last batches were lost, and the end they imply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portfolio_trio.hub.endings import cancelled
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.store import Ending, WrongType

if TYPE_CHECKING:
    from collections.abc import Collection

    from portfolio_trio.protocol.messages import Running
    from portfolio_trio.store import Portfolio as State
    from portfolio_trio.store import PortfolioStore

# How many results of newer runs may be skipped, and the maximum length of all as JSON.
MAX_RESULTS: Final = 1_000
MAX_BYTES: Final = 1_048_576

Result = dict[str, Any]


async def results_of(store: PortfolioStore, state: State, run: Running, metrics: int) -> list[Result]:
    """The results of a run that the document still has, oldest first, as they were sent.

    Args:
        store: The documents.
        state: The session.
        run: The run.
        metrics: The maximum number of results of a run.

    Raises:
        StoreError: The store could not be reached.
    """
    runs_since = state.run_counter - run.run_id + 1
    limit = max(1, min(MAX_RESULTS, metrics * runs_since))
    try:
        page = await store.newest_results(
            state.session_id, ticker=run.ticker, limit=limit, max_bytes=MAX_BYTES
        )
    except WrongType:
        # The document has something else in their place: show the end without them.
        return []
    return [
        result
        for result in page.results
        # Somebody else may have written one without a name.
        if result.get("run_id") == run.run_id and isinstance(result.get("metric"), str)
    ]


def likely_end(state: State, run: Running, results: Collection[Result], metrics: Collection[str]) -> Ending:
    """The end of a run that the document does not record: an older release wrote it, or many ended since.

    With a result for each metric it has completed. A run that completed with errors cannot be recognised.

    Args:
        state: The session.
        run: The run.
        results: Its results in the document.
        metrics: The metrics of a run.
    """
    if metrics and {result["metric"] for result in results} == set(metrics):
        return Ending(run.run_id, "completed", results=len(results))
    reason = EndReason.SUPERSEDED if state.run_counter > run.run_id else EndReason.DISCONNECTED
    if state.version > run.version:
        reason = EndReason.PORTFOLIO_CHANGED
    return cancelled(run.run_id, reason)
