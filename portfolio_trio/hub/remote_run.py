"""Which run of a session is open on another worker: decisions only, no I/O, no clock, no Trio.

The document is authoritative; this is a worker's knowledge of it, which may be late but never goes back.
"""

from __future__ import annotations

from portfolio_trio.hub.run_state import Run


class RemoteState:
    """What one worker knows of a session's state on the others.

    Attributes:
        others: The other workers that have sockets of the session.
        newest: The highest known run_id, of any worker.
        counter: The highest run_counter that a document had.
        version: The highest known version of the holdings.
        run: The open run on another worker, if there is one.
        run_version: The version of the holdings it works on.
        owner: That worker; empty if unknown.
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
        """A run of this worker has its number; return the remote run that is over because of it."""
        self.newest = max(self.newest, run_id)
        return self.end()

    def is_open(self, run_id: int) -> bool:
        """Whether this is the open run on another worker."""
        return self.run is not None and self.run.run_id == run_id

    def follow(self, run_id: int, ticker: str, version: int, owner: str) -> Run | None:
        """Make a new run the open one, if it is not outdated; return the run that is over because of it."""
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
        """A run is cancelled, perhaps before it was known; return the one that was open."""
        if run_id < self.newest:
            return None
        self.newest = run_id
        return self.end()

    def end(self) -> Run | None:
        """The open run is over; return it."""
        run, self.run, self.owner = self.run, None, ""
        return run

    def outdate(self, version: int) -> Run | None:
        """Record a version of the holdings; return the run on an older one, which is over because of it."""
        self.version = max(self.version, version)
        return self.end() if self.run is not None and self.run_version < self.version else None
