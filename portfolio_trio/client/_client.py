"""The public interface of the client: requests, analyses, events, state."""

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
    """A client of one session for the length of the block; its state is known when the block begins.

    A connection that is lost, or closed because the server goes away or is overloaded, is opened again with
    exponential back-off and jitter, for as long as the block lasts. Requests in progress then raise
    `Disconnected`; later ones wait for the new connection. If retrying cannot help (a close with 1008, an
    upgrade refused with 401), the client ends: everything raises a `Disconnected` that is not retryable.

    The client's tasks end with the block, whose exceptions are raised unchanged, not in a group. A block that
    ends closes the WebSocket properly, within ``limits.close_seconds``; one that is cancelled drops the
    connection immediately. Either way the server cancels this client's run.

    Args:
        url: ``ws://host:port/ws/session`` or ``wss://...``.
        token: Sent as ``Authorization: Bearer``, if the server requires tokens.
        ssl_context: For ``wss``; by default the system's certificates are trusted.
        limits: Deadlines and bounds.
        backoff: Pauses before reconnecting; after a connection that lasted longer than the longest pause,
            they start again with the first.
        open_stream: Opens the stream to the server, instead of TCP to the URL's host and port.
        rng: Source of the jitter.

    Raises:
        ValueError: The URL has another form.
        ConnectFailed: The first connection could not be opened.
        RuntimeError: It runs in an event loop other than Trio's.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "portfolio_trio.client needs Trio: run it with trio.run(main). Under asyncio any WebSocket "
            "library can be used, such as `websockets` (docs/other-clients.md)"
        )
    address = Address.of(url)
    headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode("ascii"))]
    route = Route(address, headers, open_stream or partial(address.open, ssl_context))
    limits = limits or Limits()
    dispatcher = Dispatcher(limits.max_events)
    # The jitter needs no cryptographic randomness.
    link = Link(route, dispatcher, limits, backoff or Backoff(), rng or random.Random())  # noqa: S311
    async with _running(link):
        yield PortfolioClient(link, dispatcher, limits)


@asynccontextmanager
async def _running(link: Link) -> AsyncGenerator[None]:
    """A link that is connected when the block begins, and closed properly when it ends."""
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
        # A failure must not get lost when a cancellation overtakes the close.
        if failure is None:
            raise
    if failure is not None:
        raise failure


class PortfolioClient:
    """One session of a server; made by `connect`.

    Iterate over it for events: all messages of the server, in order, as the models of
    ``portfolio_trio.protocol`` (`Unknown` for types of a newer server), beginning with the first state. Only
    bare answers (``results``, and errors of requests) go only to their callers. The client adds its own
    events: `ConnectionLost`, and `Missed` if the loop was too slow. The client never waits for the loop: up
    to ``limits.max_events`` events wait, then the oldest are dropped; of ``portfolio_update`` only the newest
    waits. It is one queue: after leaving a loop, a new loop continues, and two loops share the events.

    Several tasks may make requests at once; answers are matched by id. All requests raise:

    - `RequestFailed`: the server answered with an error, or the request cannot be serialised;
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
        """Holdings, version and total value, as of the newest message, also while reconnecting.

        Its ``current_analysis`` is from that message; `running` follows the events.
        """
        return self._dispatcher.state

    @property
    def values(self) -> Mapping[str, float]:
        """Value of each holding at the tick of `state`, without those that have no price."""
        return self._dispatcher.values

    @property
    def running(self) -> AnalysisStarted | Running | None:
        """The run of the session that has started but not ended, whichever client asked for it."""
        return self._dispatcher.running

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
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
        iterator, because an async generator that a loop leaves early is closed only later, when it is
        garbage-collected, and the run would continue until then. A block ends at a known place: when it has
        been left, the server has confirmed that the run and its tasks are over. Only a block that is itself
        cancelled does not wait for that; its ``cancel`` is sent next.

        A client has one analysis at a time, as a session does. Asking for another switches: the previous
        analysis raises `RunCancelled` in its own block.

        Args:
            ticker: Must be held.
            receipt: Include in each result the holdings and prices it was computed from.

        Raises:
            RunFailed: The server cannot carry it out: not held, no price, ... (a `RequestFailed`).
            RunCancelled: It ended before it started.
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
        """An analysis that runs again at every tick and every change, for the length of the block.

            async with portfolio.follow("AAPL") as runs:
                async for run in runs:
                    ...

        It is a block for the same reasons as `analyze`, and has the same rules. It ends when a client asks
        for another analysis or cancels, when a run fails, and with the connection.

        Args:
            ticker: Must be held.
            receipt: Include in each result the holdings and prices it was computed from.
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
        """Get the risk of every holding and of the whole portfolio, from one snapshot."""
        return await self._ask(Risk, "get_risk", correlations=correlations, receipt=receipt)

    async def what_if(self, trades: Mapping[str, float], *, receipt: bool = False) -> WhatIf:
        """Compute the effect of trades; nothing is recorded."""
        return await self._ask(WhatIf, "what_if", trades=dict(trades), receipt=receipt)

    async def set_targets(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        budgets: Mapping[str, float] | None = None,
        band: float = BAND,
        version: int | None = None,
    ) -> Portfolio:
        """Set the targets of the portfolio; those left out are removed."""
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
        """Compute the trades that together reach the targets; nothing is traded."""
        fields = {"cash": cash, "only_buy": only_buy, "whole_shares": whole_shares, "receipt": receipt}
        return await self._ask(Plan, "plan", to=to, **fields)

    async def history(self, bars: int = 252, *, receipt: bool = False) -> History:
        """Compute how today's holdings would have performed over the newest ``bars`` days."""
        return await self._ask(History, "get_history", bars=bars, receipt=receipt)

    async def cancel(self) -> AnalysisCancelled:
        """Cancel the session's run, whoever asked for it; the answer has no ticker if there was none."""
        return await self._ask(AnalysisCancelled, "cancel")

    async def get_portfolio(self) -> Portfolio:
        """Get the state."""
        return await self._ask(Portfolio, "get_portfolio")

    async def set_holdings(self, holdings: Mapping[str, float], *, version: int | None = None) -> Portfolio:
        """Replace the holdings; with ``version``, only at that version (else ``version_conflict``)."""
        return await self._ask(Portfolio, "set_holdings", holdings=dict(holdings), version=version)

    async def trade(self, ticker: str, shares: float, *, version: int | None = None) -> Portfolio:
        """Add shares to one holding; negative ones sell. It is made at most once.

        The trade is sent for the version of `state`, or for ``version``, so that repeating it is safe. If its
        answer is lost, the portfolio is read, and the trade is sent again only if it was not made. If another
        client has changed the portfolio meanwhile, it is sent for the newer version, unless ``version`` was
        given (then ``version_conflict``).

        Raises:
            RequestFailed: With ``outcome_unknown`` if the answer was lost and the portfolio has changed in
                another way since, so that it is unknown whether the trade was made.
        """

        async def send(at_version: int) -> Portfolio:
            return await self._ask(Portfolio, "trade", ticker=ticker, shares=shares, version=at_version)

        return await Trading(
            ticker, shares, known=self.state, version=version, send=send, read=self.get_portfolio
        ).make()

    async def get_results(self, ticker: str | None = None, *, limit: int = 100) -> tuple[ReceivedResult, ...]:
        """Get recorded results, newest last, of one ticker or of all."""
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
        """An id and the text of a request; a request that the server could not parse is refused here."""
        request_id = self._dispatcher.new_id()
        try:
            request = parse_request(json.dumps({"action": action, "id": request_id, **fields}))
        except RequestError as error:
            raise RequestFailed.of(error.answer) from None
        return request_id, request.model_dump_json(exclude_none=True)

    async def _leave(self, analysis: Analysis | Following) -> None:
        """Ask the server to end the run, unless it is over; wait until that is confirmed."""
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
