"""Detecting peers that have vanished silently."""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import trio

from portfolio_trio.http import Disconnected

if TYPE_CHECKING:
    from portfolio_trio.faults import Faults

log: Final = logging.getLogger(__name__)

# Few, because all clients wait while the pings are sent and the pongs read: half a millisecond.
AT_ONCE: Final = 16
# Most pongs are back by then; 10,000 sockets take a second and a half.
PAUSE_SECONDS: Final = 0.0025


class Watched(Protocol):
    """A socket as far as it is needed here."""

    async def ping(self, timeout: float) -> None:  # noqa: ASYNC109 - its expiry ends the connection, too
        """Wait for a pong; abort the connection and raise ``Disconnected`` if none comes in time."""

    def lose(self) -> None:
        """End the socket's session: its peer is gone."""

    def fail(self) -> None:
        """End the socket's session with 1011; cannot fail itself."""


class KeepAlive:
    """Pings every socket; when a peer is gone, ends the session of its socket.

    When a peer vanishes, its connection is aborted at most ``interval + timeout`` seconds later, or a round
    later if its last request is still being answered at that moment: sockets see pongs only while their
    messages are being received.

    One task waits for all sockets, because a separate task would be a tenth of the cost of an idle socket;
    only a ping in flight has its own task, so that no peer waits for another's pong. Where very many sockets
    are due at once, a few of them are pinged at a time: the process would keep what the tasks of all need.

    Args:
        interval: Seconds from one pong, or from the start, to the next ping.
        timeout: Seconds a pong may take.
        faults: Contains errors of one socket.
    """

    def __init__(self, *, interval: float, timeout: float, faults: Faults) -> None:
        self._interval = interval
        self._timeout = timeout
        self._faults = faults
        # All sockets wait equally long, so they are due in the order of arrival.
        self._due: OrderedDict[Watched, float] = OrderedDict()
        self._pinging: set[Watched] = set()
        self._news = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        """How many sockets are watched."""
        return len(self._due) + len(self._pinging)

    def watch(self, socket: Watched) -> None:
        """Ping a socket from now on, until its peer is lost or it is forgotten."""
        self._due[socket] = trio.current_time() + self._interval
        if self._news:
            self._news.unpark_all()

    def forget(self, socket: Watched) -> None:
        """Stop pinging a socket; it need not be watched."""
        self._due.pop(socket, None)
        self._pinging.discard(socket)

    async def run(self) -> NoReturn:
        """Ping the sockets that are due, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wait()
                now, begun = trio.current_time(), 0
                while self._due and next(iter(self._due.values())) <= now:
                    socket, _ = self._due.popitem(last=False)
                    self._pinging.add(socket)
                    nursery.start_soon(self._ping, socket)
                    begun += 1
                    if begun % AT_ONCE == 0:
                        await trio.sleep(PAUSE_SECONDS)

    async def _wait(self) -> None:
        while not self._due:
            await self._news.park()
        # Sockets added meanwhile are due later.
        await trio.sleep_until(next(iter(self._due.values())))

    async def _ping(self, socket: Watched) -> None:
        # An error of one socket must not end the keepalive of all.
        with self._faults.contained("keepalive", instead=partial(self._give_up, socket)):
            if socket not in self._pinging:
                return
            try:
                await socket.ping(self._timeout)
            except Disconnected:
                log.debug("a peer is gone", extra={"event": "peer_gone"})
                alive = False
            else:
                alive = True
            if socket not in self._pinging:
                return
            self._pinging.discard(socket)
            if alive:
                self.watch(socket)
            else:
                socket.lose()

    def _give_up(self, socket: Watched) -> None:
        """A ping failed with an error, so whether the peer is alive is unknown."""
        self.forget(socket)
        socket.fail()
