"""One message of every type, as it could be on the wire; the documents of the protocol show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

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
    Authenticate,
    Cancel,
    GetPortfolio,
    GetResults,
    SetHoldings,
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
    # As it is shown anywhere: nobody's token is written down.
    Authenticate(action="authenticate", token=SecretStr("**********"), id=1),
)

MESSAGES: Final[tuple[Message, ...]] = (
    Portfolio(
        session_id="my-session",
        holdings={"AAPL": 100, "GOOGL": 50, "MSFT": 75},
        version=3,
        total_value=65_210.5,
        valued=Valued(tick_id=_TICK, as_of=_AS_OF),
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
    Results(id=12, ticker="AAPL", results=(_RESULT.model_dump(exclude_none=True, exclude={"type", "id"}),)),
    Error(
        id=11,
        code="bad_price",
        detail="no price for AAPL at this tick; ask again after the next one",
        retryable=True,
        tickers=("AAPL",),
    ),
)
