"""At most one run per socket: starting, stopping, restarting and clearing it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.session.run_task import RunTask
from portfolio_trio.session.waiting import Waiting
from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.run_state import Run
    from portfolio_trio.metrics import AnalysisInputs
    from portfolio_trio.protocol.messages import AnalysisCancelled
    from portfolio_trio.protocol.requests import Analyze
    from portfolio_trio.session.socket_state import Socket


class Runner:
    """The runs of one socket, one after another; a `SessionRunner`.

    Args:
        socket: The socket.
        nursery: The connection's nursery; it ends the run with the connection.
    """

    def __init__(self, socket: Socket, nursery: trio.Nursery) -> None:
        self._socket = socket
        self._nursery = nursery
        self._task: RunTask | None = None
        # A followed analysis between two runs.
        self._waiting: Waiting | None = None
        # What the task of the present run does when that has ended.
        self._ahead: tuple[Analyze, float] | None = None

    @property
    def run(self) -> Run | None:
        """The run whose task has not ended yet."""
        return None if self._task is None else self._task.run

    @property
    def running(self) -> int | None:
        """The number of the run, if it is open and has one."""
        run = self.run
        return run.run_id if run is not None and run.may_send else None

    def start(self, request: Analyze, read_at: float) -> None:
        """Start an analysis, whose request was read at this moment, in the connection's nursery.

        Raises:
            RuntimeError: The task of the previous run has not ended.
        """
        if self._task is not None:
            raise RuntimeError(f"{self._task.run} has not ended")
        # Created here and not in its task, which can be cancelled before its first step.
        self._task = RunTask(self._socket, request, read_at)
        self._nursery.start_soon(self._carry_out, self._task)

    async def switch(self, request: Analyze, read_at: float) -> AnalysisCancelled | None:
        """End the run, wait until nothing of it is left, and start another one; return the last event.

        The new run begins in the task of the old one, in the step in which that ends: two passes of the
        scheduler earlier than the caller could start it.
        """
        if self._task is None:
            await self.stop(EndReason.SWITCHED)
            self.start(request, read_at)
            return None
        self._ahead = request, read_at
        try:
            return await self.stop(EndReason.SWITCHED)
        finally:
            # Of a caller that was cancelled nothing starts.
            self._ahead = None

    async def stop(
        self, reason: EndReason, *, canceller: Canceller | None = None
    ) -> AnalysisCancelled | None:
        """As `SessionRunner.stop`."""
        if self._waiting is not None:
            self._waiting.end(reason, canceller)
            self._waiting = None
        task = self._task
        if task is None:
            return None
        task.stop(reason, canceller)
        if reason is EndReason.SUPERSEDED:
            # The socket that takes over may close before its own run replaces this one in the document.
            task.clears = True
        await task.ended.wait()
        return task.last

    async def cancel(self, run_id: int) -> AnalysisCancelled | None:
        """End the run as `stop` does, if this is its number, or was before a restart."""
        follows = self._waiting is not None and self._waiting.last.run_id == run_id
        if not follows and (self._task is None or run_id not in self._task.run_ids):
            return None
        return await self.stop(EndReason.CANCELLED)

    async def supersede(self, run_id: int, standing: int | None = None) -> None:
        """As `SessionRunner.supersede`."""
        if self._waiting is not None and run_id > self._waiting.last.run_id:
            await self.stop(EndReason.SUPERSEDED)
        run = self.run
        if run is None or run.run_id is None or run.run_id >= run_id:
            return
        if standing is None or standing == run.run_id:
            await self.stop(EndReason.SUPERSEDED)

    def renew(self, version: int, standing: int | None = None) -> None:
        """As `SessionRunner.renew`."""
        self._wake()
        task = self._task
        # A run without a number finds out when it gets one.
        if task is None or task.version is None or task.version >= version:
            return
        if standing is None or standing == task.run.run_id:
            task.restart()

    def reprice(self, prices: Mapping[str, float]) -> None:
        """Restart the run if prices have moved its portfolio by more than the tolerance.

        The prices are those of a newer tick, for which a followed analysis waits.
        """
        self._wake()
        task = self._task
        if task is None or task.inputs is None:
            return
        if _drift(task.inputs, prices) > self._socket.services.settings.freshness_tolerance:
            task.restart()

    def decide(self, reason: EndReason) -> None:
        """Decide the end of the run: from here on none of its frames are queued or taken for sending."""
        if self._waiting is not None:
            self._waiting.end(reason)
            self._waiting = None
        if self._task is not None:
            self._task.decide(reason)

    async def idle(self) -> None:
        """Wait until the present run has ended."""
        if self._task is not None:
            await self._task.ended.wait()

    async def clear(self) -> None:
        """As `SessionRunner.clear`."""
        await self._socket.clear(self.run)

    def unfollow(self) -> None:
        """Start no more runs automatically."""
        if self._task is not None:
            self._task.following = False
        if self._waiting is not None:
            self._waiting.end(EndReason.DRAINING)
            self._waiting = None

    def is_for(self, request_id: str | int) -> bool:
        """Whether the present run, or the one waiting for the next tick, was requested with this id."""
        requests = (each.request for each in (self._task, self._waiting) if each is not None)
        return any(request.id == request_id for request in requests)

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.wake()

    async def _carry_out(self, task: RunTask) -> None:
        """One run, those that it is switched to, and if followed one after each tick and each change."""
        following: RunTask | None = task
        while following is not None:
            task = following
            try:
                await task.carry_out()
            finally:
                # Even after a failure: other sockets wait for this, and hold the start lock meanwhile.
                task.pass_turn()
                self._task = None
                task.ended.set()
            following = self._switched() or await self._next(task)
        if task.clears:
            await self._quietly_clear()

    def _switched(self) -> RunTask | None:
        """The run that was requested instead of the one that has ended."""
        if self._ahead is None:
            return None
        request, read_at = self._ahead
        self._ahead, self._task = None, RunTask(self._socket, request, read_at)
        return self._task

    async def _next(self, task: RunTask) -> RunTask | None:
        """The run that follows a completed one, once there is a newer tick or version; None for none."""
        if not task.is_followed or task.seen is None:
            return None
        waiting = self._waiting = Waiting(self._socket, task.request, task.seen)
        with waiting.scope:
            await waiting.newer()
        if waiting.scope.cancel_called:
            waiting.pass_turn()
            return None
        self._waiting = None
        self._task = RunTask(self._socket, task.request, waiting=waiting)
        return self._task

    async def _quietly_clear(self) -> None:
        try:
            await self.clear()
        except StoreError:
            # It is tried once more when the connection ends.
            return


def _drift(inputs: AnalysisInputs, prices: Mapping[str, float]) -> float:
    """The change of a portfolio's net value from its snapshot to other prices, as a fraction of gross value.

    Relative to gross value, because the net value of a long-short portfolio may be zero. A price that no
    longer exists counts as an infinite change.
    """
    held = zip(inputs.tickers, map(float, inputs.shares), map(float, inputs.values), strict=True)
    moved = sum(shares * prices.get(ticker, math.inf) - value for ticker, shares, value in held)
    return abs(moved) / inputs.gross if math.isfinite(moved) else math.inf
