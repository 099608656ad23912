"""A plan on the command line, and as a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console
from trio.testing import MockClock

from portfolio_trio.cli.main import main
from portfolio_trio.cli.plan import plan
from portfolio_trio.client import RequestFailed
from tests.support.app import open_app
from tests.support.client import Transport

URL = "ws://memory/ws/s"


@pytest.mark.trio
async def test_the_trades_are_printed_and_written(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_app(market_update_interval_seconds=3_600) as app:
        client = await app.connect()
        await client.ask("set_targets", weights={"AAPL": 1, "TSLA": 1})
        said, path = io.StringIO(), tmp_path / "trades.csv"
        dial = Transport(app).dial
        console = Console(file=said, width=120)
        await plan(URL, "weights", path, cash=1_000, whole_shares=True, console=console, open_stream=dial)
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert {row["ticker"] for row in rows} == {"AAPL", "GOOGL", "MSFT", "TSLA"}
        assert all(float(row["shares"]).is_integer() for row in rows)
        for row in rows:
            assert row["ticker"] in said.getvalue()
        assert "cash left" in said.getvalue()
        answer = await client.ask("plan", to="weights", cash=1_000, whole_shares=True)
        assert [float(row["shares"]) for row in rows] == [line["shares"] for line in answer["lines"]]


@pytest.mark.trio
async def test_what_cannot_be_planned_is_an_error(autojump_clock: MockClock) -> None:
    async with open_app(default_holdings={"AAPL": -1}) as app:
        dial = Transport(app).dial
        with pytest.raises(RequestFailed, match="not_long_only"):
            await plan(URL, "weights", cash=1.0, only_buy=True, open_stream=dial)


def test_flags_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", URL])
    assert "--to" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["watch", URL, "--follow"])
    assert "--follow needs --ticker" in capsys.readouterr().err
