"""A Redis that is restarted whenever it ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.local_redis._errors import LocalRedisError
from portfolio_trio.restart_policy import GiveUp, ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio.local_redis._home import Home
    from portfolio_trio.restart_policy import Restarts

log: Final = logging.getLogger(__name__)

_THE_ONE: Final = 1


class Engine(Protocol):
    """One Redis, from its start to its end, as the keeper uses it."""

    @property
    def pid(self) -> int:
        """Its process."""

    async def serves(self) -> bool:
        """Wait until it answers; False if it ended before, or will never answer."""

    async def wait(self) -> int:
        """Wait until it ends; its exit status, or minus the signal that ended it."""

    async def aclose(self) -> None:
        """End it if it still runs."""


async def keep(
    home: Home,
    launch: Callable[[], Awaitable[Engine]],
    restarts: Restarts,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a Redis running until cancelled; started when it answers for the first time.

    Args:
        home: The directory.
        launch: Starts a new one.
        restarts: The delays before restarts.
        task_status: Told of the first answer.

    Raises:
        LocalRedisError: The first one cannot be started. Later ones are retried until one starts.
    """
    serving = _Once(task_status.started)
    while True:
        why = await _live(home, launch, restarts, serving)
        decision = restarts.ended(_THE_ONE, 0, trio.current_time())
        if isinstance(decision, GiveUp):
            raise LocalRedisError(f"Redis in {home.directory} {why}")
        log.error(
            "Redis is not running and will be restarted",
            extra={
                "event": "redis_restarts",
                "why": why,
                "directory": str(home.directory),
                "delay_seconds": round(decision, 3),
            },
        )
        await trio.sleep(decision)


class _Once:
    """A callable that only works the first time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


async def _live(
    home: Home, launch: Callable[[], Awaitable[Engine]], restarts: Restarts, serving: Callable[[], None]
) -> str:
    """Run one Redis from its start to its end; returns why it ended."""
    try:
        engine = await launch()
    except LocalRedisError as error:
        return f"cannot be started: {error}"
    try:
        if not await engine.serves():
            return f"does not start: {home.last_words()}"
        log.info(
            "Redis serves",
            extra={"event": "redis_serves", "directory": str(home.directory), "pid": engine.pid},
        )
        restarts.serves(_THE_ONE, trio.current_time())
        serving()
        return ending(await engine.wait())
    finally:
        await engine.aclose()
