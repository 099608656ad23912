"""Directories for local Redis servers, removed with the block together with any server in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import trio

from portfolio_trio.local_redis import LocalRedisError, open_local
from portfolio_trio.local_redis._home import Home
from portfolio_trio.local_redis._process import _kill_listener
from tests.support.redis_servers import wait_until


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """A directory that is not there yet."""
    # Paths of Unix sockets are short, pytest's own directories are not.
    with tempfile.TemporaryDirectory(prefix="pl") as parent:
        directory = Path(parent) / "data"
        try:
            yield directory
        finally:
            if directory.exists():
                end_what_runs_in(directory)


def end_what_runs_in(directory: Path) -> None:
    """Kill -9 the Redis of a directory, if there is one."""
    home = Home(directory)
    if runs_in(directory):
        _kill_listener(home)
        wait_until(lambda: not runs_in(directory))


def runs_in(directory: Path) -> bool:
    """Whether a Redis lives there, answering or not."""
    lock = Home(directory).try_engine_lock()
    if lock is None:
        return True
    os.close(lock)
    return False


def want_local_redis() -> None:
    """Skip the test, and say why, where no local Redis can be started."""
    if why := _missing():
        pytest.skip(why)


@cache
def _missing() -> str:
    async def try_it(directory: Path) -> None:
        async with open_local(directory):
            pass

    with fresh_directory() as directory:
        try:
            trio.run(try_it, directory)
        except LocalRedisError as error:
            return str(error)
    return ""
