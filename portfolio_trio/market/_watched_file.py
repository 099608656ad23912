"""A file that another program replaces, read in a thread of its own and once for each of its versions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from portfolio_trio.market._errors import PriceFileError
from portfolio_trio.market._files import modified_at, read_regular, version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import outcome

    from portfolio_trio.market._files import Version

_T = TypeVar("_T")


class _Reading(Generic[_T]):
    """One piece of work in a thread, whoever waits for it and however long.

    A wait can be given up and the work goes on, for the next one who waits: so a reading that takes longer
    than anybody's patience is neither thrown away nor begun again. The thread changes nothing but this.
    """

    def __init__(self, work: Callable[[], _T]) -> None:
        self.began = trio.current_time()
        self.done = trio.Event()
        self._result: outcome.Outcome[_T] | None = None
        token = trio.lowlevel.current_trio_token()

        def deliver(result: outcome.Outcome[_T]) -> None:
            try:
                token.run_sync_soon(self._finish, result)
            except trio.RunFinishedError:
                # The program is over; nobody waits any more.
                return

        trio.lowlevel.start_thread_soon(work, deliver, name="price file")

    def _finish(self, result: outcome.Outcome[_T]) -> None:
        self._result = result
        self.done.set()

    def result(self) -> _T:
        """Return what came of it, or raise that; once, after `done`."""
        if self._result is None:
            raise AssertionError("a reading that is not done has no result")
        return self._result.unwrap()


class WatchedFile(Generic[_T]):
    """Follows one file: reads and parses it when there is a new version.

    One task uses it. At most one thread works for it, which a file system that hangs does not change.

    Args:
        path: The file.
        parse: From the file's bytes to what they hold. Raises `PriceFileError`.
        max_bytes: A larger file is refused.

    Attributes:
        written_at: When the version that was looked at last was written, seconds since 1970; None before.
    """

    def __init__(self, path: Path, parse: Callable[[bytes, Path], _T], *, max_bytes: int) -> None:
        self.path = path
        self.written_at: float | None = None
        self._parse = parse
        self._max_bytes = max_bytes
        self._seen: tuple[Version, _T | PriceFileError] | None = None
        self._reading: _Reading[tuple[Version, _T | PriceFileError]] | None = None

    @property
    def waited(self) -> float:
        """For how many seconds the file has been read by now; 0 where it is not being read."""
        return 0.0 if self._reading is None else trio.current_time() - self._reading.began

    async def newest(self) -> _T:
        """Return what the file holds now; the very same object while it has not changed.

        Where the wait is cancelled the reading goes on, and the next call waits for it.

        Raises:
            PriceFileError: It cannot be used. One that can be read, and not be parsed, is not read again
                before it has changed.
        """
        if self._reading is None:
            self._reading = _Reading(partial(_read, self.path, self._parse, self._max_bytes, self._seen))
        reading = self._reading
        await reading.done.wait()
        self._reading = None
        self._seen = version, found = reading.result()
        self.written_at = modified_at(version)
        if isinstance(found, PriceFileError):
            raise found
        return found


def _read(
    path: Path,
    parse: Callable[[bytes, Path], _T],
    max_bytes: int,
    seen: tuple[Version, _T | PriceFileError] | None,
) -> tuple[Version, _T | PriceFileError]:
    """Runs in a thread."""
    if seen is not None and version_of(path) == seen[0]:
        return seen
    file = read_regular(path, max_bytes=max_bytes)
    try:
        return file.version, parse(file.content, path)
    except PriceFileError as error:
        return file.version, error
