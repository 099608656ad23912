"""One redis-server as a child process: started, asked, ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from portfolio_trio.local_redis._errors import LocalRedisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.local_redis._binaries import Recipe
    from portfolio_trio.local_redis._home import Home

log: Final = logging.getLogger(__name__)

START_SECONDS: Final = 30.0
"""What a new process gets until it listens; reading its data may then take as long as it takes."""
STOP_SECONDS: Final = 10.0
"""What it gets to save and end before it is killed."""
ORPHAN_SECONDS: Final = 10.0
"""What the Redis of a server that was killed gets to save and end before it is killed, too."""
KILLED_SECONDS: Final = 5.0
ASK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02

# Nothing on TCP; no file of its own but in its working directory, so that no path is too long.
_OPTIONS: Final = (
    *("--port", "0", "--unixsocket", "redis.sock", "--unixsocketperm", "700"),
    *("--daemonize", "no", "--logfile", "redis.log", "--save", ""),
)
LASTING: Final = ("--appendonly", "yes", "--appendfsync", "everysec")
FLEETING: Final = ("--appendonly", "no", "--dbfilename", "none.rdb")


class RedisProcess:
    """A redis-server, started."""

    def __init__(self, process: trio.Process, home: Home) -> None:
        self._process = process
        self._home = home

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def serves(self) -> bool:
        """Wait until it has read its data and answers; False: it ended before, or does not even listen."""
        deadline = trio.current_time() + START_SECONDS
        said = False
        while self._process.poll() is None:
            answer = await ask(self._home, b"PING")
            if answer.startswith(b"+PONG"):
                return True
            if answer.startswith(b"-LOADING"):
                deadline = trio.current_time() + START_SECONDS
                if not said:
                    log.info(
                        "Redis reads its data; it answers when it has read all",
                        extra={"event": "redis_loads", "directory": str(self._home.directory)},
                    )
                said = True
            elif trio.current_time() > deadline:
                return False
            await trio.sleep(POLL_SECONDS)
        return False

    async def wait(self) -> int:
        """Wait until it ends; its exit status, or minus the signal that ended it."""
        return await self._process.wait()

    async def aclose(self) -> None:
        """Let it save and end; kill it if that takes too long."""
        with trio.move_on_after(STOP_SECONDS + KILLED_SECONDS, shield=True):
            self._process.terminate()
            with trio.move_on_after(STOP_SECONDS):
                await self._process.wait()
                return
            log.error(
                "Redis did not end in time and is killed",
                extra={"event": "redis_killed", "pid": self.pid, "seconds": STOP_SECONDS},
            )
            self._process.kill()
            await self._process.wait()


async def launch_redis(home: Home, recipe: Recipe, options: Sequence[str] = LASTING) -> RedisProcess:
    """Start a Redis in a directory where none runs; one whose server was killed is ended first.

    It has a session of its own: Ctrl-C in a terminal reaches the server alone, which needs it to the end.

    Raises:
        LocalRedisError: Another one runs there and cannot be ended, or the system cannot start this one.
    """
    try:
        lock = home.try_engine_lock()
        if lock is None:
            lock = await _end_orphan(home)
        try:
            home.rotate_log()
            with home.log.open("ab") as output:
                process = await trio.lowlevel.open_process(
                    [*recipe.command, *_OPTIONS, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=home.directory,
                    # Held as long as it lives, whoever has started it.
                    pass_fds=[lock],
                    start_new_session=True,
                )
        finally:
            os.close(lock)
    except OSError as error:
        raise LocalRedisError(
            f"{recipe.server} cannot be started in {home.directory}: {error.strerror}"
        ) from error
    return RedisProcess(process, home)


async def ask(home: Home, command: bytes) -> bytes:
    """The first line of the answer to a command; empty when nothing answers."""
    with trio.move_on_after(ASK_SECONDS), suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_unix_socket(home.socket) as stream:
            await stream.send_all(command + b"\r\n")
            return await stream.receive_some()
    return b""


async def _end_orphan(home: Home) -> int:
    """End the Redis that a server left when it was killed; the lock that it had.

    Raises:
        LocalRedisError: It does not end.
    """
    log.warning(
        "a Redis still runs here, whose server was killed; it is ended first",
        extra={"event": "redis_orphan", "directory": str(home.directory)},
    )
    with trio.move_on_after(ORPHAN_SECONDS):
        while True:
            await ask(home, b"SHUTDOWN NOSAVE")
            if (lock := home.try_engine_lock()) is not None:
                return lock
            await trio.sleep(POLL_SECONDS)
    _kill_listener(home)
    with trio.move_on_after(KILLED_SECONDS):
        while True:
            if (lock := home.try_engine_lock()) is not None:
                return lock
            await trio.sleep(POLL_SECONDS)
    raise LocalRedisError(f"a Redis still runs in {home.directory} and does not end: end it by hand")


def _kill_listener(home: Home) -> None:
    """Kill whoever listens there, as the kernel tells; it is the only one that could, given the lock."""
    if sys.platform != "linux":
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(0)
        line.connect(os.fspath(home.socket))
        peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, _, _ = struct.unpack("3i", peer)
        os.kill(process, signal.SIGKILL)
