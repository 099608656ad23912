"""The directory of a local Redis: whose it is, and what lies where."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from portfolio_trio.local_redis._errors import LocalRedisError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_BYTES: Final = 1_048_576
_LAST_BYTES: Final = 4096
# What fits into a socket's address everywhere; Linux takes four bytes more than macOS.
_SOCKET_BYTES: Final = 103
# What a fresh file system that is mounted for this holds already.
_OF_FILE_SYSTEMS: Final = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Home:
    """A directory that belongs to one server at a time.

    Attributes:
        directory: Absolute.
    """

    directory: Path

    @property
    def socket(self) -> Path:
        """Where the Redis listens."""
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        """How to connect to it."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def log(self) -> Path:
        """What the Redis says."""
        return self.directory / "redis.log"

    def rotate_log(self) -> None:
        """Keep a long log as the previous one, in the place of the one kept before."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES:
                self.log.replace(self.directory / "redis.log.1")

    def last_words(self) -> str:
        """The last line of the log, and where it stands."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{last.strip()} ({self.log})"

    def try_engine_lock(self) -> int | None:
        """A descriptor for the Redis to inherit: while it lives, no other can; None while one does.

        The kernel lets go of the lock when the last process that has the descriptor ends, however it ends.
        """
        return _try_lock(self.directory / "redis.lock")


@contextmanager
def claim(directory: Path) -> Iterator[Home]:
    """The directory, made if need be, for this process alone as long as the block lasts.

    Raises:
        LocalRedisError: It cannot be used, or another server uses it.
    """
    home = Home(directory)
    if len(os.fsencode(home.socket)) > _SOCKET_BYTES:
        raise LocalRedisError(
            f"the path of {directory} is too long for a Unix socket in it: name a directory with a path of "
            f"at most {_SOCKET_BYTES - len('/redis.sock')} bytes; a symbolic link to this one will do"
        )
    try:
        held = _take(directory)
    except OSError as error:
        raise LocalRedisError(
            f"{directory} cannot be used ({error.strerror}): name a directory that this user may write to"
        ) from error
    try:
        yield home
    finally:
        os.close(held)


def _take(directory: Path) -> int:
    """Lock the directory and say there who has; the descriptor that holds the lock."""
    lock = directory / "server.lock"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not lock.exists() and {each.name for each in directory.iterdir()} - _OF_FILE_SYSTEMS:
        raise LocalRedisError(f"{directory} holds other files: name a new or an empty directory")
    directory.chmod(0o700)
    held = _try_lock(lock)
    if held is None:
        process = lock.read_text(encoding="ascii").strip() or "unknown"
        raise LocalRedisError(
            f"{directory} is in use by another server (process {process}): stop that one, or name another "
            "directory"
        )
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


def _try_lock(file: Path) -> int | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
