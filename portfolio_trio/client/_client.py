"""The face of the client: requests, analyses, events, state."""

from __future__ import annotations

import json
import logging
import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import trio

from portfolio_trio.backoff import Backoff
from portfolio_trio.client._analysis import Analysis
from portfolio_trio.client._dispatcher import Dispatcher
from portfolio_trio.client._errors import Disconnected, RequestFailed, RequestTimedOut, RunCancelled
from portfolio_trio.client._following import Following
from portfolio_trio.client._link import Limits, Link, Route
from portfolio_trio.client._socket import Address
from portfolio_trio.client._trading import Trading
from portfolio_trio.protocol.decisions import History, Plan, Risk, WhatIf
from portfolio_trio.protocol.events import ProtocolError, ReceivedResult
from portfolio_trio.protocol.messages import (
    AnalysisCancelled,
    Error,
    Message,
    Portfolio,
    Results,
)
from portfolio_trio.protocol.requests import RequestError, parse_request
from portfolio_trio.targets import BAND

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from portfolio_trio.client._calls import Call, Frame
    from portfolio_trio.client._events import Event
    from portfolio_trio.protocol.messages import AnalysisStarted, Running

log: Final = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=Message)


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    backoff: Backoff | None = None,
    open_stream: Callable[[], Awaitable[trio.abc.Stream]] | None = None,
    rng: random.Random | None = None,
) -> AsyncGenerator[PortfolioClient]:
    """A client of one session for the length of the block; its state is there when the block begins.

    A connection that is lost, or closed because the server goes away or is overloaded, is opened again with
    exponential back-off and jitter, for as long as the block lasts. What was under way then raises
    `Disconnected`; what is asked for meanwhile waits. What a repetition cannot mend (a close with 1008, an
    upgrade refused with 401) ends the client: everything raises a `Disconnected` that is not retryable.

    Every task of the client is a child of this block and ends with it. What the block raises comes out as it
    is, not in an exception group. A block that ends says goodbye, within ``limits.close_seconds``; one that
    is cancelled drops the connection at once. Either way the server cancels what runs for this client.

    Args:
        url: ``ws://host:port/ws/session`` or ``wss://...``.
        token: Sent as ``Authorization: Bearer``, where the server asks for tokens.
        ssl_context: For ``wss``; by default the system's certificates are trusted.
        limits: Deadlines and bounds.
        backoff: Pauses before connecting again; a connection that lasted longer than the longest of them
            starts over with the first.
        open_stream: Opens the stream to the server, instead of TCP to the URL's host and port.
        rng: Draws the jitter.

    Raises:
        ValueError: The URL is not of that form.
        ConnectFailed: The first connection could not be opened.
        RuntimeError: It runs in another event loop than Trio's.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "portfolio_trio.client is for Trio: run it with trio.run(main). Under asyncio any WebSocket "
            "library speaks to the server, such as `websockets` (docs/other-clients.md)"
        )
    address = Address.of(url)
    headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode("ascii"))]
    route = Route(address, headers, open_stream or partial(address.open, ssl_context))
    limits = limits or Limits()
    dispatcher = Dispatcher(limits.max_events)
    # The jitter only has to spread.
    link = Link(route, dispatcher, limits, backoff or Backoff(), rng or random.Random())  # noqa: S311
    async with _running(link):
        yield PortfolioClient(link, dispatcher, limits)


@asynccontextmanager
async def _running(link: Link) -> AsyncGenerator[None]:
    """A link that is connected when the block begins, and says goodbye when it ends."""
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            # Raised again below, outside the nursery's group.
            try:
                await link.connected()
                yield
            except Exception as error:  # noqa: BLE001
                failure = error
            await link.close()
            nursery.cancel_scope.cancel()
    except* trio.Cancelled:
        # A failure must not get lost in the cancellation that overtook the goodbye.
        if failure is None:
            raise
    if failure is not None:
        raise failure


class PortfolioClient:
    """One session of a server; made by `connect`.

    Iterate over it for events: whatever the server tells, in order, as the models of
    ``portfolio_trio.protocol`` (`Unknown` for types of a newer server), beginning with the first state. Only
    bare answers (``results``, and errors of requests) go to their callers alone. What the client itself has
    to say stands in between: `ConnectionLost`, and `Missed` where the loop was too slow. The client never
    waits for the loop: up to ``limits.max_events`` events wait, then the oldest are dropped; of
    ``portfolio_update`` only the newest waits. It is one queue: a loop that is left can be taken up again,
    and two loops share the events.

    Requests may be made from several tasks at once; ids match the answers. All of them raise:

    - `RequestFailed`: the server answered with an error, or the request cannot be written down;
    - `RequestTimedOut`: no answer within ``limits.request_seconds``;
    - `Disconnected`: the connection was lost before the answer, and ``sent`` says whether the request may
      have been carried out; or the client has given up.
    """

    def __init__(self, link: Link, dispatcher: Dispatcher, limits: Limits) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._limits = limits
        self._slots = trio.Semaphore(limits.max_requests)

    @property
    def state(self) -> Portfolio:
        """Holdings, version and total value, as of the newest message; while reconnecting, the last known.

        ``current_analysis`` in it is what the server said with it; `running` follows the events.
        """
        return self._dispatcher.state

    @property
    def values(self) -> Mapping[str, float]:
        """Value of each holding at the tick of `state`, without those that have no price."""
        return self._dispatcher.values

    @property
    def running(self) -> AnalysisStarted | Running | None:
        """The run of the session that has started and not ended, whoever asked for it."""
        return self._dispatcher.running

    @property
    def connected(self) -> bool:
        """Whether there is a connection at the moment."""
        return self._link.up

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._dispatcher.events.take()

    @asynccontextmanager
    async def analyze(self, ticker: str, *, receipt: bool = False) -> AsyncGenerator[Analysis]:
        """An analysis for the length of the block; leaving the block early cancels it.

            async with portfolio.analyze("AAPL") as results:
                async for outcome in results:
                    ...

        The block begins when the server has started the run. It is a context manager and not a bare async
        iterator, because Trio closes an async generator that a loop leaves early only some time later, when
        it is collected: the run would go on meanwhile. A block ends at a known place: when it has been left,
        the server has confirmed that the run and its tasks are over. Only a block that is itself cancelled
        does not wait for that; its ``cancel`` is the next thing that is sent.

        A client has one analysis at a time, as a session has. Asking for another switches: the analysis from
        before raises `RunCancelled` in its own block.

        Args:
            ticker: Must be held.
            receipt: Let each result carry the holdings and prices it was computed from.

        Raises:
            RunFailed: The server cannot carry it out: not held, no price, ... (a `RequestFailed`).
            RunCancelled: It was ended before it had started.
        """
        request_id, text = self._write("analyze", ticker=ticker, receipt=receipt)
        frame = await self._send_analysis(text)
        analysis = Analysis(ticker.upper(), request_id, frame, self._limits.request_seconds)
        self._dispatcher.begin_analysis(analysis)
        try:
            await analysis.wait_started()
            yield analysis
        finally:
            await self._leave(analysis)

    @asynccontextmanager
    async def follow(self, ticker: str, *, receipt: bool = False) -> AsyncGenerator[Following]:
        """An analysis that is made anew at every tick and every change, for the length of the block.

            async with portfolio.follow("AAPL") as runs:
                async for run in runs:
                    ...

        A block and not a bare iterator for the reasons of `analyze`, whose rules hold here, too. It ends when
        somebody asks for another analysis or cancels, when a run fails, and with the connection.

        Args:
            ticker: Must be held.
            receipt: Let each result carry the holdings and prices it was computed from.
        """
        request_id, text = self._write("analyze", ticker=ticker, receipt=receipt, follow=True)
        following = Following(ticker.upper(), request_id, await self._send_analysis(text))
        self._dispatcher.begin_analysis(following)
        try:
            yield following
        finally:
            await self._leave(following)

    async def _send_analysis(self, text: str) -> Frame:
        with trio.move_on_after(self._limits.request_seconds) as patience:
            await self._link.connected()
        if patience.cancelled_caught:
            raise RequestTimedOut("analyze", self._limits.request_seconds, sent=False)
        if self._dispatcher.analysis is not None:
            self._link.take_back(self._dispatcher.analysis.frame)
        return self._link.send(text)

    async def risk(self, *, correlations: bool = False, receipt: bool = False) -> Risk:
        """What carries the risk: every holding and the whole, from one snapshot."""
        return await self._ask(Risk, "get_risk", correlations=correlations, receipt=receipt)

    async def what_if(self, trades: Mapping[str, float], *, receipt: bool = False) -> WhatIf:
        """What trades would do; nothing is recorded."""
        return await self._ask(WhatIf, "what_if", trades=dict(trades), receipt=receipt)

    async def set_targets(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        budgets: Mapping[str, float] | None = None,
        band: float = BAND,
        version: int | None = None,
    ) -> Portfolio:
        """Say where the portfolio is to be; what is left out is not set any more, nothing clears it."""
        fields = {"weights": weights and dict(weights), "budgets": budgets and dict(budgets)}
        return await self._ask(Portfolio, "set_targets", **fields, band=band, version=version)

    async def plan(
        self,
        to: Literal["weights", "budgets"],
        *,
        cash: float = 0.0,
        only_buy: bool = False,
        whole_shares: bool = False,
        receipt: bool = False,
    ) -> Plan:
        """The trades that together reach the targets; nothing is traded."""
        fields = {"cash": cash, "only_buy": only_buy, "whole_shares": whole_shares, "receipt": receipt}
        return await self._ask(Plan, "plan", to=to, **fields)

    async def history(self, bars: int = 252, *, receipt: bool = False) -> History:
        """How today's holdings would have fared over so many of the newest days."""
        return await self._ask(History, "get_history", bars=bars, receipt=receipt)

    async def cancel(self) -> AnalysisCancelled:
        """Cancel what runs in the session, whoever asked for it; the answer has no ticker if nothing ran."""
        return await self._ask(AnalysisCancelled, "cancel")

    async def get_portfolio(self) -> Portfolio:
        """Ask for the state."""
        return await self._ask(Portfolio, "get_portfolio")

    async def set_holdings(self, holdings: Mapping[str, float], *, version: int | None = None) -> Portfolio:
        """Replace the holdings; with ``version`` only if it is still that (else ``version_conflict``)."""
        return await self._ask(Portfolio, "set_holdings", holdings=dict(holdings), version=version)

    async def trade(self, ticker: str, shares: float, *, version: int | None = None) -> Portfolio:
        """Add shares to one holding; negative ones sell. It is made at most once.

        The trade is sent for the version of `state`, or for ``version``, so that repeating it is safe. Where
        its answer is lost, the portfolio is read, and the trade is sent again only if it has not been made.
        Where somebody else has changed the portfolio meanwhile it is sent for the newer version, unless
        ``version`` was given (then ``version_conflict``).

        Raises:
            RequestFailed: With ``outcome_unknown`` where the answer was lost and the portfolio has changed in
                another way since, so that nobody can tell whether the trade was made.
        """

        async def send(at_version: int) -> Portfolio:
            return await self._ask(Portfolio, "trade", ticker=ticker, shares=shares, version=at_version)

        return await Trading(
            ticker, shares, known=self.state, version=version, send=send, read=self.get_portfolio
        ).make()

    async def get_results(self, ticker: str | None = None, *, limit: int = 100) -> tuple[ReceivedResult, ...]:
        """Recorded results, newest last, of one ticker or of all."""
        answer = await self._ask(Results, "get_results", ticker=ticker, limit=limit)
        return tuple(ReceivedResult.model_validate(record) for record in answer.results)

    async def _ask(self, kind: type[Answer], action: str, **fields: object) -> Answer:
        request_id, text = self._write(action, **fields)
        call = None
        with trio.move_on_after(self._limits.request_seconds):
            async with self._slots:
                await self._link.connected()
                call = self._dispatcher.begin_call(request_id, self._link.send(text))
                return await self._answer(kind, request_id, call)
        raise RequestTimedOut(action, self._limits.request_seconds, sent=call is not None and call.frame.sent)

    async def _answer(self, kind: type[Answer], request_id: int, call: Call) -> Answer:
        try:
            answer = await call.answer()
        finally:
            self._dispatcher.forget_call(request_id)
            self._link.take_back(call.frame)
        if isinstance(answer, Error):
            raise RequestFailed.of(answer)
        if not isinstance(answer, kind):
            raise ProtocolError(f"a message that is no {kind.__name__} answers the request")
        return answer.model_copy(update={"id": None})

    def _write(self, action: str, **fields: object) -> tuple[int, str]:
        """An id and the text of a request; what the server would refuse to read is refused here."""
        request_id = self._dispatcher.new_id()
        try:
            request = parse_request(json.dumps({"action": action, "id": request_id, **fields}))
        except RequestError as error:
            raise RequestFailed.of(error.answer) from None
        return request_id, request.model_dump_json(exclude_none=True)

    async def _leave(self, analysis: Analysis | Following) -> None:
        """Let the server end the run, unless it is over; wait until that is confirmed."""
        open_still = self._dispatcher.leave_analysis(analysis)
        analysis.end(RunCancelled(analysis.ticker, "cancelled"))
        if not open_still or self._link.take_back(analysis.frame):
            return
        request_id, text = self._write("cancel", of=analysis.request_id)
        # Queued before the first checkpoint, so that it is sent even if this scope is cancelled.
        call = self._dispatcher.begin_call(request_id, self._link.send(text))
        with trio.move_on_after(self._limits.request_seconds) as patience:
            try:
                await call.answer()
            except Disconnected:
                # The run has ended with the connection.
                return
            finally:
                self._dispatcher.forget_call(request_id)
        if patience.cancelled_caught:
            log.warning("the end of the analysis of %s was not confirmed in time", analysis.ticker)
