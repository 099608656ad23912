"""The directory of a local Redis: its owner and its files."""

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
# The longest socket path that works everywhere; Linux allows four bytes more than macOS.
_SOCKET_BYTES: Final = 103
# Names that a newly mounted file system already contains.
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
        """The socket of the Redis."""
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        """The URL to connect to it."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def log(self) -> Path:
        """The log of the Redis."""
        return self.directory / "redis.log"

    def rotate_log(self) -> None:
        """Rename a long log, replacing the previous renamed one."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LOG_BYTES:
                self.log.replace(self.directory / "redis.log.1")

    def last_words(self) -> str:
        """The last line of the log, and the path of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
        return f"{last.strip()} ({self.log})"

    def try_engine_lock(self) -> int | None:
        """A descriptor for the Redis to inherit, which locks the directory; None while another holds it.

        The kernel releases the lock when the last process with the descriptor ends, however it ends.
        """
        return _try_lock(self.directory / "redis.lock")


@contextmanager
def claim(directory: Path) -> Iterator[Home]:
    """The directory, created if necessary, for exclusive use by this process for the length of the block.

    Raises:
        LocalRedisError: It cannot be used, or another server uses it.
    """
    home = Home(directory)
    if len(os.fsencode(home.socket)) > _SOCKET_BYTES:
        raise LocalRedisError(
            f"the path of {directory} is too long for a Unix socket in it: use a directory whose path has "
            f"at most {_SOCKET_BYTES - len('/redis.sock')} bytes, such as a symbolic link to this one"
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
    """Lock the directory and write this process's id there; returns the descriptor that holds the lock."""
    lock = directory / "server.lock"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not lock.exists() and {each.name for each in directory.iterdir()} - _OF_FILE_SYSTEMS:
        raise LocalRedisError(f"{directory} contains other files: name a new or an empty directory")
    directory.chmod(0o700)
    held = _try_lock(lock)
    if held is None:
        process = lock.read_text(encoding="ascii").strip() or "unknown"
        raise LocalRedisError(
            f"{directory} is in use by another server (process {process}): stop it, or name another directory"
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
