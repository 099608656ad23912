"""The parts of one server that its nurseries run: created and connected, but not started."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from portfolio_trio.faults import Faults
from portfolio_trio.hub.hub import Hub
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.market.updater import MarketUpdater
from portfolio_trio.peers.membership import Membership
from portfolio_trio.peers.publisher import PeerPublisher
from portfolio_trio.peers.subscriber import PeerSubscriber
from portfolio_trio.peers.tick_exchange import Exchange
from portfolio_trio.peers.tick_feed import TickFeed
from portfolio_trio.session.services import Services
from portfolio_trio.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from portfolio_trio.market import PriceBook
    from portfolio_trio.metrics import MetricRegistry
    from portfolio_trio.settings import Settings
    from portfolio_trio.store import PortfolioStore, Workers
    from portfolio_trio.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts to run, and the services that the sessions share.

    Attributes:
        services: The services that sessions share.
        publisher: Sends batches to the other workers.
        updater: Updates the market while this worker leads.
        membership: This worker's membership among the others; decides when the updater runs.
    """

    services: Services
    publisher: PeerPublisher
    updater: MarketUpdater
    membership: Membership


def assemble(
    settings: Settings,
    store: PortfolioStore,
    book: PriceBook,
    workers: Workers,
    *,
    metrics: MetricRegistry,
    now: Callable[[], float],
    rng: random.Random | None,
    telemetry: Telemetry,
) -> Parts:
    """Create the parts of a server from an open store and an open book."""
    faults = Faults()
    publisher = PeerPublisher(workers, max_bytes=settings.max_queue_bytes, faults=faults)
    hub = Hub(publisher, faults)
    to_message = partial(portfolio_message, book=book)
    services = Services(
        settings=settings,
        store=store,
        book=book,
        metrics=metrics,
        hub=hub,
        peer_subscriber=PeerSubscriber(hub, store, faults, to_message, tuple(metrics)),
        faults=faults,
        telemetry=telemetry,
        now=now,
        rng=rng or random.Random(),  # noqa: S311 - spreads delays; no secret hangs on it
    )
    updater, membership = _market(services, workers)
    return Parts(services, publisher, updater, membership)


def _market(services: Services, workers: Workers) -> tuple[MarketUpdater, Membership]:
    """The updater of the market, and this worker's membership, which decides when it runs."""
    book, store, faults = services.book, services.store, services.faults
    interval = services.settings.market_update_interval_seconds
    exchange = Exchange(workers, book)
    audience = TickFeed(
        services.hub, store, book, faults, services.peer_subscriber, right_of_way=services.right_of_way
    )
    updater = MarketUpdater(
        book,
        store,
        exchange,
        audience,
        interval=interval,
        failures=(StoreError,),
        faults=faults,
        telemetry=services.telemetry,
    )
    membership = Membership(
        workers,
        book,
        updater,
        exchange=exchange,
        audience=audience,
        listener=services.peer_subscriber,
        interval=interval,
        faults=faults,
    )
    return updater, membership
