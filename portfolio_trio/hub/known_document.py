"""What this worker knows of a session's document: it may be late, but never goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.hub.error_messages import explain
from portfolio_trio.protocol.messages import Running
from portfolio_trio.store import FellBack, Known, PortfolioChanged, RunSuperseded, SessionMissing

if TYPE_CHECKING:
    from portfolio_trio.hub.local_runs import LocalRuns
    from portfolio_trio.hub.peer_link import PeerLink
    from portfolio_trio.hub.sequencer import EventSequencer
    from portfolio_trio.protocol.messages import Portfolio
    from portfolio_trio.store import Head, RunStart
    from portfolio_trio.store import Portfolio as State


class KnownDocument:
    """The known document of one session; another one can replace it, when the session has expired.

    Args:
        session_id: The session.
        peers: Knows the other workers that the document lists.
        sequencer: Knows what the sockets have been shown.
        runs: The runs of the sockets here.

    Attributes:
        attached: The document lists this worker among those that have sockets of the session.
    """

    __slots__ = ("_head", "_peers", "_runs", "_sequencer", "_session_id", "attached")

    def __init__(self, session_id: str, peers: PeerLink, sequencer: EventSequencer, runs: LocalRuns) -> None:
        self._session_id = session_id
        self._peers = peers
        self._sequencer = sequencer
        self._runs = runs
        self._head: Head | None = None
        self.attached = False

    def enter(self, state: State, since: str = "") -> bool:
        """Record the state of the session in the store, when attaching to it.

        Args:
            state: The state.
            since: The incarnation that was known when the state was requested.

        Returns:
            Whether it is the state of the session. If not, another document has become known meanwhile, and
            it is not known which of the two is newer: request it again.
        """
        if state.incarnation != self._peers.incarnation:
            if since != self._peers.incarnation:
                return False
            # It was requested when the other one was known, so it replaced that one.
            self._begin_anew(state)
        first, self.attached = not self.attached, True
        self._peers.set_peers(state.others)
        self._peers.remote.counter = max(self._peers.remote.counter, state.run_counter)
        self._peers.remote.outdate(state.version)
        self.learn(state.head)
        current = state.current_analysis
        if current is None or current.worker == self._peers.me or self._runs.running is not None:
            # A run of this worker is not over before its task has ended; its own event will show that.
            return True
        # A run that is no longer open here but still in the document is about to be cleared by its worker.
        self._peers.remote.follow(current.run_id, current.ticker, current.version, current.worker)
        if first and current.version >= state.version:
            # No socket here has seen it start: new subscribers will know it from their first state.
            self._sequencer.adopt(Running.model_validate(current, from_attributes=True))
        return True

    def _begin_anew(self, state: State) -> None:
        """The session has expired, and this document replaced it."""
        first = not self._peers.incarnation
        self._peers.begin_anew(state.incarnation, state.others)
        if not first:
            self.attached = False
            self._head = None
            self._sequencer.begin_anew(explain(SessionMissing(self._session_id)).to_json())

    @property
    def known(self) -> Known:
        """The highest numbers that any socket here may have been shown."""
        remote = self._peers.remote
        run_id = max(remote.newest, remote.counter, self._sequencer.last)
        return Known(self._peers.incarnation, run_id, self._version)

    @property
    def _version(self) -> int:
        shown, version = self._sequencer.newest, self._peers.remote.version
        return version if shown is None or shown.version < version else shown.version

    def contradicts(self, state: State | Portfolio) -> bool:
        """Whether other holdings with its version have been shown: the document fell back and continued."""
        newest = self._sequencer.newest
        return newest is not None and newest.version == state.version and newest.holdings != state.holdings

    @property
    def head(self) -> Head | None:
        """The portfolio in the document, unless something newer is known."""
        head = self._head
        return head if head is not None and head.version >= self._version else None

    def learn(self, head: Head) -> None:
        """Record the portfolio from a reply."""
        if self._head is None or self._head.version <= head.version:
            self._head = head

    def claim(self, ticker: str, start: RunStart, incarnation: str) -> None:
        """A run of a socket has its number and its holdings; any run on other workers is over because of it.

        Args:
            ticker: The run's ticker.
            start: The store's reply to its start.
            incarnation: Of the document.

        Raises:
            SessionMissing: It is a run of a document that has been replaced.
            RunSuperseded: A run with a higher number is known.
            PortfolioChanged: Newer holdings are known.
            FellBack: A run of another worker has this number.
        """
        self._peers.set_peers_at_start(start)
        remote, run_id, version = self._peers.remote, start.run_id, start.version
        if incarnation != self._peers.incarnation:
            raise SessionMissing(self._session_id)
        if run_id < remote.newest:
            raise RunSuperseded(self._session_id, remote.newest)
        if run_id == remote.newest:
            raise FellBack(self._session_id, self.known)
        # The worker that ran it reports its end; later events wait for that.
        remote.claim(run_id)
        self._peers.send_claim(ticker, start)
        self.learn(start.head)
        if version < remote.version:
            raise PortfolioChanged(self._session_id, remote.version)
