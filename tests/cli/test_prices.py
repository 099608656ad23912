"""``portfolio-trio prices``: the report and its exit status."""

from __future__ import annotations

import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from portfolio_trio.cli.main import main
from portfolio_trio.cli.prices import prices
from portfolio_trio.market import CsvSource, PriceBook
from tests.support.clock import START, ManualClock
from tests.support.logs import events

CASES = Path(__file__).parents[1] / "cases"
LATER = ManualClock(START + 9 * 86_400.0)


def report(case: str, live: str | None = None) -> tuple[bool, list[str]]:
    lines: list[str] = []
    ask = partial(prices, f"csv:{CASES / case}", live, say=lines.append, now=LATER)
    return trio.run(ask), lines


def test_a_table_of_names() -> None:
    fine, lines = report("stocks_plus_btc_ends_on_sunday.csv")
    assert fine
    assert [" ".join(lines[at].split()) for at in (0, 1, 4)] == [
        "name rows first close last close calendar a year gaps longest",
        "AAPL 450 2025-03-03 2026-11-20 weekdays, 252 261.2 0 3 days",
        "BTC-USD 630 2025-03-03 2026-11-22 every day, 365 365.2 0 1 days",
    ]
    assert lines[5:] == ["nothing would be refused"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "split_10to1_unadjusted.csv",
            "AAPL: on 2026-09-03 0.1016 times the close before; nearest split 10:1",
        ),
        (
            "one_day_in_pounds.csv",
            "VOD.L: on 2026-10-01 0.009993 times the close before, undone on 2026-10-02",
        ),
        (
            "delisted_name_ends_early.csv",
            "TWTR: no price: its last close is of 2026-10-30, its history has ended",
        ),
        ("last_row_blank.csv", "GOOGL  453   2025-03-03   2026-11-25"),
    ],
)
def test_what_is_odd_is_said_and_not_refused(case: str, said: str) -> None:
    fine, lines = report(case)
    assert fine
    assert said in "\n".join(lines)


def test_what_would_be_refused_is_said_with_where_and_why() -> None:
    path = CASES / "stooq_style_ohlcv.csv"
    said = f"refused: {path}, line 1: this is the table of one stock; give one column of closes per name"
    assert report(path.name) == (False, [said])


def test_a_live_file_without_a_usable_price_would_be_refused() -> None:
    fine, lines = report("last_row_blank.csv", str(CASES / "live_no_usable_price.json"))
    assert not fine
    assert lines[-1] == "refused: no name has a usable price"


@pytest.mark.parametrize(("words", "status"), [([], 1), (["--cash", "usd"], 1), (["--cash", "EUR"], 0)])
def test_a_column_that_has_the_name_of_cash_and_is_none(
    words: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "closes.csv"
    path.write_text("date,AAPL,CASH,USD\n2026-01-05,1,1,1\n2026-01-06,1,1.01,1.02\n")
    assert main(["prices", f"csv:{path}", *words]) == status
    assert ("refused: price source csv has" in capsys.readouterr().out) == bool(status)


def test_a_column_of_cash_needs_no_live_price(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    path.write_text('{"AAPL": 70, "MSFT": 200}')
    fine, lines = report("two_stocks_and_cash.csv", str(path))
    assert fine
    assert not any("no price" in line for line in lines)


def test_a_name_that_the_live_prices_leave_out_is_said(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    path.write_text('{"AAPL": 70, "GOOGL": 0}')
    fine, lines = report("delisted_name_ends_early.csv", str(path))
    assert fine
    assert [line for line in lines if ": " in line][:3] == [
        "MSFT: not in the live prices: it counts at its last close, of 2026-11-25",
        "GOOGL: no price: 0.0 is not a price",
        f"TWTR: no price: not in {path}, its history has ended",
    ]


def test_old_bars_are_said_to_be_stale(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("date,AAPL\n2026-01-05,1\n2026-01-06,1\n")
    assert "stale: the newest closed bar is of 2026-01-06, more than 7 days ago" in report(str(path))[1]


def test_the_exit_status_and_nothing_but_the_report() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "portfolio_trio", "prices", *words]
        return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)

    good = run(f"csv:{CASES / 'split_10to1_unadjusted.csv'}")
    assert (good.returncode, good.stderr) == (0, "")
    assert "nearest split 10:1" in good.stdout
    bad = run(f"csv:{CASES / 'stooq_style_ohlcv.csv'}")
    assert (bad.returncode, bad.stderr) == (1, "")
    assert bad.stdout.startswith("refused: ")


def test_a_source_that_does_not_exist_is_another_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "csv:"]) == 2
    assert "csv needs a file" in capsys.readouterr().err


@pytest.mark.trio
async def test_serve_warns_once_of_each_suspicious_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bars.csv"
    text = (CASES / "one_day_in_pounds.csv").read_text()
    path.write_text(text)
    book = PriceBook(CsvSource(path, now=LATER, moment=60.0), now=LATER, quote_timeout=60.0)
    with caplog.at_level(logging.WARNING):
        await book.open()
        new = path.with_suffix(".new")
        new.write_text(text + "\n")
        new.replace(path)
        await book.advance()
    ((event, fields),) = events(caplog)
    assert (event, fields["file"], fields["ticker"]) == ("price_suspicious", str(path), "VOD.L")
    assert fields["reason"].startswith("on 2026-10-01 0.009993 times the close before")
