"""A file that another program replaces, read in a separate thread, once per version."""

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
    """One piece of work in a thread, independent of the tasks that wait for it.

    A wait can be cancelled while the work continues for the next waiter, so a long reading is neither thrown
    away nor begun again. The thread changes only this object.
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
                # The program has ended; nothing waits for the result.
                return

        trio.lowlevel.start_thread_soon(work, deliver, name="price file")

    def _finish(self, result: outcome.Outcome[_T]) -> None:
        self._result = result
        self.done.set()

    def result(self) -> _T:
        """Return the result, or raise the error; only once, after `done`."""
        if self._result is None:
            raise AssertionError("a reading that is not done has no result")
        return self._result.unwrap()


class WatchedFile(Generic[_T]):
    """Follows one file: reads and parses it when there is a new version.

    Only one task may use it. At most one thread works for it, even if the file system hangs.

    Args:
        path: The file.
        parse: Parses the file's bytes. Raises `PriceFileError`.
        max_bytes: A larger file is refused.

    Attributes:
        written_at: When the last version that was read had been written, seconds since 1970; None before the
            first.
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
        """For how many seconds the file has been read so far; 0 if it is not being read."""
        return 0.0 if self._reading is None else trio.current_time() - self._reading.began

    async def newest(self) -> _T:
        """Return the parsed content of the file; the same object while it has not changed.

        If the wait is cancelled, the reading continues, and the next call waits for it.

        Raises:
            PriceFileError: It cannot be used. A file that can be read but not parsed is not read again until
                it changes.
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
