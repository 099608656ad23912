from __future__ import annotations

import re

import pytest
from hypothesis import given

from portfolio_trio.tickers import TICKER_PATTERN, is_ticker, ticker_of
from tests.support.tickers import NO_TICKERS, OF_THE_WORLD, TICKERS


@pytest.mark.parametrize("name", OF_THE_WORLD)
def test_names_of_the_world_are_tickers(name: str) -> None:
    assert is_ticker(name)
    assert re.search(TICKER_PATTERN, name)
    assert ticker_of(name.lower()) == name


@pytest.mark.parametrize("name", NO_TICKERS)
def test_other_names_are_none(name: str) -> None:
    assert not is_ticker(name)
    assert ticker_of(name) is None


@given(TICKERS)
def test_any_ticker_is_one(name: str) -> None:
    assert is_ticker(name)
    assert ticker_of(name.lower()) == ticker_of(name) == name
