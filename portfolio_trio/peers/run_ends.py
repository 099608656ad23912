"""Waiting for the worker that ran a run to report its end; if it does not, the document is read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.peers.document_reader import RETRY_SECONDS, Waited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio.hub.hub import Hub
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.peers.document_reader import DocumentReader

# Seconds of waiting for the end of a run after which the document is read for the first time.
LOOK_SECONDS: Final = 0.25
# Seconds of waiting for the worker that ran it to report its end, before any end in the document is shown.
HOLD_SECONDS: Final = 2.0
# Seconds of waiting if the document has no report of that worker; by then it is lost, or has reported.
WORD_SECONDS: Final = 10.0
# A wait that ends so many seconds late means that the process was stopped.
STOPPED_SECONDS: Final = 1.0


class RunEnds:
    """Shows the sockets the ends of runs that are not reported in time.

    Args:
        hub: The sockets.
        documents: Reads the documents.
    """

    def __init__(self, hub: Hub, documents: DocumentReader) -> None:
        self._hub = hub
        self._documents = documents

    async def find(self, group: SessionGroup, run_id: int) -> None:
        """Wait for the end of a run; if it is not reported, show the one in the document.

        After `WORD_SECONDS` that may be an end recorded by another worker than the one that ran it.
        A run whose start has not been seen within `HOLD_SECONDS` is not waited for any longer.
        """
        until = trio.current_time() + WORD_SECONDS
        while not group.sequencer.is_over(run_id):
            if await _within(HOLD_SECONDS, partial(group.wait_over, run_id)):
                return
            waited = _waited(group, until)
            await self._documents.read_quietly(group, again=False, waited=waited)
            if waited is Waited.OUT or not group.sequencer.is_open(run_id):
                return

    async def resolve(self, group: SessionGroup, run_id: int) -> None:
        """Find out how a run that is open here ended, while later events wait for that."""
        until = trio.current_time() + WORD_SECONDS
        if await _ended_within(LOOK_SECONDS, group, run_id):
            return
        # In a busy session its end does not stay in the document for long.
        while not await self._documents.read_quietly(group, again=False, waited=Waited.SHORT):
            if await _ended_within(RETRY_SECONDS, group, run_id):
                return
            if trio.current_time() >= until:
                break
        while group.sequencer.is_open(run_id) and self._hub.group(group.session_id) is group:
            if await _ended_within(HOLD_SECONDS, group, run_id):
                return
            waited = _waited(group, until)
            await self._documents.read_quietly(group, again=False, waited=waited)
            if group.sequencer.awaited is None:
                return


def _waited(group: SessionGroup, until: float) -> Waited:
    """How long an end has been waited for: no longer than there is somebody to report it."""
    return Waited.OUT if trio.current_time() >= until or group.peers.are_unreachable else Waited.LONG


async def _ended_within(seconds: float, group: SessionGroup, run_id: int) -> bool:
    """Wait for the end of a run; False if the sockets have not seen it after so many seconds."""
    return await _within(seconds, partial(group.wait_ended, run_id))


async def _within(seconds: float, wait: Callable[[], Awaitable[None]]) -> bool:
    """Wait for something; False if it has not come after so many seconds.

    If this process was stopped meanwhile, what was sent to it is still to be read: it waits once more.
    """
    while True:
        due = trio.current_time() + seconds
        with trio.move_on_at(due):
            await wait()
            return True
        if trio.current_time() - due < STOPPED_SECONDS:
            return False
