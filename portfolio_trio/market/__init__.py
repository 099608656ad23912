"""Market prices: sources of closed bars and live prices, and the book that holds the latest.

Imports metrics for the closed bars; knows nothing of the store, sockets and sessions.
"""

from portfolio_trio.market._book import PriceBook
from portfolio_trio.market._check import Quotes, check_cash_column, sift
from portfolio_trio.market._csv_bars import parse_bars, read_bars
from portfolio_trio.market._csv_source import CsvSource
from portfolio_trio.market._errors import (
    BookNotOpenError,
    MarketError,
    MarketFullError,
    PriceFileError,
    PriceSourceError,
    PriceSourceSpecError,
    PriceSourceTimeoutError,
)
from portfolio_trio.market._freshness import NO_PRICE, Dated, Freshness, MaxAge
from portfolio_trio.market._inspection import Jump, NameReport, inspect
from portfolio_trio.market._last_closes import LastCloses
from portfolio_trio.market._opening import open_price_source
from portfolio_trio.market._simulated import SimulatedSource
from portfolio_trio.market._source import Admission, LeftOut, PriceSource, Unusable
from portfolio_trio.market._tick import Tick
from portfolio_trio.metrics.bars import Bars

__all__ = [
    "NO_PRICE",
    "Admission",
    "Bars",
    "BookNotOpenError",
    "CsvSource",
    "Dated",
    "Freshness",
    "Jump",
    "LastCloses",
    "LeftOut",
    "MarketError",
    "MarketFullError",
    "MaxAge",
    "NameReport",
    "PriceBook",
    "PriceFileError",
    "PriceSource",
    "PriceSourceError",
    "PriceSourceSpecError",
    "PriceSourceTimeoutError",
    "Quotes",
    "SimulatedSource",
    "Tick",
    "Unusable",
    "check_cash_column",
    "inspect",
    "open_price_source",
    "parse_bars",
    "read_bars",
    "sift",
]
