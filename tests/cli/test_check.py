"""``portfolio-trio check``: its findings and its exit status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trio.testing import MockClock

from portfolio_trio.cli.check import CheckError, check
from portfolio_trio.cli.main import main
from portfolio_trio.redis import open_redis
from tests.store.engines import Engine
from tests.support.processes import json_or_skip
from tests.support.redis_servers import Server, command_without_json, private_server


@pytest.mark.trio
async def test_an_engine_that_serve_can_use(engine: Engine) -> None:
    lines: list[str] = []
    await check(engine.url, lines.append)
    said = ["connected", "JSON,", "scripts", "pub/sub", "round"]
    if engine.name == "server":
        said[1:1] = ["JSON", "persistence", "memory", "role"]
    assert [line.split()[0] for line in lines] == said
    assert not any("unknown" in line for line in lines)
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
async def test_a_user_who_may_not_ask_hears_unknown_and_a_full_answer_otherwise() -> None:
    with private_server(json_or_skip(), "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        server.do("ACL SETUSER", "blind", "on", ">secret", "~*", "&*", "+@all", "-info", "-config")
        lines: list[str] = []
        await check(server.url, lines.append)
        assert "allkeys-lru" in next(line for line in lines if line.startswith("memory"))
        assert "sessions could vanish" in next(line for line in lines if line.startswith("warning"))
        lines.clear()
        await check(f"unix://blind@{server.socket}?password=secret", lines.append)
        unknown = [line.split()[0] for line in lines if line.rstrip().endswith("unknown")]
        assert unknown == ["JSON", "persistence", "memory", "role"]
        assert not any("secret" in line for line in lines)
        assert lines[-1].startswith("round trip")


@pytest.mark.trio
async def test_a_script_that_leaves_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portfolio_trio.store.PortfolioStore.revalue", _does_nothing)
    with pytest.raises(CheckError, match="the scripts left"):
        await check("embedded://", lambda _line: None)


async def _does_nothing(*_args: object, **_more: object) -> None:
    return None


@pytest.mark.trio
async def test_batches_that_do_not_arrive_are_noticed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portfolio_trio.store.Workers.send_batch", _does_nothing)
    with pytest.raises(CheckError, match="allow channels"):
        await check("embedded://", lambda _line: None)
