"""What the sockets here are shown of runs on other workers, and cancelling those runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic_core import to_json

from portfolio_trio.hub.endings import message_of
from portfolio_trio.hub.ordered_event import EVENT_KINDS, OrderedEvent
from portfolio_trio.hub.run_state import Run
from portfolio_trio.protocol.messages import AnalysisCancelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from portfolio_trio.hub.canceller import Canceller
    from portfolio_trio.hub.events import PeerEvent
    from portfolio_trio.hub.session_group import SessionGroup
    from portfolio_trio.store import Ending


class RemoteEvents:
    """Shows the sockets of one session the events that no task here reports, but a batch or the document.

    Args:
        group: The sockets.
    """

    __slots__ = ("_cancelling", "_group", "_run")

    def __init__(self, group: SessionGroup) -> None:
        self._group = group
        # By document and number, as another document may use the number again.
        self._cancelling: dict[tuple[str, int | None], Canceller] = {}
        # Represents the newest remote run, so that its waiting frames can be dropped.
        self._run: Run | None = None

    def show(self, peer_event: PeerEvent) -> None:
        """Show an event of another worker's run to every socket of this worker."""
        if peer_event.run_id is not None and peer_event.run_id == self._group.runs.running:
            # Its number was assigned twice, by a document that fell back: this concerns another run.
            return
        if self._run is None or self._run.run_id != peer_event.run_id:
            self._run = Run("", run_id=peer_event.run_id)
        run = self._run
        canceller = self._canceller(peer_event.run_id)
        message = None
        if peer_event.kind == "analysis_cancelled":
            self._group.drop(run)
            if canceller is not None:
                message = AnalysisCancelled.model_validate_json(peer_event.frame)
        event = OrderedEvent(
            EVENT_KINDS[peer_event.kind],
            peer_event.frame,
            peer_event.run_id,
            run=run,
            running=peer_event.running,
            metric=peer_event.metric,
            outcomes=peer_event.outcomes,
            message=message,
        )
        self._group.broadcast(event, canceller)

    def show_recorded(self, run_id: int, results: Iterable[Mapping[str, Any]]) -> None:
        """Show the sockets the open run's results from the document, except those they have seen.

        Args:
            run_id: The run; nothing is shown if it is no longer open.
            results: As they were sent, without their envelopes.
        """
        for result in results if self._group.sequencer.is_open(run_id) else ():
            frame = to_json({"type": "analysis_result", **result}).decode()
            self._group.broadcast(OrderedEvent("outcome", frame, run_id, metric=str(result["metric"])))

    def close(self, ending: Ending) -> None:
        """Show the sockets that a run is over, if it is open and its end was not reported in time."""
        run = self._group.sequencer.open
        if run is None or run.run_id != ending.run_id:
            return
        remote = self._run
        if ending.outcome == "cancelled" and remote is not None and remote.run_id == run.run_id:
            self._group.drop(remote)
        event = OrderedEvent("end", run_id=run.run_id, message=message_of(ending, run.ticker))
        self._group.broadcast(event, self._canceller(run.run_id))

    def close_unseen(self, told: AnalysisCancelled, canceller: Canceller) -> None:
        """A run was cancelled before the sockets here saw it start: they see its end, and no start later."""
        self._group.broadcast(OrderedEvent("end", run_id=told.run_id, message=told), canceller)

    @contextmanager
    def cancelling(self, run_id: int, canceller: Canceller) -> Iterator[None]:
        """A socket cancels a run of another worker: tell that worker, whose report is the answer."""
        key = self._group.peers.incarnation, run_id
        self._cancelling[key] = canceller
        self._group.peers.send_cancel(run_id)
        try:
            yield
        finally:
            self._cancelling.pop(key, None)

    def _canceller(self, run_id: int | None) -> Canceller | None:
        return self._cancelling.get((self._group.peers.incarnation, run_id))
