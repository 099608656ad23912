"""The session documents in Redis, changed by fenced Lua scripts."""

from portfolio_trio.store._check import check_engine
from portfolio_trio.store._keys import key_of
from portfolio_trio.store._store import PortfolioStore
from portfolio_trio.store.errors import (
    MissingPrices,
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
    TooManyHoldings,
    ValueOverflow,
    VersionConflict,
    WrongType,
)
from portfolio_trio.store.models import (
    CurrentAnalysis,
    Portfolio,
    PriceLookup,
    Revaluation,
    RunStart,
    SweepReport,
    Tick,
    Valued,
)
from portfolio_trio.store.scripts import ScriptsNotFound, all_scripts

__all__ = [
    "CurrentAnalysis",
    "MissingPrices",
    "Portfolio",
    "PortfolioChanged",
    "PortfolioStore",
    "PriceLookup",
    "ResultsOutOfStep",
    "Revaluation",
    "RunNotCurrent",
    "RunStart",
    "RunSuperseded",
    "ScriptsNotFound",
    "SessionMissing",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUnsupported",
    "SweepReport",
    "Tick",
    "TooManyHoldings",
    "ValueOverflow",
    "Valued",
    "VersionConflict",
    "WrongType",
    "all_scripts",
    "check_engine",
    "key_of",
]
