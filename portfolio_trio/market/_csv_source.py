"""Prices from files: closed bars from a CSV file, live prices from a JSON file or the last closes."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from portfolio_trio.market._csv_bars import MAX_BYTES as MAX_CSV_BYTES
from portfolio_trio.market._csv_bars import parse_bars
from portfolio_trio.market._errors import PriceFileError, PriceSourceError
from portfolio_trio.market._files import read_regular, version_of
from portfolio_trio.market._live_file import MAX_BYTES as MAX_LIVE_BYTES
from portfolio_trio.market._live_file import parse_live
from portfolio_trio.market._source import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from portfolio_trio.market._files import Version
    from portfolio_trio.market._source import Admission
    from portfolio_trio.metrics.bars import Bars

_T = TypeVar("_T")


class _Watched(Generic[_T]):
    """A file that is read and parsed again, in a worker thread, when its version has changed."""

    def __init__(self, path: Path, parse: Callable[[bytes, Path], _T], *, max_bytes: int) -> None:
        self.path = path
        self._parse = parse
        self._max_bytes = max_bytes
        self._version: Version | None = None
        self._value: _T | None = None
        # One thread: of a file system that hangs, the next tick waits for the same one, bounded by the
        # book's patience, and the threads of the rest of the program stay free.
        self._limiter = trio.CapacityLimiter(1)

    async def newest(self) -> _T:
        """Return what the file holds now; the very same object while it has not changed.

        Raises:
            PriceFileError: It cannot be used. It is read again at the next call, even if unchanged.
        """
        work = partial(self._read, self._version, self._value)
        version, value = await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        self._version, self._value = version, value
        return value

    def _read(self, version: Version | None, value: _T | None) -> tuple[Version, _T]:
        """Runs in a thread that may have been abandoned, so it changes nothing of `self`."""
        if value is not None and version_of(self.path) == version:
            return version, value
        file = read_regular(self.path, max_bytes=self._max_bytes)
        return file.version, self._parse(file.content, self.path)


class CsvSource:
    """Closed bars from a CSV file and live prices from a JSON file, both followed as they are replaced.

    Whoever writes either file should write a new one and rename it over the old one. A file that
    cannot be used leaves what was read before in force and is reported.

    Without a file of live prices the last row of the bars is the live price; a name without a close
    on that row (delisted, halted) has none, rather than an old one.
    """

    def __init__(self, bars: Path, live: Path | None = None) -> None:
        """Read nothing yet.

        Args:
            bars: The CSV file, as `parse_bars` takes it.
            live: The JSON file, as `parse_live` takes it; only names with a column of bars are quoted.
        """
        self.name = "csv"
        self._file = _Watched(bars, parse_bars, max_bytes=MAX_CSV_BYTES)
        self._live = None if live is None else _Watched(live, parse_live, max_bytes=MAX_LIVE_BYTES)
        self._bars: Bars | None = None
        self._broken: PriceFileError | None = None

    async def load(self) -> Bars:
        """Return the bars the file holds now. `PriceFileError` when it cannot be used."""
        try:
            self._bars = await self._file.newest()
        except PriceFileError as error:
            self._broken = error
            raise
        self._broken = None
        return self._bars

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float | Unusable]:
        """Return the live file's prices, or the last closes. `PriceFileError` when neither is usable."""
        del previous  # files hold prices, not moves
        if self._bars is None:
            raise self._broken or PriceSourceError("load() before quote()")
        if self._live is not None:
            live = await self._live.newest()
            missing = Unusable(f"not in {self._live.path}")
            return {ticker: live.get(ticker, missing) for ticker in self._bars.tickers}
        await trio.lowlevel.checkpoint()
        if self._broken is not None:
            raise self._broken
        return _last_closes(self._bars)

    def admit(self, ticker: str) -> Admission | None:
        """Return None: what has no column has no history."""
        del ticker
        return None


def _last_closes(bars: Bars) -> dict[str, float | Unusable]:
    missing = Unusable(f"no close on {bars.dates[-1]}")
    closes = zip(bars.tickers, bars.closes[-1].tolist(), strict=True)
    return {ticker: missing if math.isnan(close) else close for ticker, close in closes}
