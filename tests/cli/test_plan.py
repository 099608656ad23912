"""A plan on the command line, and as a file."""

from __future__ import annotations

import csv
import io
import os
from errno import ENOSPC
from pathlib import Path

import pytest
from rich.console import Console
from trio.testing import MockClock

from portfolio_trio.cli import plan as plan_module
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


@pytest.mark.parametrize("words", [("--cash", "-1e9"), ("--cash=-1e9",), ("--cash", "-1000000000")])
def test_cash_may_be_taken_out_in_any_notation(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def record(*_: object, cash: float, **__: object) -> None:
        asked.append(cash)

    monkeypatch.setattr(plan_module, "plan", record)
    assert main(["plan", URL, *words, "--to", "weights"]) == 0
    assert asked == [-1e9]


def test_cash_without_a_number_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--cash"], ["--cash", "--only-buy"]):
        with pytest.raises(SystemExit):
            main(["plan", URL, "--to", "weights", *words])
        assert "argument --cash: " in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for path, why in (
        (
            tmp_path / "none" / "x",
            f"there is no directory {tmp_path / 'none'}; make it, or name another file",
        ),
        (
            tmp_path / "file" / "x",
            f"there is no directory {tmp_path / 'file'}; make it, or name another file",
        ),
        (tmp_path, "it is a directory; name a file in it"),
        (tmp_path / "file", "permission denied; name another file"),
    ):
        # No server listens at the address of a URL like this.
        assert main(["plan", URL, "--to", "weights", "--csv", str(path)]) == 1
        assert capsys.readouterr().err == f"portfolio-trio: {path} cannot be written: {why}\n"
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.trio
async def test_a_file_that_fails_while_it_is_written_is_named(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    path, said = tmp_path / "trades.csv", io.StringIO()
    async with open_app() as app:
        monkeypatch.setattr(plan_module, "_write", fail)
        with pytest.raises(OSError, match=f"^{path} cannot be written: No space left on device; the plan is"):
            await plan(URL, "weights", path, console=Console(file=said), open_stream=Transport(app).dial)
    assert "turnover" in said.getvalue()


def test_flags_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", URL])
    assert "--to" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["watch", URL, "--follow"])
    assert "--follow needs --ticker" in capsys.readouterr().err
