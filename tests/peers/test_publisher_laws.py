"""Invariants of the publisher, whatever happens to its batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from portfolio_trio.faults import Faults
from portfolio_trio.hub.events import Batch, PeerEvent, SequenceTracker
from portfolio_trio.peers.publisher import PeerPublisher
from portfolio_trio.store import StoreUnavailable

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from(["two", "three", "both"]), st.sampled_from([1, 300])),
        st.tuples(st.just("fate"), st.sampled_from(["lost", "unknown", "slow"]), st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.sampled_from([0, 1, 2, 5])),
        st.tuples(st.just("forget"), st.sampled_from(["two", "three"]), st.just(0)),
    ),
    max_size=40,
)


@dataclass
class Reader:
    """What one receiver knows: the events it got, and when it was shown that some are missing."""

    tracker: SequenceTracker = field(default_factory=SequenceTracker)
    events: list[int] = field(default_factory=list)
    last_gap: int = -1


class FaultyWire:
    """A wire on which the next batches are lost, or may be, or are slow."""

    me = "me"

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.readers = {"two": Reader(), "three": Reader()}
        self.told = 0

    async def send_batch(self, worker: str, batch: str) -> bool:
        fate = self.fates.pop(0) if self.fates else "fine"
        await trio.sleep(0.6 if fate == "slow" else 0)
        if fate != "lost":
            self._arrive(self.readers[worker], Batch.model_validate_json(batch))
        if fate in {"lost", "unknown"}:
            raise StoreUnavailable(fate, sent=True)
        return True

    def _arrive(self, reader: Reader, batch: Batch) -> None:
        if reader.tracker.has(batch):
            return
        if not reader.tracker.follows(batch):
            reader.last_gap = self.told
        reader.events += [int(each.frame[:6]) for each in batch.events]


def play(steps: list[tuple[str, str, int]], max_bytes: int) -> tuple[FaultyWire, dict[str, list[int]]]:
    """What was told to whom, and the wire that carried it."""
    wire = FaultyWire()
    told: dict[str, list[int]] = {"two": [], "three": []}

    async def main() -> None:
        # Typed for all that workers do; batches are posted here.
        publisher = PeerPublisher(wire, max_bytes=max_bytes, faults=Faults())  # type: ignore[arg-type] # see above
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            for kind, who, amount in steps:
                match kind:
                    case "tell":
                        others = ["two", "three"] if who == "both" else [who]
                        wire.told += 1
                        for other in others:
                            told[other].append(wire.told)
                        frame = f"{wire.told:06}" + "x" * amount
                        publisher.send(others, PeerEvent(session_id="s", kind="portfolio", frame=frame))
                    case "fate":
                        wire.fates.append(who)
                    case "forget":
                        publisher.forget(who)
                    case _:
                        await trio.sleep(amount * 0.1)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return wire, told


@given(STEPS)
def test_an_event_arrives_once_and_in_order_or_a_gap_says_that_it_did_not(
    steps: list[tuple[str, str, int]],
) -> None:
    wire, told = play(steps, max_bytes=1_500)
    for worker, reader in wire.readers.items():
        assert reader.events == sorted(set(reader.events))
        assert set(reader.events) <= set(told[worker])
        missing = set(told[worker]) - set(reader.events)
        assert max(missing, default=-1) <= reader.last_gap


@given(STEPS)
def test_a_batch_whose_sending_fails_arrives_in_the_end(steps: list[tuple[str, str, int]]) -> None:
    wire, told = play([step for step in steps if step[0] != "forget"], max_bytes=1_000_000)
    for worker, reader in wire.readers.items():
        assert (reader.events, reader.last_gap) == (told[worker], -1)
