"""Which workers are sent what of one session."""

from __future__ import annotations

from collections.abc import Iterable

from portfolio_trio.hub.events import PeerEvent
from portfolio_trio.hub.peer_link import PeerLink
from portfolio_trio.protocol.messages import AnalysisCancelled
from tests.peers.fakes import start

END = AnalysisCancelled(ticker="AAPL", run_id=1, reason="switched")


class Sender:
    """Keeps what it is to send."""

    me = "me"

    def __init__(self) -> None:
        self.sent: list[tuple[tuple[str, ...], str, str]] = []

    def send(self, others: Iterable[str], peer_event: PeerEvent) -> None:
        if names := tuple(others):
            self.sent.append((names, peer_event.kind, peer_event.incarnation))

    def forget(self, worker: str) -> None:
        raise AssertionError(worker)

    def is_unreachable(self, worker: str) -> bool:
        return worker.startswith("unreachable")


def link_in(incarnation: str, *others: str) -> tuple[PeerLink, Sender]:
    sender = Sender()
    link = PeerLink("s", sender)
    link.begin_anew(incarnation, ())
    link.set_peers(others)
    return link, sender


def test_a_report_may_come_as_long_as_one_worker_receives_anything() -> None:
    assert not link_in("a")[0].are_unreachable
    assert not link_in("a", "unreachable", "two")[0].are_unreachable
    assert link_in("a", "unreachable", "unreachable too")[0].are_unreachable


def test_a_worker_that_the_reply_to_a_start_lists_first_is_sent_the_end_before() -> None:
    link, sender = link_in("a", "two")
    link.told = END
    link.set_peers_at_start(start(2, replaced=1, others=("two", "three")))
    assert sender.sent == [(("three",), "analysis_cancelled", "a")]
    assert link.others == ("two", "three")


def test_the_end_of_a_run_that_the_start_did_not_replace_is_not_sent() -> None:
    link, sender = link_in("a", "two")
    link.told = END
    link.set_peers_at_start(start(3, replaced=2, others=("two", "three")))
    assert sender.sent == []


def test_the_end_of_a_run_of_another_document_is_not_sent_for_its_number() -> None:
    link, sender = link_in("a", "two")
    link.told = END
    link.begin_anew("b", ("two",))
    link.set_peers_at_start(start(2, replaced=1, others=("two", "three")))
    assert sender.sent == []


def test_lost_workers_are_sent_nothing_until_a_reply_lists_them() -> None:
    link, _ = link_in("a", "unreachable", "two")
    link.remove_peers({"two", "three"})
    assert link.others == ("unreachable",)
    assert link.are_unreachable
    link.set_peers(("unreachable", "two"))
    assert not link.are_unreachable
