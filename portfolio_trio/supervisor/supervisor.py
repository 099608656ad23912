"""Several workers on one port: a process that serves nothing itself and keeps them alive.

| supervise               opens the sockets, handles the signals; owns a local Redis
| └─ Supervisor.run
|    ├─ worker 1          starts alone: an error that stops it would stop the others, too
|    └─ worker 2 .. N     each restarted, after a delay, whenever it ends
"""

from __future__ import annotations

import logging
import random
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from portfolio_trio.local_redis import LocalRedisError, at_hand
from portfolio_trio.restart_policy import GiveUp, Restarts, ending
from portfolio_trio.supervisor.child_process import launch_worker
from portfolio_trio.supervisor.listeners import (
    StartError,
    address_of,
    open_listeners,
    shown_url,
    stop_signals,
    stoppable,
)
from portfolio_trio.supervisor.metrics_endpoint import serve_metrics
from portfolio_trio.supervisor.notify import tell_ready

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from portfolio_trio.settings import Settings

log: Final = logging.getLogger(__name__)

MARGIN_SECONDS: Final = 20.0
"""Seconds for a worker in addition to its drain, to close its sockets and its store."""
NOT_STARTED: Final = 1
ANSWER_SECONDS: Final = 2.0
"""Seconds for workers to send their counters: Prometheus itself gives up after ten."""


class Child(Protocol):
    """One worker, as its supervisor uses it, from its start to its end."""

    @property
    def pid(self) -> int:
        """Its process."""

    async def serves(self) -> bool:
        """Wait until it accepts connections; False if it ended before."""

    async def counted(self) -> bytes | None:
        """Request the counters of a serving worker; None if it is gone."""

    async def wait(self) -> int:
        """Wait until it ends; its exit status, or minus the signal that ended it."""

    def send(self, number: signal.Signals) -> None:
        """Signal it; no effect if it has ended."""

    async def aclose(self) -> None:
        """Kill it if it still runs, and release its resources."""


