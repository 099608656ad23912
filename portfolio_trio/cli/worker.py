"""One serving process: plain ``serve``, or one of the workers of a supervisor.

``python -m portfolio_trio.cli.worker NUMBER LINE,LISTENER,... FLAGS`` is how a supervisor starts one: LINE
and LISTENER are inherited descriptors, FLAGS are those of ``serve``.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.cli._entry import guarded
from portfolio_trio.cli.main import PROGRAM
from portfolio_trio.logs import write_log
from portfolio_trio.server.serve import serve
from portfolio_trio.settings import Settings
from portfolio_trio.supervisor.listeners import shown_url
from portfolio_trio.supervisor.notify import tell_ready
from portfolio_trio.telemetry import OFF
from portfolio_trio.telemetry.counting import CountedTelemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

log: Final = logging.getLogger(PROGRAM)

FIRST: Final = "1"


async def serve_alone(settings: Settings) -> None:
    """Serve until a signal, and report where.

    Raises:
        StartError: It cannot start.
    """
    telemetry = _telemetry(settings)
    scrape = None if telemetry is None else partial(_scrape, telemetry)
    alone = partial(serve, settings, telemetry=telemetry or OFF, scrape=scrape)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(alone)
        settle()
        log.info(
            "serving",
            extra={"event": "serving", "url": shown_url(address), "workers": 1},
        )
        tell_ready()


async def serve_for_supervisor(
    settings: Settings, inherited: Sequence[int], *, announcing: bool = True
) -> None:
    """Serve on inherited sockets until a signal, or until the supervisor is gone.

    Args:
        settings: Every setting; host and port are not used.
        inherited: The descriptors of the connection to the supervisor and of the listening sockets.
        announcing: Whether to log which Redis it uses.

    Raises:
        StartError: It cannot start.
    """
    line, *sockets = [_adopt(descriptor) for descriptor in inherited]
    supervisor = trio.SocketStream(line)
    listeners = [trio.SocketListener(each) for each in sockets]
    async with supervisor, trio.open_nursery() as nursery:
        telemetry = _telemetry(settings)
        await nursery.start(
            partial(
                serve,
                settings,
                listeners=listeners,
                announcing=announcing,
                dismissed=partial(_attend, supervisor, telemetry),
                telemetry=telemetry or OFF,
            )
        )
        settle()
        # The end of the supervisor also ends the connection to it.
        with suppress(trio.BrokenResourceError):
            await supervisor.send_all(b"\n")


def _adopt(descriptor: int) -> trio.socket.SocketType:
    adopted = socket.socket(fileno=descriptor)
    # Processes started by a plug-in must not inherit the port or the connection to the supervisor.
    adopted.set_inheritable(False)
    return trio.socket.from_stdlib_socket(adopted)


def _telemetry(settings: Settings) -> CountedTelemetry | None:
    """The counters, if metrics are served."""
    return None if settings.metrics_address is None else CountedTelemetry()


async def _scrape(telemetry: CountedTelemetry) -> bytes:
    # The library takes as long to load as everything else, and few need it.
    from portfolio_trio.telemetry.exposition import expose, families_of  # noqa: PLC0415

    return expose(families_of(telemetry))


async def _attend(supervisor: trio.SocketStream, telemetry: CountedTelemetry | None) -> None:
    """Send the counters to the supervisor whenever it asks, until it is gone."""
    with suppress(trio.BrokenResourceError):
        while await supervisor.receive_some(1):
            await supervisor.send_all(_counted(telemetry))
    log.warning("the supervisor is gone; this worker drains", extra={"event": "supervisor_gone"})


def _counted(telemetry: CountedTelemetry | None) -> bytes:
    if telemetry is None:
        return b"[]\n"
    from portfolio_trio.telemetry.exposition import dumped, families_of  # noqa: PLC0415 - as above

    return dumped(families_of(telemetry)).encode() + b"\n"


def settle() -> None:
    """Tune the garbage collector of a server that is up: full passes are pauses for all its clients."""
    # Objects that exist now stay until the end: collecting them again and again would find no garbage.
    gc.collect()
    gc.freeze()
    # Passes over new objects are frequent and short. When many sessions replace their objects, as at a tick,
    # frees keep the count low that starts a pass, which then finds far more than the threshold: with one of
    # 500 up to 30,000, for 7 ms. Longer passes over older objects are as rare as with 20,000 and 20.
    gc.set_threshold(200, 2_000, 20)


def _work(words: Sequence[str]) -> int:
    number, inherited, *flags = words
    settings = Settings.read(flags, program=f"{PROGRAM} serve")
    write_log(settings.log_level, settings.log_format, worker=int(number), access=settings.access_log)
    # All workers use the same Redis: only one reports on it.
    work = partial(serve_for_supervisor, settings, announcing=number == FIRST)
    trio.run(work, [int(descriptor) for descriptor in inherited.split(",")])
    return 0


if __name__ == "__main__":
    sys.exit(guarded(_work, sys.argv[1:]))
