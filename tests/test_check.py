"""``portfolio-trio check``: what it finds, and what its exit status says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trio.testing import MockClock

from portfolio_trio.check import CheckError, check
from portfolio_trio.cli import main
from portfolio_trio.redis import open_redis
from tests.store.engines import Engine
from tests.support.redis_servers import Server, command_without_json, private_server


@pytest.mark.trio
async def test_an_engine_that_serve_can_use(engine: Engine) -> None:
    lines: list[str] = []
    await check(engine.url, lines.append)
    assert [line.split()[0] for line in lines] == ["connected", "JSON,", "scripts", "pub/sub", "round"]
    async with open_redis(engine.url) as client:
        assert await client.keys("portfolio:{check-*") == []


def test_the_exit_status_says_whether_serve_would_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "embedded engine" in capsys.readouterr().out
    assert main(["check", "--redis-url", "redis://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "serve would not work" in said
    assert len(said.splitlines()) == 1


@pytest.fixture
def without_json() -> Iterator[Server]:
    command = command_without_json()
    if command is None:
        pytest.skip("no server without JSON here: install the test extra again")
    with private_server(command) as server:
        yield server


def test_a_server_without_json_is_one_line_that_says_what_to_do(
    without_json: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["check"], ["serve", "--port", "0"]):
        assert main([*command, "--redis-url", without_json.url]) == 1
        said = capsys.readouterr().err
        assert "JSON" in said
        assert "Redis 8" in said
        assert len(said.splitlines()) == 1


@pytest.mark.trio
async def test_a_script_that_leaves_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portfolio_trio.store.PortfolioStore.revalue", _does_nothing)
    with pytest.raises(CheckError, match="the scripts left"):
        await check("embedded://", lambda _line: None)


async def _does_nothing(*_args: object, **_more: object) -> None:
    return None


@pytest.mark.trio
async def test_letters_that_do_not_arrive_are_noticed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portfolio_trio.store.Workers.post", _does_nothing)
    with pytest.raises(CheckError, match="allow channels"):
        await check("embedded://", lambda _line: None)
