"""Prices from files: closed bars from a CSV file, live prices from a JSON file or the last closes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.market._csv_bars import MAX_BYTES as MAX_CSV_BYTES
from portfolio_trio.market._csv_bars import parse_table
from portfolio_trio.market._errors import PriceSourceError, PriceSourceTimeoutError
from portfolio_trio.market._inspection import suspicions
from portfolio_trio.market._last_closes import LastCloses
from portfolio_trio.market._live_file import MAX_BYTES as MAX_LIVE_BYTES
from portfolio_trio.market._live_file import parse_live
from portfolio_trio.market._source import LeftOut, Unusable
from portfolio_trio.market._watched_file import WatchedFile
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from portfolio_trio.market._csv_bars import BarTable
    from portfolio_trio.market._source import Admission
    from portfolio_trio.metrics.bars import Bars

MOMENT_SECONDS: Final = 1.0
"""Seconds for which a tick waits for a new version of the bars."""

PATIENCE_SECONDS: Final = 60.0
"""Seconds that reading a new version of the bars may take, as at the start."""

MAX_WARNINGS: Final = 100
"""Maximum number of names to warn about."""

DATE_LENGTH: Final = len("2026-11-20")

log: Final = logging.getLogger(__name__)


class CsvSource:
    """Closed bars from a CSV file and live prices from a JSON file, both followed as they are replaced.

    To replace either file, write a new one and rename it over the old one. If a file cannot be used, the
    earlier content stays in effect and the error is reported. Each version of a file is read only once, with
    or without success; a new version that takes longer than a moment is read while ticks go on with the old
    one.

    A name that is missing from the file of live prices is `LeftOut`. Without such a file a name's newest
    close is its live price, while it is at most `MAX_LAG_DAYS` older than the newest of all; a name that has
    ended (delisted) has none.
    """

    def __init__(
        self,
        bars: Path,
        live: Path | None = None,
        *,
        now: Callable[[], float] = time.time,
        moment: float = MOMENT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Does not read the files yet.

        Args:
            bars: The CSV file, in the format of `parse_table`.
            live: The JSON file, in the format of `parse_live`; only names with a column of bars are quoted.
            now: Wall clock, seconds since 1970 in UTC.
            moment: Seconds for which a tick waits for a new version of the bars.
            patience: Seconds after which a new version that is still being read counts as failed, until
                it has been read.
        """
        self.name = "csv"
        self._now = now
        self._moment = moment
        self._patience = patience
        self._file = WatchedFile(bars, _parse_and_look, max_bytes=MAX_CSV_BYTES)
        self._suspected: set[str] = set()
        self._live = None if live is None else WatchedFile(live, parse_live, max_bytes=MAX_LIVE_BYTES)
        self._bars: Bars | None = None
        self._last: LastCloses | None = None
        self._broken: PriceSourceError | None = None

    @property
    def quoted_at(self) -> float | None:
        """When the live file was written, seconds since 1970; None without one."""
        return None if self._live is None else self._live.written_at

    async def load(self) -> Bars:
        """Return the bars in the file now. `PriceFileError` if it cannot be used."""
        try:
            self._bars = await self._newest()
        except PriceSourceError as error:
            self._broken = error
            raise
        self._broken = None
        return self._bars

    async def _newest(self) -> Bars:
        file = self._file
        if self._bars is None:
            table, suspicious = await file.newest()
        else:
            with trio.move_on_after(self._moment) as waiting:
                table, suspicious = await file.newest()
            if waiting.cancelled_caught:
                if file.waited > self._patience:
                    raise PriceSourceTimeoutError(
                        f"{file.path} is still being read after {self._patience:g} s; the old bars stay"
                    )
                return self._bars
        # Checked here, not where the file is read: a day in the future does not stay in the future.
        table.check_past(rfc3339(self._now())[:DATE_LENGTH], file.path)
        self._warn(suspicious)
        if self._bars is not None and table.bars is not self._bars:
            names, closed = len(table.bars.tickers), table.bars.dates
            newest = closed[-1] if closed else "none"
            log.info(
                "the price file was read again",
                extra={"event": "prices_read", "file": str(file.path), "names": names, "last_bar": newest},
            )
        return table.bars

    def _warn(self, suspicious: Mapping[str, str]) -> None:
        """Log one warning for each suspicious name, only once."""
        for ticker, what in suspicious.items():
            if ticker not in self._suspected and len(self._suspected) < MAX_WARNINGS:
                self._suspected.add(ticker)
                log.warning(
                    "the prices of a name look wrong; they are used unchanged",
                    extra={
                        "event": "price_suspicious",
                        "ticker": ticker,
                        "reason": what,
                        "file": str(self._file.path),
                    },
                )

    async def quote(self, previous: Mapping[str, float]) -> Mapping[str, float | Unusable]:
        """Return the live file's prices, or the last closes. `PriceFileError` if neither is usable."""
        del previous  # files hold prices, not moves
        if self._bars is None:
            raise self._broken or PriceSourceError("load() before quote()")
        if self._live is not None:
            live = await self._live.newest()
            missing = LeftOut(f"not in {self._live.path}")
            return {ticker: live.get(ticker, missing) for ticker in self._bars.tickers}
        await trio.lowlevel.checkpoint()
        if self._broken is not None:
            raise self._broken
        if self._last is None or self._last.bars is not self._bars:
            self._last = LastCloses(self._bars)
        return _last_closes(self._last)

    def admit(self, ticker: str) -> Admission | None:
        """Return None: a name without a column has no history."""
        del ticker
        return None


def _parse_and_look(content: bytes, path: Path) -> tuple[BarTable, Mapping[str, str]]:
    """The table and its suspicious names, computed in the thread that reads the file."""
    table = parse_table(content, path)
    return table, dict(suspicions(table.bars))


def _last_closes(last: LastCloses) -> dict[str, float | Unusable]:
    prices: dict[str, float | Unusable] = {}
    for ticker in last.bars.tickers:
        close = last.close_of(ticker)
        if close is None:
            prices[ticker] = Unusable("no close at all")
        elif last.has_ended(ticker):
            prices[ticker] = Unusable(f"its last close is of {last.date_of(ticker)}")
        else:
            prices[ticker] = close
    return prices
