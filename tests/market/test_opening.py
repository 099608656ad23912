"""From the setting to the source, plug-ins included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from portfolio_trio.market import (
    CsvSource,
    PriceSource,
    PriceSourceSpecError,
    SimulatedSource,
    open_price_source,
)

if TYPE_CHECKING:
    from pathlib import Path

PLUG_IN = """
from portfolio_trio.market import Admission, Unusable
from portfolio_trio.metrics.bars import Bars
import numpy as np

class Constant:
    name = "constant"
    def __init__(self, argument):
        self.price = float(argument)
    async def load(self):
        return Bars(("2026-11-20",), ("AAPL",), np.array([[self.price]]))
    async def quote(self, previous):
        return {"AAPL": self.price}
    def admit(self, ticker):
        return None

def useless(argument):
    return object()
"""

ENTRY_POINTS = """
[portfolio_trio.price_sources]
constant = market_plug_in:Constant
useless = market_plug_in:useless
absent = market_plug_in_that_is_not_there:Constant
"""


def install(folder: Path, name: str, entry_points: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with what an installer would have put there."""
    (tmp_path / "market_plug_in.py").write_text(PLUG_IN)
    install(tmp_path, "market-plug-in", ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def first_prices(source: PriceSource) -> list[float]:
    async def main() -> list[float]:
        closes: list[float] = (await source.load()).closes[-1].tolist()
        return closes

    return trio.run(main)


def test_simulated() -> None:
    default = open_price_source("simulated")
    assert isinstance(default, SimulatedSource)
    assert first_prices(default) == first_prices(SimulatedSource(0))
    assert first_prices(open_price_source(" simulated:-7 ")) == first_prices(SimulatedSource(-7))


def test_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a:b.csv").write_text("date,AAPL\n2026-11-20,3\n")
    source = open_price_source("csv:~/a:b.csv", live_prices="")
    assert isinstance(source, CsvSource)
    assert first_prices(source) == [3.0]
    assert isinstance(open_price_source("csv:none.csv", live_prices="~/live.json"), CsvSource)


def test_a_plug_in_is_called_with_what_follows_the_colon(plug_in: Path) -> None:
    source = open_price_source("constant:12.5")
    assert source.name == "constant"
    assert first_prices(source) == [12.5]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "",
            "no price source is called ''; there are .*, csv:PATH, absent, constant, useless",
        ),
        ("Simulated", "no price source is called 'Simulated'; there are simulated, .*"),
        ("prices.csv", "no price source is called 'prices.csv'; .*"),
        ("csv", "csv needs a file: csv:PATH"),
        ("csv:", "csv needs a file: csv:PATH"),
        ("simulated:x", "simulated needs a whole number as its seed, not 'x'"),
        ("constant:x", r"price source constant \(market_plug_in:Constant\) cannot be used: ValueError.*"),
        ("absent", "price source absent .* cannot be used: ModuleNotFoundError.*"),
        ("useless", r"price source useless \(market_plug_in:useless\) returned no PriceSource"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(plug_in: Path, spec: str, message: str) -> None:
    with pytest.raises(PriceSourceSpecError, match=f"^{message}$"):
        open_price_source(spec)


def test_live_prices_go_with_csv_only() -> None:
    with pytest.raises(PriceSourceSpecError, match="can only be used with csv:PATH, not with 'simulated'"):
        open_price_source("simulated", live_prices="live.json")


def test_two_plug_ins_of_one_name_are_told(plug_in: Path, tmp_path: Path) -> None:
    install(tmp_path, "other", "[portfolio_trio.price_sources]\nconstant = other:Constant\n")
    with pytest.raises(
        PriceSourceSpecError, match=r"more than one .*: market_plug_in:Constant, other:Constant"
    ):
        open_price_source("constant:1")
