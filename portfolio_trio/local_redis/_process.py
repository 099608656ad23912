"""One redis-server as a child process: starting, querying and ending it."""

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
"""Seconds for a new process until it listens; loading its data may then take any time."""
STOP_SECONDS: Final = 10.0
"""Seconds to save and exit before it is killed."""
ORPHAN_SECONDS: Final = 10.0
"""Seconds for the Redis left by a killed server to save and exit before it is killed."""
KILLED_SECONDS: Final = 5.0
ASK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02

# Nothing on TCP; all files in its working directory, so that no path is too long.
_OPTIONS: Final = (
    *("--port", "0", "--unixsocket", "redis.sock", "--unixsocketperm", "700"),
    *("--daemonize", "no", "--logfile", "redis.log", "--save", ""),
)
LASTING: Final = ("--appendonly", "yes", "--appendfsync", "everysec")
FLEETING: Final = ("--appendonly", "no", "--dbfilename", "none.rdb")


class RedisProcess:
    """A running redis-server."""

    def __init__(self, process: trio.Process, home: Home) -> None:
        self._process = process
        self._home = home

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def serves(self) -> bool:
        """Wait until it has loaded its data and answers; False if it ended or does not even listen."""
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
                        "Redis is loading its data; it answers when that is done",
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
        """Let it save and exit; kill it if that takes too long."""
        with trio.move_on_after(STOP_SECONDS + KILLED_SECONDS, shield=True):
            self._process.terminate()
            with trio.move_on_after(STOP_SECONDS):
                await self._process.wait()
                return
            log.error(
                "Redis did not exit in time and was killed",
                extra={"event": "redis_killed", "pid": self.pid, "seconds": STOP_SECONDS},
            )
            self._process.kill()
            await self._process.wait()


async def launch_redis(home: Home, recipe: Recipe, options: Sequence[str] = LASTING) -> RedisProcess:
    """Start a Redis in a directory where none runs; one left by a killed server is shut down first.

    It has its own process session: Ctrl-C in a terminal reaches only the server, which needs the Redis until
    its end.

    Raises:
        LocalRedisError: Another one runs there and cannot be stopped, or the system cannot start this one.
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
                    # Held as long as it runs, whichever process started it.
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
    """Shut down the Redis left by a killed server; returns the lock that it held.

    Raises:
        LocalRedisError: It does not exit.
    """
    log.warning(
        "a Redis left by a killed server is still running; it is shut down first",
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
    raise LocalRedisError(f"a Redis still runs in {home.directory} and does not exit: end it by hand")


def _kill_listener(home: Home) -> None:
    """Kill the process that listens there, as the kernel reports; given the lock, it is the Redis."""
    if sys.platform != "linux":
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(0)
        line.connect(os.fspath(home.socket))
        peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, _, _ = struct.unpack("3i", peer)
        os.kill(process, signal.SIGKILL)
