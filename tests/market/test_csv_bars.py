"""CSV files of closes: their meaning, and the exact errors of bad ones."""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.market import PriceFileError, parse_bars, read_bars
from portfolio_trio.market._csv_bars import parse_table
from portfolio_trio.market._csv_cells import MISSING
from portfolio_trio.tickers import TICKER_RULE
from tests.market.laws import LAW
from tests.support.tickers import ALPHABET, FIRST, OF_THE_WORLD

if TYPE_CHECKING:
    from portfolio_trio.metrics.bars import Bars

PATH = Path("prices.csv")
CASES = Path(__file__).parents[1] / "cases"
GOOD = "date,AAPL,MSFT\n2026-11-18,1.5,2\n2026-11-19,1.6,2.5\n"

DATES = st.dates(date(1970, 1, 1), date(2099, 12, 31)).map(date.isoformat)
TICKERS = st.from_regex(r"[A-Z][A-Z0-9.\-]{0,5}", fullmatch=True)
CLOSES = st.one_of(st.just(math.nan), st.floats(1e-6, 1e9))


def parse(text: str | bytes) -> Bars:
    return parse_bars(text if isinstance(text, bytes) else text.encode(), PATH)


def table(rows: list[list[object]], *, dialect: str = "excel") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, dialect=dialect).writerows(rows)
    return out.getvalue()


def same(one: Bars, other: Bars) -> bool:
    return (
        one.dates == other.dates
        and one.tickers == other.tickers
        and np.array_equal(one.closes, other.closes, equal_nan=True)
    )


@st.composite
def tables(draw: st.DrawFn) -> list[list[object]]:
    """Draw a heading and rows of distinct dates with gaps, oldest first; each close as `repr`."""
    tickers = draw(st.lists(TICKERS, min_size=1, max_size=5, unique=True))
    dates = sorted(draw(st.lists(DATES, min_size=1, max_size=12, unique=True)))
    rows: list[list[object]] = [["date", *tickers]]
    for day in dates:
        closes = [draw(CLOSES) for _ in tickers]
        rows.append([day, *("" if math.isnan(close) else repr(close) for close in closes)])
    return rows


def test_a_plain_file() -> None:
    bars = parse(GOOD)
    assert bars.dates == ("2026-11-18", "2026-11-19")
    assert bars.tickers == ("AAPL", "MSFT")
    assert bars.closes.tolist() == [[1.5, 2.0], [1.6, 2.5]]


@LAW
@given(tables())
def test_what_is_written_is_what_is_read(rows: list[list[object]]) -> None:
    bars = parse(table(rows))
    assert bars.tickers == tuple(rows[0][1:])
    assert bars.dates == tuple(row[0] for row in rows[1:])
    wanted = [[float(str(cell)) if cell else math.nan for cell in row[1:]] for row in rows[1:]]
    assert np.array_equal(bars.closes, np.array(wanted), equal_nan=True)


@LAW
@given(tables(), st.data())
def test_neither_order_nor_repetition_of_rows_matters(rows: list[list[object]], data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(rows[1:]), max_size=3))
    shuffled = data.draw(st.permutations(rows[1:] + repeated))
    assert same(parse(table([rows[0], *shuffled])), parse(table(rows)))


@LAW
@given(tables())
def test_neither_line_ends_nor_quotes_nor_a_byte_order_mark_matter(rows: list[list[object]]) -> None:
    plain = parse(table(rows))
    assert same(parse(table(rows, dialect="unix")), plain)  # all cells quoted, LF
    assert same(parse(table(rows).encode("utf-8-sig")), plain)
    assert same(parse(table(rows).replace("\r\n", "\r")), plain)
    assert same(parse(table(rows).removesuffix("\r\n")), plain)


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "inf", "-inf", "0", "-1", "-0.0", "1e999"])
def test_what_is_no_positive_number_is_missing(cell: str) -> None:
    bars = parse(f"date,AAPL,MSFT\n2026-11-18,{cell},2\n")
    assert math.isnan(bars.closes[0, 0])
    assert bars.closes[0, 1] == 2.0