class Supervisor:
    """Keeps workers alive until it is told to stop.

    Args:
        launch: Starts the worker with a number. Raises OSError if the system cannot.
        count: How many.
        restarts: Whether and when a worker that ended is restarted.
        patience: Seconds for the workers to end after a stop, before they are killed.

    Attributes:
        serving: Set when the first worker serves.
        restarts_made: How many times a worker was restarted.
    """

    def __init__(
        self,
        launch: Callable[[int], Awaitable[Child]],
        count: int,
        restarts: Restarts,
        *,
        patience: float,
    ) -> None:
        self.serving = trio.Event()
        self._launch = launch
        self._count = count
        self._restarts = restarts
        self._patience = patience
        self._children: dict[int, Child] = {}
        self._serving: dict[int, Child] = {}
        self.restarts_made = 0
        self._stopping = trio.Event()
        self._first_tried = trio.Event()
        self._gave_up: GiveUp | None = None

    async def run(self) -> int:
        """Run workers until :meth:`stop`, or until the first one cannot start; return the exit status."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep, 1)
            await self._first_tried.wait()
            if self.serving.is_set():
                for number in range(2, self._count + 1):
                    nursery.start_soon(self._keep, number)
        return self._gave_up.status if self._gave_up else 0

    def stop(self) -> None:
        """Tell all workers at the same time to drain; when called again, to end immediately."""
        self._stopping.set()
        for child in self._children.values():
            child.send(signal.SIGTERM)

    async def counted(self) -> dict[str, bytes]:
        """The counters of each serving worker, by its number; workers that do not answer are left out."""
        found: dict[str, bytes] = {}

        async def ask(number: int, child: Child) -> None:
            answer = await child.counted()
            if answer is not None:
                found[str(number)] = answer

        with trio.move_on_after(ANSWER_SECONDS):
            async with trio.open_nursery() as nursery:
                for number, child in sorted(self._serving.items()):
                    nursery.start_soon(ask, number, child)
        return dict(sorted(found.items()))

    async def _keep(self, number: int) -> None:
        while not self._stopping.is_set():
            status = await self._live(number)
            self._first_tried.set()
            if self._stopping.is_set():
                break
            decision = self._restarts.ended(number, status, trio.current_time())
            if isinstance(decision, GiveUp):
                self._gave_up = decision
                break
            log.warning(
                "a worker ended and will be restarted",
                extra={
                    "event": "worker_restarts",
                    "worker": number,
                    "why": ending(status),
                    "delay_seconds": round(decision, 3),
                },
            )
            with trio.move_on_after(decision):
                await self._stopping.wait()
            self.restarts_made += not self._stopping.is_set()

    async def _live(self, number: int) -> int:
        """Run one process of a worker from its start to its end; returns its exit status."""
        try:
            child = await self._launch(number)
        except OSError as error:
            log.error(  # noqa: TRY400 - no traceback helps
                "a worker cannot be started",
                extra={"event": "worker_not_started", "worker": number, "error": str(error)},
            )
            return NOT_STARTED
        self._children[number] = child
        try:
            if self._stopping.is_set():
                # The stop came while it was being started, when there was no process to signal.
                child.send(signal.SIGTERM)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, number, child)
                nursery.start_soon(self._end_when_late, number, child)
                status = await child.wait()
                nursery.cancel_scope.cancel()
            return status
        finally:
            del self._children[number]
            self._serving.pop(number, None)
            await child.aclose()

    async def _hear(self, number: int, child: Child) -> None:
        if await child.serves():
            log.info(
                "a worker serves",
                extra={"event": "worker_serves", "worker": number, "pid": child.pid},
            )
            self._restarts.serves(number, trio.current_time())
            self._serving[number] = child
            self.serving.set()
            self._first_tried.set()

    async def _end_when_late(self, number: int, child: Child) -> None:
        await self._stopping.wait()
        await trio.sleep(self._patience)
        log.error(
            "a worker did not end in time and was killed",
            extra={"event": "worker_killed", "worker": number, "seconds": self._patience},
        )
        child.send(signal.SIGKILL)


async def supervise(settings: Settings, flags: Sequence[str]) -> int:
    """Serve with ``settings.workers`` processes until SIGTERM or SIGINT; return the exit status.

    The first signal makes all workers drain, a second one ends them immediately; the status is then 0. If the
    first worker cannot start, the status is that worker's. The workers share the sockets opened here, so that
    a connection that waits to be accepted survives the end of a worker.

    Args:
        settings: Every setting; host and port are used here, the rest by the workers.
        flags: The flags that the settings were read from; workers read them again.

    Raises:
        StartError: It cannot start.
    """
    if sys.platform == "win32":
        # Descriptors cannot be passed to a child there.
        raise StartError(
            "--workers is not supported on Windows: start several servers, each with its own --port and "
            "the same --redis-url"
        )
    if settings.embedded:
        raise StartError(
            f"{settings.workers} workers need a shared Redis, but the embedded engine lives in one "
            "process: set PORTFOLIO_REDIS_URL (--redis-url), or serve with --workers 1"
        )
    with trio.open_signal_receiver(*stop_signals()) as signals:
        async with stoppable(signals) as serves, _shared_redis(settings) as shared:
            await serves()
            listeners = await open_listeners(settings)
            supervisor = Supervisor(
                partial(launch_worker, flags=[*flags, *shared], listeners=listeners),
                settings.workers,
                Restarts(random.Random()),  # noqa: S311 - spreads delays; no secret hangs on it
                patience=settings.drain_notice_seconds + settings.drain_seconds + MARGIN_SECONDS,
            )
            async with trio.open_nursery() as nursery:
                if settings.metrics_address is not None:
                    scrape = partial(_scrape, supervisor)
                    await nursery.start(serve_metrics, settings.metrics_address, scrape)
                nursery.start_soon(_announce, supervisor, listeners, settings.workers)
                notice = settings.drain_notice_seconds
                nursery.start_soon(_stop_on_signals, signals, supervisor, listeners, notice)
                status = await supervisor.run()
                nursery.cancel_scope.cancel()
        return status


async def _scrape(supervisor: Supervisor) -> bytes:
    """The counters of all processes, each labelled with its ``worker``."""
    # Imported here, because few need it.
    from portfolio_trio.telemetry import exposition  # noqa: PLC0415

    own = [exposition.restarts_family(supervisor.restarts_made), *exposition.process_families()]
    workers = await supervisor.counted()
    return exposition.expose(exposition.merged({**workers, "supervisor": exposition.dumped(own)}))


@asynccontextmanager
async def _shared_redis(settings: Settings) -> AsyncGenerator[list[str]]:
    """The flags that make workers use the Redis that is a child of this process; none without one."""
    named = settings.redis_url.get_secret_value()
    opening = True
    try:
        async with at_hand(named) as url:
            opening = False
            # Not a secret; and of two flags the last one counts.
            yield [] if url == named else ["--redis-url", url]
    except LocalRedisError as error:
        if not opening:
            raise
        raise StartError(f"the store cannot be used: {error}") from error


async def _announce(supervisor: Supervisor, listeners: Sequence[trio.SocketListener], workers: int) -> None:
    url = shown_url(address_of(listeners))
    await supervisor.serving.wait()
    log.info("serving", extra={"event": "serving", "url": url, "workers": workers})
    tell_ready()


async def _stop_on_signals(
    signals: AsyncIterator[int],
    supervisor: Supervisor,
    listeners: Sequence[trio.SocketListener],
    notice: float,
) -> None:
    async with trio.open_nursery() as nursery:
        async for _ in signals:
            log.info("draining; a second signal ends the server immediately", extra={"event": "draining"})
            supervisor.stop()
            nursery.start_soon(_close, listeners, notice)


async def _close(listeners: Sequence[trio.SocketListener], notice: float) -> None:
    # The workers close their copies after the same time; as long as one copy is open, connections would be
    # accepted that nobody serves.
    await trio.sleep(notice)
    for listener in listeners:
        await listener.aclose()
