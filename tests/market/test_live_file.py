"""The file of live prices: a bad name affects only itself, a bad file affects nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.market import PriceFileError, Unusable
from portfolio_trio.market._live_file import parse_live
from tests.market.laws import LAW
from tests.support.tickers import TICKERS

PATH = Path("live.json")
PRICES = st.dictionaries(TICKERS, st.floats(1e-6, 1e9), max_size=8)


@LAW
@given(PRICES, st.sampled_from([None, 0, 2]))
def test_what_is_written_is_what_is_read(prices: dict[str, float], indent: int | None) -> None:
    assert parse_live(json.dumps(prices, indent=indent).encode(), PATH) == {
        ticker: canonical(price) for ticker, price in prices.items()
    }


@LAW
@given(PRICES, st.data())
def test_half_a_file_is_never_used(prices: dict[str, float], data: st.DataObject) -> None:
    content = json.dumps(prices).encode()
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(PriceFileError, match=r"^live\.json: not JSON, or only half written"):
        parse_live(content[:cut], PATH)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "0.0 is not a price"),
        ("-1", "-1.0 is not a price"),
        ("NaN", "nan is not a price"),
        ("Infinity", "inf is not a price"),
        ("-Infinity", "-inf is not a price"),
        ("1e999", "inf is not a price"),
        ("1e300", "1e+300 is not a price"),
        ("1.1e15", "1100000000000000.0 is not a price"),
        ("9" * 5000, "inf is not a price"),
        ("true", "True is not a price"),
        ("null", "None is not a price"),
        ('"130.1"', "'130.1' is not a price"),
        ("[1]", "[1.0] is not a price"),
        ('{"a": 1}', "(('a', 1.0),) is not a price"),
        ('1, "MSFT": 1', "given twice in the live prices"),
        ('1, "msft": 2', "given twice in the live prices"),
    ],
)
def test_a_bad_value_spoils_only_its_own_name(value: str, reason: str) -> None:
    content = f'{{"AAPL": 130.1, "MSFT": {value}, "V": 7}}'.encode()
    assert parse_live(content, PATH) == {"AAPL": 130.1, "MSFT": Unusable(reason), "V": 7.0}


def test_names_are_upper_cased_and_what_is_no_ticker_is_left_out() -> None:
    content = b'\xef\xbb\xbf{"aapl": 1, " msft ": 2, "no such": 3, "": 4}'
    assert parse_live(content, PATH) == {"AAPL": 1.0, "MSFT": 2.0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{'AAPL': 1}",
        b'{"AAPL": 1,}',
        b'{"AAPL": 1}}',
        b'{"AAPL": 1}{"AAPL": 2}',
        b'{"\xff": 1}',
        b'{"AAPL": 1}\0',
        b'{"A": ' * 100_000,
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(PriceFileError, match="not JSON") as caught:
        parse_live(content, PATH)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"AAPL"', b'[["AAPL", 1]]'])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(PriceFileError, match="must hold one JSON object"):
        parse_live(content, PATH)


@LAW
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,AB1.e-N\\u0', max_size=40).map(str.encode))
def test_whatever_the_bytes_it_is_prices_or_a_price_file_error(content: bytes) -> None:
    message, prices = "", {}
    try:
        prices = parse_live(content, PATH)
    except PriceFileError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    assert all(isinstance(price, Unusable) or price > 0.0 for price in prices.values())
