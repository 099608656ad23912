"""Which run of a session is open on another worker: decisions only, no I/O, no clock, no Trio.

The truth is the document's; this is what a worker has heard of it, which may be late but never goes back.
"""

from __future__ import annotations

from portfolio_trio.hub.run_state import Run


class RemoteState:
    """What one worker knows of a session's life on the others.

    Attributes:
        others: The other workers that have sockets of the session.
        newest: The highest run_id that is known, of whichever worker.
        counter: The highest run_counter that a document had.
        version: The highest version of the holdings that is known.
        run: The run that is open on another worker, if there is one.
        run_version: The version of the holdings it works on.
        owner: That worker; empty where nobody said.
    """

    __slots__ = ("counter", "newest", "others", "owner", "run", "run_version", "version")

    def __init__(self) -> None:
        self.others: tuple[str, ...] = ()
        self.newest = 0
        self.counter = 0
        self.version = 0
        self.run: Run | None = None
        self.run_version = 0
        self.owner = ""

    def claim(self, run_id: int) -> Run | None:
        """A run of this worker has its number; return the remote run that is over by that."""
        self.newest = max(self.newest, run_id)
        return self.end()

    def is_open(self, run_id: int) -> bool:
        """Whether this is the run that is open on another worker."""
        return self.run is not None and self.run.run_id == run_id

    def follow(self, run_id: int, ticker: str, version: int, owner: str) -> Run | None:
        """Take a new run as the open one, if it is not outdated; return the one that is over by it."""
        if run_id <= self.newest:
            return None
        before = self.end()
        self.newest = run_id
        if version >= self.version:
            self.run = Run(ticker, run_id=run_id)
            self.run_version = version
            self.owner = owner
        return before

    def cancel(self, run_id: int) -> Run | None:
        """A run is cancelled, perhaps before there was news of it; return the one that was open."""
        if run_id < self.newest:
            return None
        self.newest = run_id
        return self.end()

    def end(self) -> Run | None:
        """The open run is over; return it."""
        run, self.run, self.owner = self.run, None, ""
        return run

    def outdate(self, version: int) -> Run | None:
        """Take a version of the holdings; return the run that is over by it, being on an older one."""
        self.version = max(self.version, version)
        return self.end() if self.run is not None and self.run_version < self.version else None