@pytest.mark.parametrize("word", sorted(MISSING))
@pytest.mark.parametrize("other", ["2", " 2", "é"])
def test_every_word_for_a_missing_close_is_understood(word: str, other: str) -> None:
    """Beside plain cells, padded ones and text beyond ASCII: each takes another way through the reader."""
    heading = other if other == "é" else "date"
    close = "2" if other == "é" else other
    bars = parse(f"{heading},AAPL,MSFT\n2026-11-18,{word},{close}\n2026-11-19, {word} ,{close}\n")
    assert np.isnan(bars.closes[:, 0]).all()
    assert bars.closes[:, 1].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "midnight",
    [
        " 00:00", " 00:00:00", "T00:00:00Z", " 00:00:00-05:00", " 00:00:00+00:00", "T00:00:00.000Z",
        " 00:00:00+0530", " 00:00:00 UTC",
    ],
)  # fmt: skip
def test_midnight_is_the_day(midnight: str) -> None:
    assert same(
        parse(re.sub(r"^(2026-\d\d-\d\d)", rf"\g<1>{midnight}", GOOD, flags=re.MULTILINE)), parse(GOOD)
    )


def test_lines_may_end_in_commas() -> None:
    bars = parse((CASES / "ecb_style_trailing_comma_na.csv").read_bytes())
    assert bars.tickers == ("USD", "JPY", "CYP")
    assert bars.dates == ("2026-11-24", "2026-11-25")
    assert same(parse(GOOD.replace("\n", ",,\n")), parse(GOOD))
    # As a spreadsheet writes it that leaves some of them out.
    assert same(parse(GOOD.replace("MSFT\n", "MSFT,,\n")), parse(GOOD))


def test_tickers_that_are_names_of_columns_are_tickers() -> None:
    """Opendoor and Lowe's."""
    assert parse("date,OPEN,LOW\n2026-11-18,1,2\n").tickers == ("OPEN", "LOW")


def test_a_day_in_the_future_is_refused_until_it_has_come() -> None:
    table = parse_table((GOOD + "2026-11-17,1,1\n").encode(), PATH)
    table.check_past("2026-11-19", PATH)
    with pytest.raises(PriceFileError) as caught:
        table.check_past("2026-11-18", PATH)
    assert str(caught.value) == (
        "prices.csv, line 3, column 1: 2026-11-19 is in the future, today is 2026-11-18; "
        "write closed bars only"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Date,aapl,Msft\n2026-11-18,1.5,2\n2026-11-19,1.6,2.5\n",
        ' ,"AAPL", MSFT \n2026-11-18, 1.5,2 \n 2026-11-19,1.6,2.5',
        GOOD.replace("\n", "\n\n"),
        GOOD.replace("date", "é"),
        GOOD.replace("date", "the_date"),
    ],
)
def test_harmless_variations(text: str) -> None:
    assert same(parse(text), parse(GOOD))


@LAW
@given(tables(), st.data())
def test_blank_rows_change_nothing(rows: list[list[object]], data: st.DataObject) -> None:
    """As spreadsheets leave them: below the table, between rows, with or without their commas."""
    lines = table(rows).splitlines(keepends=True)
    width = len(rows[0])
    blank = st.sampled_from(["\n", "  \n", "," * (width - 1) + "\n", " ," * width + "\n", '""\n', ",\n"])
    for _ in range(data.draw(st.integers(1, 4))):
        lines.insert(data.draw(st.integers(1, len(lines))), data.draw(blank))
    assert same(parse("".join(lines)), parse(table(rows)))


def test_a_line_behind_blank_rows_is_still_found() -> None:
    with pytest.raises(PriceFileError, match=r"line 6, column MSFT: 'abc' is not a price"):
        parse(GOOD + ",,\n  \n2026-11-20,1,abc\n")


@pytest.mark.parametrize(
    "name", ["OPEN", "LOW", "HIGH", "CLOSE.L", "ADJ", "VOL", "VOLUME.L", "HIGH-USD", "LOW.DE"]
)
def test_a_name_that_is_also_a_word_of_other_tables(name: str) -> None:
    assert parse(f"date,{name},AAPL\n2026-11-18,1,2\n").tickers == (name, "AAPL")


