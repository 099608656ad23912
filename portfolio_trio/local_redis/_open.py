"""From ``local:DIRECTORY`` to a Redis that answers and is kept running."""

from __future__ import annotations

import logging
import random
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portfolio_trio.local_redis._binaries import INSTALL, recipes
from portfolio_trio.local_redis._errors import LocalRedisError
from portfolio_trio.local_redis._home import claim
from portfolio_trio.local_redis._keeper import keep
from portfolio_trio.local_redis._process import FLEETING, ask, launch_redis
from portfolio_trio.nurseries import background
from portfolio_trio.restart_policy import Restarts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from portfolio_trio.local_redis._binaries import Recipe
    from portfolio_trio.local_redis._home import Home

log: Final = logging.getLogger(__name__)

SCHEME: Final = "local:"
DEFAULT_DIRECTORY: Final = "portfolio-data"


def directory_of(url: str) -> Path | None:
    """The directory of ``local:DIRECTORY``, made absolute; None for any other URL.

    Raises:
        ValueError: It has another form, or this system does not support it.
    """
    if not url.startswith(SCHEME):
        return None
    if sys.platform == "win32":
        raise ValueError("local: is not supported on Windows: use embedded:// or redis://")
    path = url.removeprefix(SCHEME) or DEFAULT_DIRECTORY
    if "\0" in path or (path.startswith("//") and not path.startswith("///")):
        raise ValueError("write local:data or local:/var/lib/data, a directory without // before it")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"local:{path} does not name a directory: {error}") from error


@asynccontextmanager
async def at_hand(url: str) -> AsyncGenerator[str]:
    """The URL to connect to, for the length of the block: starts a local Redis, returns other URLs unchanged.

    Raises:
        ValueError: See :func:`directory_of`.
        LocalRedisError: See :func:`open_local`.
    """
    directory = directory_of(url)
    if directory is None:
        yield url
        return
    async with open_local(directory) as opened:
        yield opened


@asynccontextmanager
async def open_local(
    directory: Path, ways: Sequence[Recipe] | None = None, *, rng: random.Random | None = None
) -> AsyncGenerator[str]:
    """Run a Redis with JSON that keeps its data in a directory, for the length of the block; yields its URL.

    It answers when the block begins, is restarted whenever it ends, and has saved its data when the block
    ends.

    Args:
        directory: Absolute; created if necessary. Only one server at a time can use it.
        ways: The ways to start a Redis; by default those found on this machine.
        rng: Randomises the delays before restarts.

    Raises:
        LocalRedisError: The directory cannot be used, or there is no Redis that starts and has JSON.
    """
    with claim(directory) as home:
        recipe = await _choose(home, recipes() if ways is None else ways)
        # S311: it is not used for secrets.
        restarts = Restarts(rng or random.Random())  # noqa: S311
        async with background() as tasks:
            await tasks.start(keep, home, partial(launch_redis, home, recipe), restarts)
            yield home.url


async def _choose(home: Home, ways: Sequence[Recipe]) -> Recipe:
    """The first way that gives a Redis with JSON, tried with temporary data."""
    for recipe in ways:
        engine = await launch_redis(home, recipe, FLEETING)
        try:
            # The newest command that the scripts need: RedisJSON has it since version 2.6.
            if await engine.serves() and (await ask(home, b"JSON.MSET try $ 1")).startswith(b"+OK"):
                return recipe
        finally:
            await engine.aclose()
    found = ", ".join(dict.fromkeys(str(recipe.server) for recipe in ways))
    which = f"{found} does not start with JSON (see {home.log})" if found else "no redis-server was found"
    raise LocalRedisError(f"{which}: {INSTALL}")
