"""The session documents in Redis, changed by fenced Lua scripts.

Imports redis and the rules for tickers and numbers; knows no socket and no price source.
"""

from portfolio_trio.store._check import check_engine, check_writes
from portfolio_trio.store._keys import key_of
from portfolio_trio.store._store import PortfolioStore
from portfolio_trio.store._workers import SWEPT, TICKS, Workers
from portfolio_trio.store.errors import (
    MissingPrices,
    NotUpdater,
    OtherSource,
    OutcomeUnknown,
    PortfolioChanged,
    ResultsOutOfStep,
    RunNotCurrent,
    RunSuperseded,
    SessionMissing,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnsupported,
    TickStale,
    TooManyHoldings,
    ValueOverflow,
    VersionConflict,
    WrongType,
)
from portfolio_trio.store.models import (
    Beat,
    CurrentAnalysis,
    Portfolio,
    PriceLookup,
    ResultsPage,
    Revaluation,
    RunEnd,
    RunStart,
    SharedTick,
    SweepReport,
    Tick,
    Valued,
)
from portfolio_trio.store.scripts import ScriptsNotFound, all_scripts

__all__ = [
    "SWEPT",
    "TICKS",
    "Beat",
    "CurrentAnalysis",
    "MissingPrices",
    "NotUpdater",
    "OtherSource",
    "OutcomeUnknown",
    "Portfolio",
    "PortfolioChanged",
    "PortfolioStore",
    "PriceLookup",
    "ResultsOutOfStep",
    "ResultsPage",
    "Revaluation",
    "RunEnd",
    "RunNotCurrent",
    "RunStart",
    "RunSuperseded",
    "ScriptsNotFound",
    "SessionMissing",
    "SharedTick",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUnsupported",
    "SweepReport",
    "Tick",
    "TickStale",
    "TooManyHoldings",
    "ValueOverflow",
    "Valued",
    "VersionConflict",
    "Workers",
    "WrongType",
    "all_scripts",
    "check_engine",
    "check_writes",
    "key_of",
]