def test_two_missing_closes_do_not_contradict_each_other() -> None:
    bars = parse("date,A,B\n2026-11-18,,1\n2026-11-18,-1,1\n2026-11-18,0,1.0\n")
    assert bars.dates == ("2026-11-18",)


SEVERAL = (
    "prices.csv, line 1: the column names span several lines, as yfinance writes them; write one table of "
    'closes: yf.download(names, auto_adjust=True)["Close"].to_csv("closes.csv")'
)
BAD = {
    "empty": ("", "prices.csv: the file is empty; its first line must name the columns"),
    "a blank line first": ("\n" + GOOD, "prices.csv: the first line is blank; it must name the columns"),
    "only a BOM": (b"\xef\xbb\xbf", "prices.csv: the file is empty; its first line must name the columns"),
    "header only": ("date,AAPL\n", "prices.csv: no rows below the line of column names"),
    "only dates": (
        "date\n2026-11-18\n",
        "prices.csv, line 1: only one column, 'date'; a date column and one column per ticker are needed",
    ),
    "semicolons": (
        "date;AAPL\n2026-11-18;1,5\n",
        "prices.csv, line 1: the cells are separated by semicolons; separate them by commas",
    ),
    "tabs": (
        "date\tAAPL\n2026-11-18\t1.5\n",
        "prices.csv, line 1: the cells are separated by tabs; separate them by commas",
    ),
    "no header": (
        "2026-11-18,1.5\n",
        "prices.csv, line 1: the first line must name the columns, not start with '2026-11-18'",
    ),
    "bad ticker": (
        "date,AAPL,no such\n",
        f"prices.csv, line 1, column 3: 'no such' is not a ticker: {TICKER_RULE}",
    ),
    "a letter that becomes two": (
        "date,AAPL,Straße\n",
        f"prices.csv, line 1, column 3: 'Straße' is not a ticker: {TICKER_RULE}",
    ),
    "unnamed column": (
        "date,,AAPL\n2026-11-18,,1\n",
        f"prices.csv, line 1, column 2: '' is not a ticker: {TICKER_RULE}",
    ),
    "a close below no name": (
        "date,AAPL,\n2026-11-18,1,2\n",
        "prices.csv, line 2, column 3: '2' is in a column without a name",
    ),
    "more commas than names": (
        "date,AAPL,\n2026-11-18,1,,\n",
        "prices.csv, line 2: 4 cells where the first line has 3",
    ),
    "ticker twice": (
        "date,AAPL,MSFT,aapl\n",
        "prices.csv, line 1, column AAPL: occurs twice; name each ticker once",
    ),
    "too few cells": (GOOD + "2026-11-20,1\n", "prices.csv, line 4: 2 cells where the first line has 3"),
    "too many cells": (GOOD + "2026-11-20,1,2,3\n", "prices.csv, line 4: 4 cells where the first line has 3"),
    "bad date": (
        GOOD + "20.11.2026,1,2\n",
        "prices.csv, line 4, column 1: '20.11.2026' is not a date; write YYYY-MM-DD",
    ),
    "no such day": (
        GOOD + "2026-02-30,1,2\n",
        "prices.csv, line 4, column 1: '2026-02-30' is not a date; write YYYY-MM-DD",
    ),
    "short date": (
        GOOD + "20261120,1,2\n",
        "prices.csv, line 4, column 1: '20261120' is not a date; write YYYY-MM-DD",
    ),
    "week date": (
        GOOD + "2026-W47-5,1,2\n",
        "prices.csv, line 4, column 1: '2026-W47-5' is not a date; write YYYY-MM-DD",
    ),
    "no date": (GOOD + ",1,2\n", "prices.csv, line 4, column 1: '' is not a date; write YYYY-MM-DD"),
    "text": (GOOD + "2026-11-20,1,abc\n", "prices.csv, line 4, column MSFT: 'abc' is not a price"),
    "after a blank line": (
        GOOD + "\n2026-11-20,1,abc\n",
        "prices.csv, line 5, column MSFT: 'abc' is not a price",
    ),
    "after a cell of two lines": (
        'date,A\n"2026-11-18\n",1\n2026-11-19,abc\n',
        "prices.csv, line 4, column A: 'abc' is not a price",
    ),
    "thousands": (
        GOOD + '2026-11-20,1,"1,234.5"\n',
        "prices.csv, line 4, column MSFT: '1,234.5' is not a price; write it without thousands separators",
    ),
    "decimal comma": (
        GOOD + '2026-11-20,1,"2,5"\n',
        "prices.csv, line 4, column MSFT: '2,5' is not a price; write a point before the decimals",
    ),
    "time of day": (
        GOOD + "2026-11-20 16:00:00,1,2\n",
        (
            "prices.csv, line 4, column 1: '2026-11-20 16:00:00' has a time of day, but bars are daily; "
            "write YYYY-MM-DD"
        ),
    ),
    "midnight elsewhere": (
        GOOD + "2026-11-20T05:00:00Z,1,2\n",
        (
            "prices.csv, line 4, column 1: '2026-11-20T05:00:00Z' has a time of day, but bars are daily; "
            "write YYYY-MM-DD"
        ),
    ),
    "one stock": (
        "Date,Open,High,Low,Close,Volume\n2026-11-18,1,1,1,1,9\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "one stock without a close": (
        "Date,Price,Open,High,Low,Vol.,Change %\n2026-11-18,1,1,1,1,9,0\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "one stock's adjusted closes": (
        "date,adj_close\n2026-11-18,1\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "one stock's closes and volume": (
        "Date,Close/Last,Volume\n2026-11-18,1,9\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "a volume beside the closes": (
        "Date,Price,Volume\n2026-11-18,1,9\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "one stock, in Polish": (
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie\n2026-11-18,1,1,1,1\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "one stock, its name on each column": (
        "Index,AAPL.Open,AAPL.High,AAPL.Low,AAPL.Close,AAPL.Volume,AAPL.Adjusted\n2026-11-18,1,1,1,1,9,1\n",
        "prices.csv, line 1: this is the table of one stock; give one column of closes per name",
    ),
    "closes that are called so": (
        "Date,AAPL.Adjusted,MSFT.Adjusted\n2026-11-18,1,1\n",
        "prices.csv, line 1: name each column of closes by its ticker alone, not 'MSFT.ADJUSTED'",
    ),
    "a row per stock": (
        "Date,Symbol,Close\n2026-11-18,AAPL,1\n",
        (
            "prices.csv, line 1: this is a table of one row per stock and day; "
            "give one column of closes per name"
        ),
    ),
    "numbered rows": (
        ",Date,AAPL\n0,2026-11-18,1\n",
        (
            "prices.csv, line 1: the date must be the first column; "
            "write the file without its row numbers (index=False)"
        ),
    ),
    "two lines of names": ("Date,AAPL,MSFT\n,Close,Close\n2026-11-18,1,2\n", SEVERAL),
    "three lines of names": (
        "Price,Close,Close,High\nTicker,AAPL,MSFT,AAPL\nDate,,,\n2026-11-18,1,2,1\n",
        SEVERAL,
    ),
    "three lines of names, nameless": (",Adj Close\n,AAPL\nDate,\n2026-11-18,1\n", SEVERAL),
    "stocks above prices": ("Ticker,AAPL,AAPL\nPrice,Open,Close\nDate,,\n2026-11-18,1,2\n", SEVERAL),
    "underscore": (GOOD + "2026-11-20,1,1_000\n", "prices.csv, line 4, column MSFT: '1_000' is not a price"),
    "other digits": (GOOD + "2026-11-20,1,١٢\n", "prices.csv, line 4, column MSFT: '١٢' is not a price"),
    "hexadecimal": (GOOD + "2026-11-20,1,0x1\n", "prices.csv, line 4, column MSFT: '0x1' is not a price"),
    "currency": (GOOD + "2026-11-20,$1,2\n", "prices.csv, line 4, column AAPL: '$1' is not a price"),
    "a novel": (
        GOOD + f"2026-11-20,{'x' * 1000},2\n",
        f"prices.csv, line 4, column AAPL: '{'x' * 39}... is not a price",
    ),
    "NUL": (GOOD + "2026-11-20,1\0,2\n", "prices.csv, line 4, column AAPL: '1\\x00' is not a price"),
    "not UTF-8": (
        GOOD.encode() + b"2026-11-20,1,\xff\n",
        "prices.csv, line 4: byte b'\\xff' is not UTF-8; save the file as UTF-8",
    ),
    "open quote": (GOOD + '2026-11-20,1,"2\n', "prices.csv, line 4: not a CSV row: unexpected end of data"),
    "endless cell": (
        GOOD + "2026-11-20,1," + "9" * 200_000 + "\n",
        "prices.csv, line 4: not a CSV row: field larger than field limit (131072)",
    ),
    "contradiction": (
        GOOD + "2026-11-18,1.5,3\n",
        "prices.csv, line 4, column MSFT: 3 contradicts 2 of line 2, both for 2026-11-18; keep one",
    ),
    "contradicting gap": (
        GOOD + "2026-11-18,,2\n",
        (
            "prices.csv, line 4, column AAPL: "
            "a missing close contradicts 1.5 of line 2, both for 2026-11-18; keep one"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_in_one_line(text: str | bytes, message: str) -> None:
    with pytest.raises(PriceFileError) as caught:
        parse(text)
    assert str(caught.value) == message
    assert "\n" not in message
    assert caught.value.path == PATH


@LAW
@given(
    st.binary(max_size=200) | st.text(alphabet='date,A1.\n\r"-; 2026\ufeff\0', max_size=80).map(str.encode)
)
def test_whatever_the_bytes_it_is_bars_or_a_price_file_error(content: bytes) -> None:
    try:
        outcome: str | Bars = parse(content)
    except PriceFileError as error:
        outcome = str(error)
    assert len(outcome.splitlines() if isinstance(outcome, str) else outcome.dates[:1]) == 1


@LAW
@given(tables(), st.data())
def test_one_bad_cell_is_found_where_it_is(rows: list[list[object]], data: st.DataObject) -> None:
    row = data.draw(st.integers(1, len(rows) - 1))
    column = data.draw(st.integers(1, len(rows[0]) - 1))
    rows[row][column] = "oops"
    with pytest.raises(PriceFileError, match="'oops' is not a price") as caught:
        parse(table(rows))
    assert (caught.value.line, caught.value.column) == (row + 1, rows[0][column])


def test_a_long_history_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    prices = np.random.default_rng(0).uniform(10.0, 500.0, (8_000, 20)).round(4)
    first = date(1995, 1, 1)
    rows: list[list[object]] = [["date", *(f"T{number}" for number in range(20))]]
    rows += [[(first + timedelta(day)).isoformat(), *closes] for day, closes in enumerate(prices.tolist())]
    path.write_text(table(rows), newline="")
    bars = read_bars(path)
    assert (bars.closes == prices).all()
    assert bars.dates[0] == "1995-01-01"


@pytest.mark.parametrize("names", [OF_THE_WORLD, tuple(FIRST), tuple(f"X{char}Y" for char in ALPHABET)])
def test_names_of_every_exchange_are_columns(names: tuple[str, ...]) -> None:
    header = ",".join(name.lower() for name in names)
    bars = parse_bars(f"date,{header}\n2026-11-18{',1.5' * len(names)}\n".encode(), PATH)
    assert bars.tickers == names


def test_a_file_of_asian_stocks_an_index_and_a_currency_pair() -> None:
    bars = read_bars(CASES / "asian_index_fx_tickers.csv")
    assert bars.tickers == ("0700.HK", "7203.T", "^GSPC", "EURUSD=X")
    assert bars.closes[-1].tolist() == [515.0, 2901.5, 6720.9, 1.0866]
