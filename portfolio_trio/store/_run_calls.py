"""The life of a run in its document: its start, its results and its end, each fenced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.store import _replies
from portfolio_trio.store._document_calls import DocumentCalls
from portfolio_trio.store._texts import (
    checked_ticker,
    checked_time,
    ending_text,
)
from portfolio_trio.store.models import NOTHING, Ending, Known, RunEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portfolio_trio.store.models import Computed, RunStart


class RunCalls(DocumentCalls):
    """Starts, records and ends runs."""

    async def start_analysis(
        self,
        session_id: str,
        *,
        ticker: str,
        started_at: str,
        tick_id: int,
        incarnation: str = "",
        token: str = "",
        known: Known = NOTHING,
        ended: Ending | None = None,
        after: int | None = None,
        computed: Computed | None = None,
    ) -> RunStart:
        """Make a new run the session's current one; later writes of older runs are refused.

        Results computed in advance are stored with the start, if the document still is what they were
        computed on; if they are all the run's results, the run ends at once and none is current. Otherwise
        they are not stored.

        Args:
            session_id: The session.
            ticker: What it analyses.
            started_at: Now.
            tick_id: The newest tick.
            incarnation: Of the intended document.
            token: Lets `finish_analysis` find the run if the reply to this call does not arrive.
            known: What the caller knows of the document.
            ended: How the caller's previous run ended, if the document may not have it.
            after: The run that must still be the newest: the caller continues from it, unless another was
                requested since.
            computed: Results that only wait for the start.

        Raises:
            RunSuperseded: A run other than ``after`` is the newest.
            SessionMissing: There is no such session.
            FellBack: The document has fallen behind ``known``.
        """
        args = (checked_ticker(ticker), checked_time(started_at), tick_id, self._ttl, self.worker)
        before = ("", "") if ended is None else (ended.run_id, ending_text(ended))
        # Sent twice, it starts once; without a token it skips a number, which is harmless.
        which = (incarnation, token, known.text, *before, "" if after is None else after)
        ahead = () if computed is None else self._ahead(computed)
        reply = await self._run(
            "start_analysis", session_id, *args, *which, *ahead, known=known, idempotent=True
        )
        return _replies.run_start(
            session_id, reply, started_at=started_at, tick_id=tick_id, computed=computed
        )

    def _ahead(self, computed: Computed) -> tuple[bytes | str | int, ...]:
        head, limits = computed.head, (self._max_results, self._max_results_bytes)
        ends = int(computed.finish), computed.errors
        return (computed.run_id, head.version, *head.texts, *limits, *ends, *computed.results)

    async def record_results(
        self,
        session_id: str,
        *,
        run_id: int,
        version: int,
        results: Sequence[bytes | str],
        at: str,
        finish: bool = False,
        recorded: int | None = None,
        incarnation: str = "",
        token: str = "",
        errors: int = 0,
    ) -> tuple[str, ...]:
        """Append results of the current run and drop the oldest beyond the limit.

        Args:
            session_id: The session.
            run_id: The run that computed them.
            version: The holdings' version it worked on.
            results: JSON texts, one result each, oldest first.
            at: Now.
            finish: The run ends with these: nothing is current afterwards.
            recorded: How many results of this run the caller has stored before. With it, a call whose reply
                was lost is sent again and stores its results once; without it, it raises `StoreUnavailable`,
                and may have stored them.
            incarnation: Of the intended document.
            token: Of the run's start: after the document fell back, another run may have the same number.
            errors: With ``finish``: how many metrics of the run gave no result.

        Returns:
            The other workers that have sockets of the session.

        Raises:
            RunSuperseded: A newer run is current.
            RunNotCurrent: No run is current.
            PortfolioChanged: The holdings have another version now.
            ResultsOutOfStep: The document has a different number of results of this run than ``recorded``.
            FellBack: The document lacks the run or stored results of it; only with an ``incarnation``.
            SessionMissing: There is no such session.
        """
        before = "" if recorded is None else recorded
        limits = (self._max_results, self._max_results_bytes)
        rest = (checked_time(at), self._ttl, *limits, int(finish), self.worker, incarnation, token, errors)
        args = (run_id, version, before, *rest, *results)
        known, repeatable = Known(incarnation, run_id, version), recorded is not None
        reply = await self._run("record_results", session_id, *args, known=known, idempotent=repeatable)
        if reply[0] not in {b"ok", b"repeated"}:
            raise _replies.refusal(session_id, reply)
        return _replies.workers(reply[1:])

    async def finish_analysis(
        self,
        session_id: str,
        *,
        run_id: int | None = None,
        token: str = "",
        incarnation: str = "",
        ending: Ending | None = None,
        own: bool = False,
    ) -> RunEnd:
        """Record that a run ended before its last result, if it is still the current one.

        Does not count as the client's activity. If the number of the run is not known, because the reply to
        its start was lost, the token of the start identifies it; if both are given, the run must match both.

        Args:
            session_id: The session.
            run_id: The run.
            token: Of its start, if its number is not known.
            incarnation: Of the intended document.
            ending: How it ended; ``disconnected`` by default.
            own: This worker ran it, and has reported how it ended: the document records that, even if the run
                is no longer current.

        Raises:
            SessionMissing: There is no such session.
        """
        how = ending_text(ending or Ending(0, "cancelled", "disconnected"))
        args = ("" if run_id is None else run_id, self.worker, incarnation, token, how, int(own))
        reply = await self._run("finish_analysis", session_id, *args, idempotent=True)
        if reply[0] in {b"superseded", b"not_running"}:
            text, *others = reply[2 if reply[0] == b"superseded" else 1 :]
            return RunEnd(cleared=False, others=_replies.workers(others), ending=_replies.ending(text))
        if reply[0] != b"ok":
            raise _replies.refusal(session_id, reply)
        _, cleared, ticker, text, *others = reply
        return RunEnd(
            cleared=True,
            others=_replies.workers(others),
            run_id=int(cleared),
            ticker=ticker.decode(),
            ending=_replies.ending(text),
        )
