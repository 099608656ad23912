"""A worker, as used by its supervisor: a process, and a connection to it.

The connection is a pair of sockets. The worker sends one byte when it serves; from then on each byte of the
supervisor requests its counters, and is answered with one line of text. The end of the connection tells each
side that the other is gone, however it ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

KILLED_SECONDS: Final = 5.0
LINE_CHUNK: Final = 65_536
LONGEST_LINE: Final = 4_000_000


class WorkerProcess:
    """A running worker process."""

    def __init__(self, process: trio.Process, line: trio.SocketStream) -> None:
        self._process = process
        self._line = line
        self._asking = trio.Lock()
        # The beginning of an answer, and whether one is pending: its request may have been abandoned.
        self._heard = b""
        self._awaited = False

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def serves(self) -> bool:
        """Wait until it accepts connections; False if it ended before."""
        try:
            return bool(await self._line.receive_some(1))
        except trio.BrokenResourceError:
            return False

    async def counted(self) -> bytes | None:
        """Request the counters of a serving worker; None if it is gone. May be cancelled and repeated."""
        async with self._asking:
            try:
                if self._awaited:
                    # The answer to an abandoned request: too old by now.
                    await self._hear_line()
                await self._line.send_all(b"?")
                self._awaited = True
                return await self._hear_line()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None

    async def _hear_line(self) -> bytes:
        while b"\n" not in self._heard:
            more = bytes(await self._line.receive_some(LINE_CHUNK))
            if not more or len(self._heard) > LONGEST_LINE:
                raise trio.BrokenResourceError
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        self._awaited = False
        return line

    async def wait(self) -> int:
        """Wait until it ends; its exit status, or minus the signal that ended it."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal it; no effect if it has ended."""
        self._process.send_signal(number)

    async def aclose(self) -> None:
        """Kill it if it still runs, and close the connection."""
        with trio.move_on_after(KILLED_SECONDS, shield=True):
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await self._line.aclose()


async def launch_worker(
    number: int, *, flags: Sequence[str], listeners: Sequence[trio.SocketListener]
) -> WorkerProcess:
    """Start a worker that inherits the listening sockets.

    It has its own process session: Ctrl-C in a terminal reaches only the supervisor, which then tells all
    workers.

    Args:
        number: Its number, used in its log.
        flags: Settings as flags of ``serve``; environment, ``.env`` and working directory are those of this
            process.
        listeners: The sockets to accept connections from.

    Raises:
        OSError: The system cannot start it.
    """
    mine, its = socket.socketpair()
    with its:
        inherited = [its.fileno(), *(each.socket.fileno() for each in listeners)]
        command = [*_python(), "-m", "portfolio_trio.cli.worker", str(number), ",".join(map(str, inherited))]
        try:
            process = await trio.lowlevel.open_process(
                [*command, *flags], stdin=subprocess.DEVNULL, pass_fds=inherited, start_new_session=True
            )
        except BaseException:
            mine.close()
            raise
    return WorkerProcess(process, trio.SocketStream(trio.socket.from_stdlib_socket(mine)))


def _python() -> list[str]:
    """A Python with the module path of this process: the working directory is in it only if it is here."""
    here = {"", os.getcwd()}  # noqa: PTH109 - compared as text, as sys.path has it
    return [sys.executable] if here & set(sys.path) else [sys.executable, "-P"]
