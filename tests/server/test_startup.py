"""The default holdings of a new session, and the start-up messages about prices and addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portfolio_trio.market import PriceBook
from portfolio_trio.server.startup import open_book, settle_holdings, shown_holdings
from portfolio_trio.settings import Settings
from portfolio_trio.supervisor.listeners import StartError, open_listeners

NOW = 1_672_272_000.0
"""2022-12-29, the day after the newest close of the sample."""
SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "closes.csv"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from the environment of the tests."""
    monkeypatch.chdir(tmp_path)


async def settled(prices: Path | str, **fields: Any) -> tuple[Settings, PriceBook]:
    settings = Settings(prices=f"csv:{prices}", **fields)
    book = await open_book(settings, None, lambda: NOW)
    return settle_holdings(settings, book), book


@pytest.mark.trio
async def test_the_sample_serves_as_it_is() -> None:
    settings, _ = await settled(SAMPLE)
    assert settings.default_holdings == {"AAPL": 100, "MSFT": 75}
    assert shown_holdings(settings.default_holdings) == "100 AAPL, 75 MSFT"


@pytest.mark.trio
async def test_a_file_with_none_of_the_usual_names_begins_with_its_first_three(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "date,CASH,ENDED,A,B,C,D\n2022-01-03,1,5,1,2,3,4\n2022-12-27,1,,1,2,3,4\n2022-12-28,1,,1,2,3,4\n"
    )
    settings, book = await settled(tmp_path / "p.csv", cash=())
    assert "ENDED" not in book.current.prices
    assert settings.default_holdings == {"CASH": 100, "A": 100, "B": 100}


@pytest.mark.trio
async def test_the_first_three_are_of_those_with_live_prices(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("date,OLD,A,B,C\n2022-12-27,1,1,2,3\n2022-12-28,1,1,2,3\n")
    live = tmp_path / "live.json"
    live.write_text('{"A": 1.5, "C": 3.5}')
    settings, book = await settled(tmp_path / "p.csv", live_prices=str(live))
    assert list(book.current.stale_prices) == ["OLD", "B"]
    assert settings.default_holdings == {"A": 100, "C": 100}


@pytest.mark.trio
async def test_what_is_set_is_not_changed(tmp_path: Path) -> None:
    settings, _ = await settled(SAMPLE, default_holdings={"JPM": 1})
    assert settings.default_holdings == {"JPM": 1}
    assert (await settled(SAMPLE, default_holdings={}))[0].default_holdings == {}
    with pytest.raises(StartError, match="PORTFOLIO_DEFAULT_HOLDINGS: GOOGL has no price"):
        await settled(SAMPLE, default_holdings={"AAPL": 1, "GOOGL": 1})


@pytest.mark.trio
async def test_no_price_at_all_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("date,A,B\n2022-12-27,,\n2022-12-28,,\n")
    with pytest.raises(StartError, match="there are no prices"):
        await settled(tmp_path / "p.csv")


def test_many_holdings_are_not_all_named() -> None:
    shown = shown_holdings({f"T{n}": 1.5 for n in range(20)})
    assert shown.startswith("1.5 T0, ")
    assert shown.endswith(", and 12 more names")
    assert shown_holdings({}) == "nothing"


@pytest.mark.trio
async def test_an_address_that_is_not_ours_is_told_of_hosts_and_not_of_ports() -> None:
    # TEST-NET-1, which no machine has.
    with pytest.raises(StartError, match=r"--host needs an address of this machine, such as 127\.0\.0\.1"):
        await open_listeners(Settings(host="192.0.2.1", port=0, insecure=True))
