"""The requests of a session, and how each is carried out and answered.

Requests of one socket are carried out one after another, in order of arrival.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, assert_never

import trio

from portfolio_trio.access import Refused
from portfolio_trio.hub.canceller import Canceller
from portfolio_trio.hub.endings import cancelled
from portfolio_trio.hub.error_messages import NoNewSession
from portfolio_trio.hub.run_state import EndReason
from portfolio_trio.hub.state import portfolio_message
from portfolio_trio.hub.unpriced import refusal
from portfolio_trio.market import MarketFullError
from portfolio_trio.protocol.codes import ErrorCode
from portfolio_trio.protocol.messages import AnalysisCancelled, Error, Results
from portfolio_trio.protocol.requests import (
    Analyze,
    AskWhatIf,
    Authenticate,
    Cancel,
    GetHistory,
    GetPortfolio,
    GetResults,
    GetRisk,
    MakePlan,
    SetHoldings,
    SetTargets,
    Trade,
)
from portfolio_trio.session import questions
from portfolio_trio.store import FellBack, MissingPrices, SessionMissing, StoreError, StoreUnavailable
from portfolio_trio.targets import BAND, Targets
from portfolio_trio.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from portfolio_trio import store
    from portfolio_trio.protocol.messages import Portfolio
    from portfolio_trio.protocol.requests import Request
    from portfolio_trio.session.runner import Runner
    from portfolio_trio.session.socket_state import Socket
    from portfolio_trio.store import CurrentAnalysis

# How many times to try opening a session that others create again at the same moment.
OPENINGS: Final = 5

log: Final = logging.getLogger(__name__)


class RequestHandler:
    """Carries out the requests of one socket.

    Args:
        socket: The socket that asks.
        runner: Its runs.
        count_new: Counts a session that is created for the socket; raises `Refused` if it is one too many.
        nursery: The connection's.

    Attributes:
        draining: No more analyses are started.
    """

    def __init__(
        self, socket: Socket, runner: Runner, count_new: Callable[[], None], nursery: trio.Nursery
    ) -> None:
        self._services = socket.services
        self._group = socket.group
        self._requester = socket.writer
        self._document = socket.document
        self._address = socket.address
        self._runner = runner
        self._count_new = count_new
        self._what_ifs = questions.NewestWhatIf(self._answer_now, socket.writer, nursery)
        self.draining = False
        self._read_at = 0.0

    async def open(self) -> Portfolio:
        """Open the session's document, or create it, and return the state.

        Raises:
            StoreError: The store refused or could not be reached.
        """
        for _ in range(OPENINGS):
            since = self._group.incarnation
            try:
                opened = await self._find_or_make()
            except FellBack as failure:
                await self._services.peer_subscriber.lift(self._group, failure.known)
                continue
            if self._group.document.enter(opened, since):
                # A write that a full store refused is tried again at the next request.
                self._document.incarnation = opened.incarnation if opened.attached else None
                message = portfolio_message(opened, self._services.book)
                # If it was created again, show it to all.
                self._group.broadcast_state(message)
                return message
        raise StoreUnavailable("the session expires as soon as it is made", sent=True)

    async def _find_or_make(self) -> store.Portfolio:
        services = self._services
        try:
            return await services.store.get_portfolio(
                self._group.session_id,
                at=rfc3339(services.now()),
                attach=True,
                known=self._group.document.known,
            )
        except SessionMissing:
            try:
                self._count_new()
            except Refused as refused:
                raise NoNewSession(refused.detail) from refused
        return await services.open_session(self._group.session_id, attach=True)

    async def _state(self) -> Portfolio:
        return portfolio_message(await self._read(), self._services.book)

    async def _read(self) -> store.Portfolio:
        """The state of the session that this socket has opened.

        Raises:
            SessionMissing: It has expired since: a newly opened one would not be the client's portfolio.
            StoreError: The store refused or could not be reached.
        """
        services, incarnation = self._services, self._document.incarnation or ""
        found = await services.store.get_portfolio(
            self._group.session_id,
            at=rfc3339(services.now()),
            attach=True,
            incarnation=incarnation,
            known=self._group.document.known,
        )
        if not self._group.document.enter(found, incarnation):
            raise SessionMissing(self._group.session_id)
        return found

    async def answer(self, request: Request) -> None:
        """Carry out one request and answer it; a what-if may be skipped in favour of a newer one."""
        self._read_at = trio.current_time()
        if isinstance(request, AskWhatIf) and request.id is not None:
            await self._what_ifs.ask(request)
        else:
            await self._what_ifs.idle()
            await self._answer_now(request)

    async def _answer_now(self, request: Request) -> None:
        with self._services.right_of_way:
            await self._carry_out_and_answer(request)

    async def _carry_out_and_answer(self, request: Request) -> None:
        try:
            self._document.check()
            if self._document.incarnation is None:
                opened = await self.open()
                subscribed = self._requester in self._group.sequencer.subscribers or isinstance(
                    request, GetPortfolio
                )
                if self._requester.receives_events and not subscribed:
                    # The state could not be read when the socket opened.
                    self._group.answer(self._requester, opened)
            try:
                await self._carry_out(request)
            except FellBack as failure:
                # Nothing has been done yet.
                await self._services.peer_subscriber.lift(self._group, failure.known)
                await self._carry_out(request)
        except SessionMissing as failure:
            # It expired under an idle socket. The next request opens it again, with default holdings, which
            # the client must know before it sees numbers for them.
            self._document.expire()
            self._requester.answer(self._services.explain(failure, request_id=request.id))
        except MissingPrices as failure:
            # Names that a trade does not contain are already held.
            held = isinstance(request, Trade) and request.ticker not in failure.tickers
            self._requester.answer(refusal(self._services.book, failure.tickers, request.id, held=held))
        except (MarketFullError, StoreError) as failure:
            self._requester.answer(self._services.explain(failure, request_id=request.id))

    async def _carry_out(self, request: Request) -> None:
        match request:
            case Analyze():
                await self._analyze(request)
            case Cancel():
                await self._cancel(request)
            case GetPortfolio() | Authenticate():
                self._group.answer(self._requester, await self._state(), request.id)
            case SetHoldings() | Trade() | SetTargets():
                await self._edit(request)
            case GetRisk() | AskWhatIf() | MakePlan() | GetHistory():
                answer = await questions.answer(self._services, await self._read(), request, self._prices_for)
                self._requester.answer(answer)
            case GetResults():
                await self._results(request)
            case _:
                assert_never(request)

    async def _analyze(self, request: Analyze) -> None:
        if self.draining:
            self._requester.answer(Error.of(ErrorCode.DRAINING, "the server is going away", id=request.id))
            return
        async with self._group.start_lock:
            theirs = await self._group.runs.stop(EndReason.SUPERSEDED, exclude=self._requester)
            # A frame of the previous run may still be in flight: the new run waits for that, not the lock.
            own = await self._runner.switch(request, self._read_at)
            if theirs is not None or own is not None:
                self._services.telemetry.switched(trio.current_time() - self._read_at)

    async def _cancel(self, request: Cancel) -> None:
        canceller = Canceller(self._requester, request.id)
        # A run that an edit has just restarted gets its number first, so that its end can contain it.
        await trio.lowlevel.checkpoint()
        async with self._group.start_lock:
            stopped = found = None
            if request.of is None:
                stopped = await self._group.runs.stop(EndReason.CANCELLED, canceller=canceller)
                found = None if stopped is not None else await self._cancel_remote()
            elif self._runner.is_for(request.of):
                stopped = await self._runner.stop(EndReason.CANCELLED, canceller=canceller)
        if found is not None:
            await self._answer_for(found, canceller)
            return
        if stopped is None and request.of is None:
            # A socket of another worker may be following, and waiting for the next tick.
            self._group.end_remote_follow()
        is_cancelled = stopped is not None and stopped.reason == EndReason.CANCELLED
        self._answer(canceller, stopped if is_cancelled else None)
        if is_cancelled:
            await self._group.runs.clear()

    def _answer(self, canceller: Canceller, end: AnalysisCancelled | None) -> None:
        """Answer a request to cancel, if no event has answered it; ``end`` is the result."""
        if canceller.answered:
            return
        if end is None or self._requester in self._group.sequencer.subscribers:
            # Nothing was running, or its end had been decided and reported just before.
            end = AnalysisCancelled(reason=EndReason.CANCELLED)
        self._requester.answer(end.echo(canceller.request_id))

    async def _cancel_remote(self) -> CurrentAnalysis | None:
        """Clear the document's current run, which is none of this worker's; None if there is none."""
        store, incarnation = self._services.store, self._document.incarnation or ""
        try:
            current = (await store.peek_portfolio(self._group.session_id)).current_analysis
            if current is None:
                return None
            end = await store.finish_analysis(
                self._group.session_id,
                run_id=current.run_id,
                incarnation=incarnation,
                ending=cancelled(current.run_id, EndReason.CANCELLED),
            )
        except SessionMissing:
            return None
        if not end.cleared:
            return None
        self._group.peers.set_peers(end.others)
        # It may be there although its end was reported, if the store was down at that moment.
        return None if self._group.sequencer.is_over(current.run_id) else current

    async def _answer_for(self, current: CurrentAnalysis, canceller: Canceller) -> None:
        """Let the worker of a run report how it ended, and answer; if it does not in time, answer for it."""
        run_id = current.run_id
        ended = cancelled(run_id, EndReason.CANCELLED)
        told = AnalysisCancelled(ticker=current.ticker, run_id=run_id, reason=EndReason.CANCELLED)
        with self._group.remote_events.cancelling(run_id, canceller):
            if current.worker == self._services.store.worker:
                # No task runs it: there will be no other report.
                self._group.publish(told, canceller=canceller, incarnation=self._group.incarnation)
            else:
                await self._services.peer_subscriber.ends.find(self._group, run_id)
                self._group.remote_events.close(ended)
        if canceller.answered or self._group.sequencer.is_over(run_id):
            self._answer(canceller, told)
            return
        # The sockets here have not seen the run at all.
        self._group.remote_events.close_unseen(told, canceller)
        if not canceller.answered:
            self._requester.answer(told.echo(canceller.request_id))

    async def _edit(self, request: SetHoldings | Trade | SetTargets) -> None:
        services = self._services
        unpriced = self._left_unpriced(request)
        if unpriced:
            self._requester.answer(refusal(services.book, unpriced, request.id))
            return
        changed = await self._change(request)
        if self._document.incarnation not in {None, self._group.incarnation}:
            raise SessionMissing(self._group.session_id)
        # The run is on the old holdings: no more of its messages are sent after this.
        current = changed.current_analysis
        self._group.runs.renew(changed.version, 0 if current is None else current.run_id)
        self._group.peers.set_peers(changed.others)
        self._group.remote.outdate(changed.version)
        self._group.document.learn(changed.head)
        self._group.change(self._requester, portfolio_message(changed, services.book), request.id)

    def _left_unpriced(self, request: SetHoldings | Trade | SetTargets) -> list[str]:
        """Names that the request would certainly leave without a price: those in it, unless it sells them."""
        if isinstance(request, SetHoldings):
            named = [ticker for ticker, shares in request.holdings.items() if shares]
        elif isinstance(request, SetTargets):
            # Held names may lack a price for a while; names to be bought need one.
            held = {} if self._group.document.head is None else self._group.document.head.holdings
            wanted = {**(request.weights or {}), **(request.budgets or {})}
            named = [ticker for ticker, share in wanted.items() if share and ticker not in held]
        else:
            # Whether it sells out is decided by the store, which knows the holdings.
            named = []
        prices = self._prices_for(named)
        return [ticker for ticker in named if ticker not in prices]

    def _prices_for(self, tickers: Iterable[str]) -> Mapping[str, float]:
        """The prices of names that this client may want to hold."""
        session_id, address = self._group.session_id, self._address
        return self._services.book.prices_for(tickers, session_id=session_id, address=address)

    async def _change(self, request: SetHoldings | Trade | SetTargets) -> store.Portfolio:
        services = self._services
        if isinstance(request, SetTargets):
            return await services.store.set_targets(
                self._group.session_id,
                _targets(request),
                at=rfc3339(services.now()),
                expected_version=request.version,
                incarnation=self._document.incarnation or "",
                known=self._group.document.known,
            )
        if isinstance(request, SetHoldings):
            return await services.store.set_holdings(
                self._group.session_id,
                request.holdings,
                tick=services.book.current,
                at=rfc3339(services.now()),
                expected_version=request.version,
                incarnation=self._document.incarnation or "",
                known=self._group.document.known,
                price_lookup=self._prices_for,
            )
        return await services.store.trade(
            self._group.session_id,
            request.ticker,
            request.shares,
            incarnation=self._document.incarnation or "",
            known=self._group.document.known,
            tick=services.book.current,
            at=rfc3339(services.now()),
            expected_version=request.version,
            price_lookup=self._prices_for,
            last_known=services.book.last_known,
        )

    async def _results(self, request: GetResults) -> None:
        services = self._services
        page = await services.store.newest_results(
            self._group.session_id,
            ticker=request.ticker,
            limit=request.limit,
            # Leave room for other messages: an answer must not make the socket count as too slow.
            max_bytes=services.settings.max_queue_bytes // 4,
        )
        answer = Results(
            ticker=request.ticker, results=page.results, more=True if page.more else None, id=request.id
        )
        self._requester.answer(answer)


def _targets(request: SetTargets) -> Targets | None:
    """The targets to store; None if the request has none."""
    if request.weights is None and request.budgets is None and request.band == BAND:
        return None
    return Targets(request.weights, request.budgets, request.band)
