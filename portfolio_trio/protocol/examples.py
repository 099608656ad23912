"""An example message of every type; the documents of the protocol show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from portfolio_trio.protocol.decisions import (
    Change,
    Drawdown,
    Hedge,
    History,
    HoldingRisk,
    Plan,
    PlanLine,
    Risk,
    Side,
    Totals,
    Traded,
    WhatIf,
)
from portfolio_trio.protocol.events import ReceivedDetail
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisResult,
    AnalysisStarted,
    Error,
    MetricFailure,
    Portfolio,
    PortfolioUpdate,
    Results,
    Running,
    Valued,
)
from portfolio_trio.protocol.requests import (
    Analyze,
    AskWhatIf,
    Authenticate,
    Cancel,
    GetHistory,
    GetPortfolio,
    GetResults,
    GetRisk,
    MakePlan,
    SetHoldings,
    SetTargets,
    Trade,
)

if TYPE_CHECKING:
    from portfolio_trio.protocol.messages import Message
    from portfolio_trio.protocol.requests import Request

_AS_OF: Final = "2026-01-05T15:30:00.000Z"
_STARTED_AT: Final = "2026-01-05T15:30:12.250Z"
_TICK: Final = 1767627000000
_SNAPSHOT: Final = "a7cf8a2f3f0f7cf5d4c3b2a1908f7e6d"
_METRICS: Final = ("portfolio_risk", "concentration", "correlation", "momentum", "allocation_score")

_RESULT: Final = AnalysisResult(
    id=7,
    ticker="AAPL",
    metric="concentration",
    value=0.3412,
    timestamp="2026-01-05T15:30:12.262Z",
    run_id=12,
    snapshot=_SNAPSHOT,
    tick_id=_TICK,
    as_of=_AS_OF,
    last_bar="2026-01-02",
    method="1",
    detail=ReceivedDetail.model_validate(
        {
            "weight": 0.3412,
            "active_weight": 0.0079,
            "overweight": True,
            "hhi": 0.3341,
            "effective_holdings": 2.993,
            "rank": 1,
        }
    ),
)

REQUESTS: Final[tuple[Request, ...]] = (
    Analyze(action="analyze", ticker="AAPL", id=7),
    Cancel(action="cancel", id=8),
    GetPortfolio(action="get_portfolio", id=9),
    SetHoldings(action="set_holdings", holdings={"AAPL": 100, "GOOGL": 50, "MSFT": 75}, version=3, id=10),
    Trade(action="trade", ticker="AAPL", shares=-5, version=3, id=11),
    GetResults(action="get_results", ticker="AAPL", limit=10, id=12),
    # As tokens are always shown: never in full.
    Authenticate(action="authenticate", token=SecretStr("**********"), id=1),
    GetRisk(action="get_risk", id=13),
    AskWhatIf(action="what_if", trades={"AAPL": -20}, id=14),
    SetTargets(action="set_targets", weights={"AAPL": 50, "GOOGL": 50}, version=3, id=15),
    MakePlan(action="plan", to="weights", cash=1_000, whole_shares=True, id=16),
    GetHistory(action="get_history", bars=2, id=17),
)

# Two equal but uncorrelated holdings: a textbook case.
_SEEN: Final[dict[str, Any]] = {
    "version": 3,
    "tick_id": _TICK,
    "as_of": _AS_OF,
    "snapshot": _SNAPSHOT,
    "last_bar": "2026-01-02",
    "method": "2",
}
_BEFORE: Final = Totals(
    value=20_000.0,
    gross=20_000.0,
    volatility=0.1414213562,
    risk=2_828.427125,
    effective_holdings=2.0,
    n_obs=252,
)
_AFTER: Final = Totals(
    value=15_000.0,
    gross=15_000.0,
    volatility=0.1490711985,
    risk=2_236.067977,
    effective_holdings=1.8,
    n_obs=252,
)
_HELD: Final = HoldingRisk(
    ticker="AAPL",
    shares=40,
    price=250.0,
    value=10_000.0,
    weight=0.5,
    risk=0.5,
    volatility=0.2,
    beta=1.0,
    correlation=0.0,
    target_weight=0.5,
    budget=0.5,
    score=0.0,
)

MESSAGES: Final[tuple[Message, ...]] = (
    Portfolio(
        session_id="my-session",
        incarnation="9c1f2ad07b3e4f58",
        holdings={"AAPL": 100, "GOOGL": 50, "MSFT": 75},
        version=3,
        total_value=65_210.5,
        valued=Valued(tick_id=_TICK, as_of=_AS_OF),
        values={"AAPL": 22_210.0, "GOOGL": 9_440.5, "MSFT": 33_560.0},
        last_bar="2026-01-02",
        current_analysis=Running(ticker="AAPL", started_at=_STARTED_AT, run_id=12, version=3, tick_id=_TICK),
    ),
    PortfolioUpdate(
        total_value=65_310.25,
        values={"AAPL": 22_250.0, "GOOGL": 9_460.25, "MSFT": 33_600.0},
        tick_id=_TICK + 30_000,
        as_of="2026-01-05T15:30:30.000Z",
        last_bar="2026-01-02",
        stale=False,
    ),
    AnalysisStarted(
        id=7,
        ticker="AAPL",
        run_id=12,
        metrics=_METRICS,
        snapshot=_SNAPSHOT,
        version=3,
        tick_id=_TICK,
        as_of=_AS_OF,
    ),
    _RESULT,
    MetricFailure(
        id=7,
        ticker="AAPL",
        metric="momentum",
        code="insufficient_history",
        detail="AAPL has 180 closed bars; momentum needs 253",
        tickers=("AAPL",),
        run_id=12,
    ),
    AnalysisCompleted(id=7, ticker="AAPL", run_id=12, results=4, errors=1),
    AnalysisCancelled(ticker="AAPL", run_id=12, reason="switched", cancelled_in_us=180),
    AnalysisFailed(
        id=7,
        ticker="TSLA",
        run_id=13,
        code="not_held",
        detail="TSLA is not in the portfolio",
        retryable=False,
    ),
    Risk(
        id=13,
        **_SEEN,
        holdings=(_HELD, _HELD.model_copy(update={"ticker": "GOOGL", "shares": 50, "price": 200.0})),
        totals=_BEFORE,
    ),
    WhatIf(
        id=14,
        **_SEEN,
        trades={"AAPL": -20},
        before=_BEFORE,
        after=_AFTER,
        change=Change(
            value=-5_000.0,
            gross=-5_000.0,
            volatility=0.0076498423,
            risk=-592.359148,
            effective_holdings=-0.2,
        ),
        holdings=(
            Traded(
                ticker="AAPL",
                before=Side(shares=40, value=10_000.0, weight=0.5, risk=0.5),
                after=Side(shares=20, value=5_000.0, weight=0.333333333333333, risk=0.2),
            ),
            Traded(
                ticker="GOOGL",
                before=Side(shares=50, value=10_000.0, weight=0.5, risk=0.5),
                after=Side(shares=50, value=10_000.0, weight=0.666666666666667, risk=0.8),
            ),
        ),
        cash=5_000.0,
        best_hedge=Hedge(ticker="AAPL", value=0.0, shares=0.0),
    ),
    Plan(
        id=16,
        **_SEEN,
        to="weights",
        cash=1_000.0,
        only_buy=False,
        whole_shares=True,
        lines=(
            PlanLine(
                ticker="AAPL",
                shares=2.0,
                value=500.0,
                weight_before=0.5,
                weight_after=0.504807692,
                risk_before=0.5,
                risk_after=0.509613,
            ),
        ),
        before=_BEFORE,
        after=_BEFORE.model_copy(update={"value": 20_500.0, "gross": 20_500.0}),
        turnover=0.025,
        cash_left=500.0,
    ),
    History(
        id=17,
        **_SEEN,
        bars=2,
        since="2026-01-01",
        dates=("2026-01-01", "2026-01-02"),
        values=(20_400.0, 19_890.0),
        value=20_000.0,
        drawdown=Drawdown(depth=0.025, peak="2026-01-01", trough="2026-01-02"),
    ),
    Results(id=12, ticker="AAPL", results=(_RESULT.model_dump(exclude_none=True, exclude={"type", "id"}),)),
    Error(
        id=11,
        code="bad_price",
        detail="no price for AAPL at this tick; ask again after the next one",
        retryable=True,
        tickers=("AAPL",),
    ),
)
