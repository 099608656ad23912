"""Answering requests that change nothing, each from one snapshot; of repeated what-ifs only the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from typing_extensions import override

from portfolio_trio.hub.unpriced import explained, refusal
from portfolio_trio.locks import Waiters
from portfolio_trio.metrics import AnalysisError, MetricError
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.fields import MAX_HOLDINGS
from portfolio_trio.protocol.messages import Error, Message, joined
from portfolio_trio.session.decisions import Question, Seen, named, prepare
from portfolio_trio.store import TooManyHoldings
from portfolio_trio.targets import NO_TARGETS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from portfolio_trio import store
    from portfolio_trio.protocol.requests import AskWhatIf
    from portfolio_trio.session.services import Services
    from portfolio_trio.session.socket_writer import SocketWriter


class Written(Message):
    """An answer whose text is already made."""

    text: str

    @override
    def to_json(self) -> str:
        """The text of the frame."""
        return self.text


async def answer(
    services: Services, held: store.Portfolio, request: Question, prices_for: store.PriceLookup
) -> Message:
    """Answer a request from the holdings, just read, and the newest prices; nothing is written.

    Args:
        services: The layers below.
        held: The portfolio.
        request: The request.
        prices_for: Finds the prices of names in the request that are not held.

    Raises:
        MarketFullError: It contains too many tickers that are new to the market.
        TooManyHoldings: The held names and those in the request are too many together.
    """
    try:
        # Holdings, tick and prices are read without a checkpoint in between, so they are consistent.
        seen = _see(services, held, request, prices_for)
        if isinstance(seen, Error):
            return seen
        job = prepare(request, seen)
        fields = await _in_thread(services, job.compute) if job.heavy else job.compute()
    except AnalysisError as failure:
        return services.explain(explained(services.book, failure), request_id=request.id)
    except MetricError as failure:
        code, tickers = ErrorCode(failure.code), failure.tickers or None
        return Error.of(code, failure.reason, id=request.id, tickers=tickers)
    if request.id is not None:
        fields = {"id": request.id, **fields}
    text = exact_json(fields)
    if request.receipt:
        text = joined(text, f'{{"receipt":{job.receipt().text}}}')
    return Written(text=text)


async def _in_thread(services: Services, compute: Callable[[], dict[str, object]]) -> dict[str, object]:
    return await trio.to_thread.run_sync(compute, abandon_on_cancel=True, limiter=services.heavy)


def _see(
    services: Services, held: store.Portfolio, request: Question, prices_for: store.PriceLookup
) -> Seen | Error:
    book, targets = services.book, held.targets or NO_TARGETS
    names = {name: shares for name, shares in held.holdings.items() if shares}
    also = [name for name in named(request, targets) if name not in names]
    if len(names) + len(also) > MAX_HOLDINGS:
        raise TooManyHoldings(MAX_HOLDINGS)
    prices = {**book.prices_for(names), **prices_for(also)}
    unpriced = [name for name in also if name not in prices]
    if unpriced:
        return refusal(book, unpriced, request.id)
    tick = book.current
    return Seen(
        holdings=names,
        prices=prices,
        targets=targets,
        cache=services.returns,
        version=held.version,
        tick_id=tick.tick_id,
        as_of=tick.as_of,
        stale=book.is_stale(prices),
    )


class NewestWhatIf:
    """Lets the reader continue while a what-if is answered; of waiting ones with one id, the newest counts.

    Args:
        carry_out: Answers a request in any case; raises only `trio.Cancelled`.
        requester: Receives the errors of the skipped ones.
        nursery: The connection's.
    """

    __slots__ = ("_carry_out", "_moved", "_nursery", "_passed_over", "_requester", "_running", "_waiting")

    def __init__(
        self,
        carry_out: Callable[[AskWhatIf], Awaitable[None]],
        requester: SocketWriter,
        nursery: trio.Nursery,
    ) -> None:
        self._carry_out = carry_out
        self._requester = requester
        self._nursery = nursery
        # The newest waiting one, and how many of its id were skipped for it.
        self._waiting: AskWhatIf | None = None
        self._passed_over = 0
        self._running = False
        self._moved = Waiters()

    async def ask(self, request: AskWhatIf) -> None:
        """Answer it after the earlier ones, or a newer one instead of it."""
        while self._waiting is not None and self._waiting.id != request.id:
            await self._moved.park()
        self._passed_over += self._waiting is not None
        self._waiting = request
        if not self._running:
            self._running = True
            self._nursery.start_soon(self._answer_all)

    async def idle(self) -> None:
        """Wait until all are answered."""
        while self._running:
            await self._moved.park()

    async def _answer_all(self) -> None:
        try:
            while (request := self._waiting) is not None:
                passed_over, self._waiting, self._passed_over = self._passed_over, None, 0
                self._moved.wake()
                for _ in range(passed_over):
                    detail = "a newer what-if with this id replaced it"
                    self._requester.answer(Error.of(ErrorCode.SUPERSEDED, detail, id=request.id))
                await self._carry_out(request)
        finally:
            self._running = False
            self._moved.wake()
