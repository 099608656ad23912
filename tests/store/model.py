"""The session document in plain Python: what every engine has to agree with."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from portfolio_trio.store import (
    Ending,
    MissingPrices,
    NothingTraded,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    TooManyHoldings,
    VersionConflict,
)
from tests.store.engines import TTL, FakeTick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Document = dict[str, Any]


def _ending(end: Mapping[str, Any]) -> Ending:
    return Ending(**{name: value for name, value in end.items() if name != "token"})


class Model:
    """One session; each method is one call of the store, and raises as it does."""

    def __init__(self, max_results: int, max_holdings: int, max_bytes: int) -> None:
        self._max_results, self._max_holdings, self._max_bytes = max_results, max_holdings, max_bytes
        self._document: Document | None = None
        self._expires = 0.0
        self.now = 0.0

    def document(self) -> Document:
        if self._document is None or self.now > self._expires:
            self._document = None
            raise SessionMissing("s")
        return self._document

    def _touch(self, at: str) -> Document:
        document = self.document()
        document["last_activity"] = at
        self._expires = self.now + TTL
        return document

    def open(self, holdings: Mapping[str, float], tick: FakeTick, at: str) -> bool:
        if len(holdings) > self._max_holdings:
            raise TooManyHoldings(self._max_holdings)
        try:
            self._touch(at)
        except SessionMissing:
            self._document = {
                "session_id": "s",
                "holdings": dict(holdings),
                "version": 1,
                "total_value": _total(holdings, tick),
                "valued": {"tick_id": tick.tick_id, "as_of": tick.as_of},
                "run_counter": 0,
                "current_analysis": None,
                "targets": None,
                "run_ends": [],
                "analysis_results": [],
                "result_sizes": [],
                "results_bytes": 0,
                "last_activity": at,
                "attached": [],
            }
            self._expires = self.now + TTL
            return True
        return False

    def start(self, ticker: str, at: str, tick_id: int) -> int:
        document = self._touch(at)
        document["run_counter"] += 1
        self._end(outcome="cancelled", reason="superseded")
        document["current_analysis"] = {
            "ticker": ticker,
            "started_at": at,
            "run_id": document["run_counter"],
            "version": document["version"],
            "tick_id": tick_id,
            "recorded": 0,
            "worker": "",
            "token": "",
        }
        return int(document["run_counter"])

    def record(
        self,
        run_id: int,
        version: int,
        texts: Sequence[str],
        at: str,
        *,
        finish: bool,
        recorded: int | None,
    ) -> None:
        document = self.document()
        current = document["current_analysis"]
        ended = next((_ending(end) for end in document["run_ends"] if end["run_id"] == run_id), None)
        if finish and recorded is not None and ended is not None and ended.outcome == "completed":
            return
        if current is None:
            raise RunNotCurrent("s", ended)
        if current["run_id"] != run_id:
            raise RunSuperseded("s", current["run_id"], ended)
        if not finish and texts and recorded is not None and current["recorded"] == recorded + len(texts):
            return
        if document["version"] != version:
            raise PortfolioChanged("s", document["version"])
        if recorded is not None and current["recorded"] != recorded:
            raise ResultsOutOfStep("s", current["recorded"])
        self._touch(at)
        results = document["analysis_results"] + [json.loads(text) for text in texts]
        sizes = document["result_sizes"] + [len(text) for text in texts]
        excess = len(results) - self._max_results
        first = next(
            (at for at in range(len(results)) if at >= excess and sum(sizes[at:]) <= self._max_bytes),
            max(len(results) - 1, 0),
        )
        document["analysis_results"], document["result_sizes"] = results[first:], sizes[first:]
        document["results_bytes"] = sum(sizes[first:])
        current["recorded"] += len(texts)
        if finish:
            self._end(outcome="completed", results=current["recorded"], errors=0, token="")
            document["current_analysis"] = None

    def _end(self, **how: Any) -> None:
        """Note how the current run ended, unless it had ended otherwise before."""
        document = self.document()
        current, ends = document["current_analysis"], document["run_ends"]
        if current is None:
            return
        run_id = current["run_id"]
        if all(end["run_id"] != run_id for end in ends):
            ends = [*ends, {"run_id": run_id, **how}]
            untold = [end for end in ends[:-32] if end["outcome"] != "completed"]
            document["run_ends"] = [*untold[-8:], *ends[-32:]]
        elif how["outcome"] == "completed":
            document["run_ends"] = [
                {"run_id": run_id, **how} if end["run_id"] == run_id else end for end in ends
            ]

    def finish(self, run_id: int) -> bool:
        document = self.document()
        current = document["current_analysis"]
        if current is None or current["run_id"] != run_id:
            return False
        self._end(outcome="cancelled", reason="disconnected")
        document["current_analysis"] = None
        return True

    def set_holdings(
        self, holdings: Mapping[str, float], tick: FakeTick, at: str, expected: int | None
    ) -> int:
        if len(holdings) > self._max_holdings:
            raise TooManyHoldings(self._max_holdings)
        total = _total(holdings, tick)
        document = self.document()
        if expected is not None and document["version"] != expected:
            raise VersionConflict("s", document["version"])
        return self._change(dict(holdings), total, tick, at)

    def trade(self, ticker: str, shares: float, tick: FakeTick, at: str) -> int:
        holdings = copy.copy(self.document()["holdings"])
        before = holdings.get(ticker, 0)
        held = before + shares
        if held == before:
            raise NothingTraded(ticker, shares, before)
        if held:
            holdings[ticker] = held
        else:
            holdings.pop(ticker, None)
        if len(holdings) > self._max_holdings and ticker not in self.document()["holdings"]:
            raise TooManyHoldings(self._max_holdings)
        return self._change(holdings, _total(holdings, tick), tick, at)

    def set_targets(self, targets: dict[str, Any] | None, at: str, expected: int | None) -> int:
        document = self.document()
        if expected is not None and document["version"] != expected:
            raise VersionConflict("s", document["version"])
        self._touch(at)
        self._end(outcome="cancelled", reason="portfolio_changed")
        document["targets"] = targets
        document["version"] += 1
        return int(document["version"])

    def _change(self, holdings: dict[str, float], total: float, tick: FakeTick, at: str) -> int:
        document = self._touch(at)
        self._end(outcome="cancelled", reason="portfolio_changed")
        document["holdings"] = holdings
        document["version"] += 1
        document["total_value"] = total
        document["valued"] = {"tick_id": tick.tick_id, "as_of": tick.as_of}
        return int(document["version"])

    def revalue(self, tick: FakeTick) -> str:
        try:
            document = self.document()
        except SessionMissing:
            return "missing"
        if document["valued"]["tick_id"] >= tick.tick_id:
            return "stale"
        try:
            document["total_value"] = _total(document["holdings"], tick)
        except MissingPrices:
            return "missing_prices"
        document["valued"] = {"tick_id": tick.tick_id, "as_of": tick.as_of}
        return "revalued"


def _total(holdings: Mapping[str, float], tick: FakeTick) -> float:
    unpriced = [name for name, shares in holdings.items() if shares and name not in tick.prices]
    if unpriced:
        raise MissingPrices(unpriced)
    return sum(shares * tick.prices.get(name, 0) for name, shares in holdings.items())
