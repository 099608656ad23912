"""A worker as its supervisor holds it: a process, and a line to it.

The line is a pair of connected sockets. The worker says one byte when it serves; from then on each byte of
the supervisor asks for what it has counted, and is answered with one line of text. That the line ends tells
each side that the other is gone, however it ended.
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
    """A worker's process, started."""

    def __init__(self, process: trio.Process, line: trio.SocketStream) -> None:
        self._process = process
        self._line = line
        self._asking = trio.Lock()
        # The beginning of an answer, and whether one is on its way: who asked may have given up on it.
        self._heard = b""
        self._awaited = False

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def serves(self) -> bool:
        """Wait until it accepts connections; False: it ended before."""
        try:
            return bool(await self._line.receive_some(1))
        except trio.BrokenResourceError:
            return False

    async def counted(self) -> bytes | None:
        """Ask one that serves what it has counted; None: it is gone. May be cancelled, and asked again."""
        async with self._asking:
            try:
                if self._awaited:
                    # Of somebody who did not wait for it: too old by now.
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
        """Signal it; nothing happens when it has ended."""
        self._process.send_signal(number)

    async def aclose(self) -> None:
        """Kill it if it still runs, and hang up."""
        with trio.move_on_after(KILLED_SECONDS, shield=True):
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await self._line.aclose()


async def launch_worker(
    number: int, *, flags: Sequence[str], listeners: Sequence[trio.SocketListener]
) -> WorkerProcess:
    """Start a worker that inherits the listening sockets.

    It has a session of its own: Ctrl-C in a terminal reaches the supervisor alone, which then tells all.

    Args:
        number: Which one; it stands in its log.
        flags: Settings as flags of ``serve``; environment, ``.env`` and working directory are this process's.
        listeners: What it accepts connections from.

    Raises:
        OSError: The system has no room for it.
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
    """A Python that finds modules where this process does: in the working directory only if this one does."""
    here = {"", os.getcwd()}  # noqa: PTH109 - compared as text, as sys.path has it
    return [sys.executable] if here & set(sys.path) else [sys.executable, "-P"]
