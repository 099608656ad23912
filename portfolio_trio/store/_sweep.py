"""One tick applied to many sessions: a window of keys at a time, keeping only counts."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from portfolio_trio.store import _replies
from portfolio_trio.store._calls import Timed, translated
from portfolio_trio.store._keys import KEY_PATTERN, key_of, session_of
from portfolio_trio.store.errors import StoreError
from portfolio_trio.store.models import Revaluation, SweepReport
from portfolio_trio.store.scripts import script
from portfolio_trio.telemetry import OFF

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from portfolio_trio.redis import RedisClient
    from portfolio_trio.store._prices import Prices
    from portfolio_trio.store.models import Outcome
    from portfolio_trio.telemetry import Telemetry

# One window is in flight at a time, and clients' calls wait behind it: 16 documents of ten holdings take a
# server a third of a millisecond. Four windows of 64 at a time would sweep a third to a half faster, but each
# call of a client would wait for six milliseconds.
WINDOW: Final = 16
_EXAMPLES: Final = 10
# At most this many names without a price are counted individually; more are not worth the memory.
_MOST_UNPRICED: Final = 10_000


class Revaluer:
    """Revalues documents at one tick, and clears what lost workers have left in them."""

    def __init__(
        self, client: RedisClient, prices: Prices, lost: Sequence[str] = (), *, telemetry: Telemetry = OFF
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._prices = prices
        self._lost = lost
        self.held: set[str] | None = set()
        """Names with a price that were found in documents; None as soon as that is not known."""

    def windows(self, session_ids: Sequence[str]) -> Iterable[Sequence[str]]:
        """Split sessions into windows that are in flight together: in one call, or in many on a cluster."""
        return (session_ids[at : at + WINDOW] for at in range(0, len(session_ids), WINDOW))

    async def revalue(self, session_ids: Sequence[str]) -> list[Revaluation]:
        """Revalue one window; where prices are missing, look them up and try those sessions once more.

        Raises:
            StoreError: Redis failed.
        """
        # Prices are sent once per call.
        offer = self._prices.offer(len(session_ids) if self._client.many_keys else 1)
        if offer:
            self.held = None
        outcomes = await self._call(session_ids, offer)
        unpriced = dict.fromkeys(name for outcome in outcomes for name in outcome.unpriced)
        found = self._prices.find(unpriced) if unpriced else {}
        if not found:
            return outcomes
        if self.held is not None:
            self.held |= found.keys()
        again = [place for place, outcome in enumerate(outcomes) if outcome.unpriced]
        second = await self._call([session_ids[place] for place in again], {**offer, **found})
        for place, outcome in zip(again, second, strict=True):
            outcomes[place] = outcome
        return outcomes

    async def _call(self, session_ids: Sequence[str], prices: Mapping[str, float]) -> list[Revaluation]:
        tick = self._prices
        args: tuple[str | int, ...] = (tick.tick_id, tick.as_of, tick.text(prices), *self._lost)
        keys = [key_of(session_id) for session_id in session_ids]
        try:
            with translated(), Timed(self._telemetry, "revalue"):
                replies = await self._run(keys, args)
        except StoreError as error:
            if type(error) is not StoreError:
                raise
            return await self._one_by_one(session_ids, prices)
        return [_replies.revaluation(*pair) for pair in zip(session_ids, replies, strict=True)]

    async def _run(self, keys: Sequence[str], args: Sequence[str | int]) -> list[list[bytes]]:
        revalue = script("revalue")
        if self._client.many_keys:
            replies: list[list[bytes]] = await self._client.run_script(revalue, keys, args, idempotent=True)
            return replies
        return [reply for (reply,) in await self._client.run_script_each(revalue, keys, args)]

    async def _one_by_one(self, session_ids: Sequence[str], prices: Mapping[str, float]) -> list[Revaluation]:
        """A document on which the script fails must not keep the rest of its window from being valued."""
        if len(session_ids) == 1:
            return [Revaluation(session_ids[0], "failed")]
        return [(await self._call([session_id], prices))[0] for session_id in session_ids]


class Sweep:
    """All sessions at one tick."""

    def __init__(
        self, client: RedisClient, prices: Prices, lost: Sequence[str] = (), *, telemetry: Telemetry = OFF
    ) -> None:
        self._client = client
        self._revaluer = Revaluer(client, prices, lost, telemetry=telemetry)
        self._tick_id = prices.tick_id
        self._counts: Counter[Outcome] = Counter()
        self._unpriced: dict[str, None] = {}
        self._examples: list[Revaluation] = []

    async def run(self) -> SweepReport:
        """Find the sessions and revalue them.

        Raises:
            StoreError: Redis failed; some sessions may have been revalued.
        """
        # An async generator that is not exhausted must be closed explicitly.
        pages = cast("AsyncGenerator[list[bytes], None]", self._client.scan_keys(KEY_PATTERN))
        with translated():
            async with aclosing(pages):
                async for page in pages:
                    for window in self._revaluer.windows(self._sessions(page)):
                        self._note(await self._revaluer.revalue(window))
        held = self._revaluer.held
        return SweepReport(
            self._tick_id,
            dict(self._counts),
            tuple(islice(self._unpriced, _EXAMPLES)),
            tuple(self._examples),
            None if held is None else frozenset(held),
            len(self._unpriced),
        )

    def _sessions(self, page: Sequence[bytes]) -> list[str]:
        sessions = []
        for key in page:
            session_id = session_of(key)
            if session_id is None:
                self._note([Revaluation(repr(key), "wrong_type")])
            else:
                sessions.append(session_id)
        return sessions

    def _note(self, outcomes: Sequence[Revaluation]) -> None:
        for outcome in outcomes:
            self._counts[outcome.outcome] += 1
            if outcome.outcome not in {"revalued", "stale", "missing"} and len(self._examples) < _EXAMPLES:
                self._examples.append(outcome)
            for name in outcome.unpriced:
                if len(self._unpriced) < _MOST_UNPRICED:
                    self._unpriced[name] = None
