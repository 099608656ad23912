"""Remove one safeguard after the other from a copy of the project, and see a test fail each time.

    python -m tests.mutants

Every fence of the scripts, the await of the old run, the purge of the queue and their like: what keeps stale
numbers from leaving. The exit status is 0 if each of them is missed by a test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("portfolio_trio", "lua", "tests", "examples", "pyproject.toml", "README.md", "compose.yaml")
CORE = (
    "tests/session/test_connection.py",
    "tests/session/test_races.py",
    "tests/peers/test_tick_feed.py",
    "tests/session/test_histories.py",
)
STORE = ("tests/store/test_runs.py", "tests/store/test_holdings.py", "tests/store/test_sweep.py")
RESULTS = ("tests/store/test_results.py",)
WORKERS = ("tests/store/test_workers.py",)
NUMBERS = ("tests/store/test_numbers.py",)
PEERS = ("tests/peers",)
CONTAINED = ("tests/server/test_contained_faults.py",)
DRAIN = ("tests/server/test_drain.py", "tests/session/test_histories.py")
SLOW = ("tests/session/test_slow_sockets.py", "tests/session/test_connection.py")
CALENDARS = ("tests/metrics/test_calendars.py",)
SERVERS = ("tests/peers/test_two_servers.py",)
UNPRICED = ("tests/server/test_unpriced.py",)
FILES = ("tests/market/test_csv_source.py",)
ORDER = ("tests/hub/test_stage.py", "tests/hub/test_order.py")
FALLEN = ("tests/session/test_fallen_back.py", "tests/store/test_fallen_back.py")
EXPIRED = ("tests/session/test_expired.py",)
ENDS = ("tests/store/test_run_ends.py", "tests/peers/test_ends_of_runs.py")
ORPHANS = ("tests/session/test_orphans.py",)


@dataclass(frozen=True)
class Mutant:
    """One safeguard, and the text that takes its place."""

    missing: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...] = CORE


MUTANTS = (
    Mutant(
        "the look whether a document has fallen back",
        "lua/prelude.lua",
        "if not incarnation or field(",
        "if true or field(",
        FALLEN,
    ),
    Mutant(
        "the incarnation of what is known",
        "lua/prelude.lua",
        "if not incarnation or field(reply, '$.incarnation') ~= quoted(incarnation) then",
        "if not incarnation then",
        FALLEN,
    ),
    Mutant(
        "the fence against a start in a document that has fallen back",
        "lua/start_analysis.lua",
        "if is_behind(reply, known) then return {'behind'} end\n",
        "",
        FALLEN,
    ),
    Mutant(
        "the fence against an edit of holdings that are not the newest",
        "lua/trade.lua",
        "if is_behind(reply, known) then return {'behind'} end\n",
        "",
        FALLEN,
    ),
    Mutant(
        "the same where holdings are replaced",
        "lua/set_holdings.lua",
        "if is_behind(reply, known) then return {'behind'} end\n",
        "",
        FALLEN,
    ),
    Mutant(
        "the same where holdings are read",
        "lua/open_session.lua",
        "if is_behind(reply, known) then return {'behind'} end\n",
        "",
        FALLEN,
    ),
    Mutant(
        "the end of a lost run in a document that is lifted",
        "lua/lift.lua",
        "if current and current < run_id then",
        "if false then",
        FALLEN,
    ),
    Mutant(
        "the new version of a document that is lifted",
        "lua/lift.lua",
        "integer(math.max(version, seen + 1))",
        "integer(math.max(version, seen))",
        FALLEN,
    ),
    Mutant(
        "the restart of a run that the document lacks",
        "lua/record_results.lua",
        "(lacks_run or lacks_results)",
        "lacks_results",
        FALLEN,
    ),
    Mutant(
        "the restart of a run whose results the document lacks",
        "lua/record_results.lua",
        "(lacks_run or lacks_results)",
        "lacks_run",
        FALLEN,
    ),
    Mutant(
        "the token that tells a run from its namesake",
        "lua/record_results.lua",
        "~= run_id or is_namesake then",
        "~= run_id then",
        FALLEN,
    ),
    Mutant(
        "the same where a run is cleared",
        "lua/finish_analysis.lua",
        "if not (has_number and has_token) then",
        "if not has_number then",
        FALLEN,
    ),
    Mutant(
        "the look at holdings under a version that was shown",
        "portfolio_trio/hub/hub.py",
        "shown.version == version and shown.holdings != holdings",
        "False",
        FALLEN,
    ),
    Mutant(
        "the word to the other workers of a document that was lifted",
        "portfolio_trio/hub/hub.py",
        '        self._tell("portfolio", state, state.to_json(), has_fallen=True)\n',
        "",
        FALLEN,
    ),
    Mutant(
        "the restart of a run on another worker after that word",
        "portfolio_trio/peers/subscriber.py",
        "None if note.has_fallen else standing",
        "standing",
        FALLEN,
    ),
    Mutant(
        "the restart of runs here when a document is lifted",
        "portfolio_trio/peers/subscriber.py",
        "                    room.renew_runs(lost.version + 1)\n",
        "",
        FALLEN,
    ),
    Mutant(
        "the second try of a request at a document that was lifted",
        "portfolio_trio/session/handlers.py",
        "                await self._carry_out(request)\n        except SessionMissing",
        "                raise\n        except SessionMissing",
        FALLEN,
    ),
    Mutant(
        "the look of a tick at a document that has fallen back",
        "portfolio_trio/peers/tick_feed.py",
        "portfolio.incarnation != room.incarnation or has_fallen",
        "portfolio.incarnation != room.incarnation",
        FALLEN,
    ),
    Mutant(
        "the reading again of a portfolio while the store is away, after a lost reply",
        "portfolio_trio/client/_trading.py",
        "if failure.code != ErrorCode.UNAVAILABLE:",
        "if True:",
        ("tests/client/test_trading.py",),
    ),
    Mutant(
        "the opening of sessions whose default holdings have no price",
        "portfolio_trio/session/services.py",
        "self.book.values_for\n",
        "self.book.prices_for\n",
        ("tests/server/test_unpriced.py",),
    ),
    Mutant(
        "the refusal of a column of cash that is none by the inspection",
        "portfolio_trio/cli/prices.py",
        "            check_cash_column(source.name, bars, ticker)\n",
        "            pass\n",
        ("tests/cli/test_prices.py",),
    ),
    Mutant(
        "the bound of prices, beyond which no document holds a total",
        "portfolio_trio/market/_check.py",
        "if not 0.0 < price <= MAX_PRICE:",
        'if not 0.0 < price < float("inf"):',
        ("tests/market/test_live_file.py",),
    ),
    Mutant(
        "the word to the asker alone that the session has expired",
        "portfolio_trio/session/runner.py",
        "        if alone:\n",
        "        if False:\n",
        EXPIRED,
    ),
    Mutant(
        "the look at what has been shown before a run is cancelled that stands in the document",
        "portfolio_trio/session/handlers.py",
        "return None if self._room.stage.is_over(current.run_id) else current",
        "return current",
        ORPHANS,
    ),
    Mutant(
        "the passing over of blank rows with commas",
        "portfolio_trio/market/_csv_bars.py",
        "if cells and (cells[0].strip() or any(map(str.strip, cells))):",
        "if cells:",
        ("tests/market/test_csv_bars.py",),
    ),
    Mutant(
        "the refusal of one stock's table whose columns are called by its name",
        "portfolio_trio/market/_csv_header.py",
        "if len(fields) > 1:",
        "if False:",
        ("tests/market/test_csv_bars.py",),
    ),
    Mutant(
        "the end that a canceller is not answered with",
        "portfolio_trio/session/runner.py",
        "but=answered if run.reason is EndReason.CANCELLED else None",
        "but=answered",
        ORDER,
    ),
    Mutant(
        "the limit of sessions that are made by opening sockets",
        "portfolio_trio/session/handlers.py",
        "                self._count_new()\n",
        "                pass\n",
        ("tests/server/test_entrance.py",),
    ),
    Mutant(
        "the reading of sessions on a full server",
        "lua/open_session.lua",
        "if string.find(answer.err, 'OOM', 1, true) then return false end",
        "",
        ("tests/server/test_faults.py",),
    ),
    Mutant(
        "the look whether the store takes writes, in readiness",
        "portfolio_trio/server/server.py",
        "        if refusal is not None:\n",
        "        if False:\n",
        ("tests/server/test_faults.py",),
    ),
    Mutant(
        "what is on its way, in the limit of the queue",
        "portfolio_trio/session/outbox.py",
        "self._bytes + self._in_flight_bytes",
        "self._bytes",
        ("tests/session/test_outbox.py",),
    ),
    Mutant(
        "bytes and not characters in the limit of the queue",
        "portfolio_trio/session/outbox.py",
        "len(text) if text.isascii() else len(text.encode())",
        "len(text)",
        ("tests/session/test_outbox.py",),
    ),
    Mutant(
        "the version of a trade",
        "lua/trade.lua",
        "if ARGV[10] ~= '' and",
        "if false and",
        STORE,
    ),
    Mutant(
        "the answer of its own to a change whose reply was lost",
        "portfolio_trio/store/_store.py",
        "            if failure.sent:\n                raise OutcomeUnknown",
        "            if False:\n                raise OutcomeUnknown",
        ("tests/session/test_connection.py",),
    ),
    Mutant(
        "the look at the portfolio before a trade is sent again",
        "portfolio_trio/client/_trading.py",
        "        elif now.version != self._version:\n            return self._decide(now)\n",
        "",
        ("tests/client/test_trading.py",),
    ),
    Mutant(
        "the refusal of names that stand twice",
        "portfolio_trio/protocol/messages.py",
        "    twice = repeated_name(frame, names)\n",
        "    twice = None\n",
        ("tests/protocol/test_messages.py",),
    ),
    Mutant(
        "the refusal of unknown fields",
        "portfolio_trio/protocol/messages.py",
        ', extra="forbid"',
        "",
        ("tests/protocol/test_messages.py",),
    ),
    Mutant(
        "numbers in a document that can be counted on",
        "lua/prelude.lua",
        "value >= 0 and value < 2 ^ 53 and value % 1 == 0",
        "true",
        STORE,
    ),
    Mutant(
        "the refusal to trade a name at a price it has no more",
        "portfolio_trio/store/_prices.py",
        "if name not in found and name != traded]",
        "if name not in found]",
        (*UNPRICED, "tests/store/test_holdings.py"),
    ),
    Mutant(
        "the last known price of a line in a sweep",
        "portfolio_trio/market/updater.py",
        "price_lookup=self._book.values_for",
        "price_lookup=self._book.prices_for",
        UNPRICED,
    ),
    Mutant(
        "the word that waiting does not help",
        "portfolio_trio/hub/unpriced.py",
        '"retryable": not ended',
        '"retryable": True',
        UNPRICED,
    ),
    Mutant(
        "the staleness of a portfolio with a name without a price",
        "portfolio_trio/market/_freshness.py",
        "stale=stale or bool(unpriced) or",
        "stale=stale or",
        UNPRICED,
    ),
    Mutant(
        "the age of the bars",
        "portfolio_trio/market/_freshness.py",
        "newest_bar < self.oldest_bar(now)",
        'newest_bar < ""',
        UNPRICED,
    ),
    Mutant(
        "the age of the live prices",
        "portfolio_trio/market/_freshness.py",
        "and now - quoted_at > self.price_seconds",
        "and now < quoted_at",
        UNPRICED,
    ),
    Mutant(
        "the reasons of the default holdings in /ready",
        "portfolio_trio/server/startup.py",
        "    if not unpriced:\n        return book.current.why\n",
        "    if True:\n        return book.current.why\n",
        UNPRICED,
    ),
    Mutant(
        "the one reading of a version that cannot be used",
        "portfolio_trio/market/_watched_file.py",
        "version_of(path) == seen[0]:",
        "version_of(path) == seen[0] and not isinstance(seen[1], PriceFileError):",
        FILES,
    ),
    Mutant(
        "the reading that goes on when nobody waits",
        "portfolio_trio/market/_watched_file.py",
        "        if self._reading is None:\n",
        "        if True:\n",
        FILES,
    ),
    Mutant(
        "the refusal of a day in the future",
        "portfolio_trio/market/_csv_source.py",
        "        table.check_past(rfc3339(self._now())[:DATE_LENGTH], file.path)\n",
        "",
        FILES,
    ),
    Mutant(
        "the bound in bytes of what a document keeps",
        "lua/record_results.lua",
        "first >= excess and bytes <= max_bytes or",
        "first >= excess or",
        RESULTS,
    ),
    Mutant(
        "the bound in bytes of an answer",
        "lua/get_results.lua",
        "if taken == limit or (taken > 0 and bytes + size > max_bytes) then",
        "if taken == limit then",
        RESULTS,
    ),
    Mutant(
        "the bound in bytes of the receipts in an answer",
        "portfolio_trio/store/_results.py",
        "if length > max_bytes and index",
        "if False and index",
        RESULTS,
    ),
    Mutant(
        "the receipt that is stored once",
        "portfolio_trio/session/analysis.py",
        "receipt=place == 0",
        "receipt=True",
        ("tests/cli/test_replay.py",),
    ),
    Mutant(
        "the receipt of a result whose run has stored it before",
        "lua/get_results.lua",
        "receipt_before(oldest), found",
        "'', found",
        RESULTS,
    ),
    Mutant(
        "the refusal to show what an expired session left as the client's portfolio",
        "portfolio_trio/session/handlers.py",
        "self._room.answer(self._asker, await self._state()",
        "self._room.answer(self._asker, await self.open()",
        ("tests/session/test_connection.py",),
    ),
    Mutant(
        "one answer to a cancel",
        "portfolio_trio/session/handlers.py",
        "                await viewer.clear_run()\n            except StoreError",
        "                await viewer.clear_run()\n            except AssertionError",
        ("tests/session/test_connection.py",),
    ),
    Mutant(
        "the purge of the queue", "portfolio_trio/session/runner.py", "            self._room.drop(run)\n", ""
    ),
    Mutant(
        "the await of the old run",
        "portfolio_trio/session/runner.py",
        "        await task.ended.wait()\n        return",
        "        await trio.lowlevel.checkpoint()\n        return",
    ),
    Mutant(
        "the cancellation itself", "portfolio_trio/session/runner.py", "        task.scope.cancel()\n", ""
    ),
    Mutant(
        "the refusal to queue after the decision",
        "portfolio_trio/session/runner.py",
        "        if not run.may_send:\n            return\n        incarnation",
        "        incarnation",
    ),
    Mutant(
        "the wait for the last message of a run",
        "portfolio_trio/session/analysis.py",
        "        await self._outlet.delivered()\n",
        "",
    ),
    Mutant(
        "the shield round the start",
        "portfolio_trio/session/analysis.py",
        "with trio.move_on_after(START_SECONDS, shield=True)",
        "with trio.move_on_after(START_SECONDS)",
    ),
    Mutant(
        "the restart after an edit",
        "portfolio_trio/session/handlers.py",
        "        self._room.renew_runs(changed.version, 0 if current is None else current.run_id)\n",
        "",
    ),
    Mutant(
        "the restart after a tick",
        "portfolio_trio/session/runner.py",
        "freshness_tolerance:\n            self.restart()\n",
        "freshness_tolerance:\n            pass\n",
    ),
    Mutant(
        "the end of the other sockets' runs",
        "portfolio_trio/session/handlers.py",
        "            await self._room.stop_runs(EndReason.SUPERSEDED, but=self._asker)\n",
        "",
    ),
    Mutant(
        "the wait for the frame on its way",
        "portfolio_trio/session/runner.py",
        "            await self.asker.flushed(self._leaving[0])\n",
        "",
        SLOW,
    ),
    Mutant(
        "the wait for the frames of more than one run",
        "portfolio_trio/session/runner.py",
        "            self._leaving.append(run)\n",
        "            self._leaving[:] = [run]\n",
        SLOW,
    ),
    Mutant(
        "the wait in the run and not in the turn",
        "portfolio_trio/session/handlers.py",
        "            await self._runner.stop(EndReason.SWITCHED)\n",
        "            await self._runner.stop(EndReason.SWITCHED)\n"
        "            await self._runner._let_leave()\n",
        SLOW,
    ),
    Mutant(
        "the look whether the drain has begun, behind the acceptance",
        "portfolio_trio/server/server.py",
        "        if self._draining:\n            # The drain began while",
        "        if False:\n            # The drain began while",
        DRAIN,
    ),
    Mutant(
        "the wait of the drain for who is not accepted yet",
        "portfolio_trio/server/server.py",
        "            if self._sockets:\n",
        "            if self._sessions:\n",
        DRAIN,
    ),
    Mutant(
        "the end of the wait for a token",
        "portfolio_trio/server/server.py",
        "            waiting.cancel()\n",
        "            pass\n",
        DRAIN,
    ),
    Mutant(
        "the boundary round a goodbye",
        "portfolio_trio/server/server.py",
        '            with self.services.faults.contained("the drain", instead=session.fail):\n',
        "            if True:\n",
        DRAIN,
    ),
    Mutant(
        "one at a time",
        "portfolio_trio/session/handlers.py",
        "        async with Holding(self._room.turn):\n            await self._room.stop_runs(",
        "        if True:\n            await self._room.stop_runs(",
    ),
    Mutant(
        "the document's end of a run on disconnect",
        "portfolio_trio/session/connection.py",
        "                await self._forget_run()\n",
        "                pass\n",
    ),
    Mutant(
        "one writer at a time",
        "portfolio_trio/session/connection.py",
        "            self._writing = True\n            self._nursery.start_soon(self._write)\n",
        "            self._nursery.start_soon(self._write)\n",
    ),
    Mutant(
        "the end after which no writer starts",
        "portfolio_trio/session/connection.py",
        "        if not self._ended:\n            self._outbox.put(text, run)\n",
        "        if True:\n            self._outbox.put(text, run)\n",
        CONTAINED,
    ),
    Mutant(
        "the boundary round a viewer",
        "portfolio_trio/hub/hub.py",
        '        return self._faults.contained("a viewer", instead=viewer.fail)\n',
        '        return __import__("contextlib").nullcontext()\n',
        CONTAINED,
    ),
    Mutant(
        "the end of a viewer that failed",
        "portfolio_trio/hub/hub.py",
        ", instead=viewer.fail)\n",
        ")\n",
        CONTAINED,
    ),
    Mutant(
        "the boundary round a session in a tick",
        "portfolio_trio/peers/tick_feed.py",
        'with self._faults.contained("a tick", instead=room.fail):',
        "if True:",
        CONTAINED,
    ),
    Mutant(
        "the boundary round a session in a sweep",
        "portfolio_trio/peers/tick_feed.py",
        'with self._faults.contained("a sweep", instead=room.fail):',
        "if True:",
        CONTAINED,
    ),
    Mutant(
        "the boundary round a tick",
        "portfolio_trio/market/updater.py",
        'with self._faults.contained("the market"):',
        "if True:",
        ("tests/market/test_updater.py",),
    ),
    Mutant(
        "the boundary round the audience of a tick",
        "portfolio_trio/market/updater.py",
        'with self._faults.contained("a tick"):',
        "if True:",
        ("tests/market/test_updater.py",),
    ),
    Mutant(
        "the boundary round a session in the relay",
        "portfolio_trio/peers/subscriber.py",
        'return self._faults.contained("the relay", instead=room.fail)',
        'return __import__("contextlib").nullcontext()',
        PEERS,
    ),
    Mutant(
        "the boundary round what the relay starts",
        "portfolio_trio/peers/subscriber.py",
        '        # As in `_clear`.\n        with self._faults.contained("the relay"):\n',
        "        if True:\n",
        PEERS,
    ),
    Mutant(
        "the boundary round a message",
        "portfolio_trio/peers/membership.py",
        'with self._faults.contained("a message", instead=self._listener.miss):',
        "if True:",
        PEERS,
    ),
    Mutant(
        "the boundary round a beat",
        "portfolio_trio/peers/membership.py",
        'with self._faults.contained("a beat"):',
        "if True:",
        PEERS,
    ),
    Mutant(
        "the boundary round a followed tick",
        "portfolio_trio/peers/membership.py",
        'with self._faults.contained("a followed tick"):',
        "if True:",
        PEERS,
    ),
    Mutant(
        "the boundary round a letter",
        "portfolio_trio/peers/publisher.py",
        'with self._faults.contained("a letter"):',
        "if True:",
        PEERS,
    ),
    Mutant(
        "the boundary round a ping",
        "portfolio_trio/access/_keep_alive.py",
        'with self._faults.contained("keepalive", instead=partial(self._give_up, socket)):',
        "if True:",
        ("tests/access/test_keep_alive.py",),
    ),
    Mutant(
        "the boundary round turning away",
        "portfolio_trio/http/_listeners.py",
        "        except* Exception:\n            # The nursery is that of every connection.\n",
        "        except* ZeroDivisionError:\n",
        ("tests/http/test_listeners.py",),
    ),
    Mutant(
        "the boundary round what the relay does beside the letters",
        "portfolio_trio/peers/subscriber.py",
        "            with self._alone(room):\n                await work(*args)\n",
        "            if True:\n                await work(*args)\n",
        PEERS,
    ),
    Mutant(
        "the cancellation in a group with a fault",
        "portfolio_trio/faults.py",
        "except* Exception as group:",
        "except* BaseException as group:",
        CONTAINED,
    ),
    Mutant(
        "the forced end of a socket that takes nothing",
        "portfolio_trio/session/connection.py",
        "        self._transport.abort()\n        self.end",
        "        self.end",
    ),
    Mutant(
        "the end of keepalive with the socket",
        "portfolio_trio/session/connection.py",
        "            keep_alive.forget(self)\n",
        "",
        ("tests/session/test_idle.py",),
    ),
    Mutant(
        "the fence of record_results on the run",
        "lua/record_results.lua",
        "if tonumber(current) ~= run_id then",
        "if false then",
        STORE,
    ),
    Mutant(
        "the fence of record_results on the holdings",
        "lua/record_results.lua",
        "if tonumber(held) ~= version then",
        "if false then",
        STORE,
    ),
    Mutant(
        "the fence of record_results on repetition",
        "lua/record_results.lua",
        "if not finish and count > 0 and expected and",
        "if false and",
        STORE,
    ),
    Mutant(
        "the fence of finish_analysis",
        "lua/finish_analysis.lua",
        "if not is_meant then",
        "if false then",
        STORE,
    ),
    Mutant(
        "the fence of set_holdings",
        "lua/set_holdings.lua",
        "if expected ~= '' and",
        "if false and",
        STORE,
    ),
    Mutant(
        "the fence of revalue",
        "lua/revalue.lua",
        "if tonumber(newest) >= tick_id then",
        "if false then",
        STORE,
    ),
    Mutant(
        "the fence of beat on the lease",
        "lua/beat.lua",
        "local free = tonumber(held.updater_until or 0) <= now",
        "local free = true",
        WORKERS,
    ),
    Mutant(
        "the fence of publish_tick on the lease",
        "lua/publish_tick.lua",
        "if held[1] ~= me or tonumber(held[2]) <= now_ms() then",
        "if false then",
        WORKERS,
    ),
    Mutant(
        "the end of the lease in publish_tick",
        "lua/publish_tick.lua",
        " or tonumber(held[2]) <= now_ms() then",
        " then",
        WORKERS,
    ),
    Mutant(
        "the fence of publish_tick on the tick",
        "lua/publish_tick.lua",
        "if newest and tonumber(newest) >= tonumber(tick_id) then",
        "if false then",
        WORKERS,
    ),
    Mutant(
        "the burial of the dead in revalue",
        "lua/revalue.lua",
        "  if #ARGV > 3 then bury(key) end\n",
        "",
        WORKERS,
    ),
    Mutant(
        "the deadline of the lease's scope",
        "portfolio_trio/peers/membership.py",
        "trio.CancelScope(deadline=self._lease_until) as self._lease,",
        "trio.CancelScope() as self._lease,",
        PEERS,
    ),
    Mutant(
        "the new deadline at a renewal",
        "portfolio_trio/peers/membership.py",
        "                self._lease.deadline = self._lease_until\n",
        "                pass\n",
        PEERS,
    ),
    Mutant(
        "the end of leading without the lease",
        "portfolio_trio/peers/membership.py",
        "                self._lease.cancel()\n",
        "                pass\n",
        PEERS,
    ),
    Mutant(
        "the wait until all have heard who died",
        "portfolio_trio/peers/membership.py",
        "        heard = now - self._workers.ttl\n",
        "        heard = now\n",
        PEERS,
    ),
    Mutant(
        "the last word of a goodbye",
        "portfolio_trio/peers/membership.py",
        "        self._beating.cancel()\n",
        "",
        PEERS,
    ),
    Mutant(
        "the gap in letters",
        "portfolio_trio/hub/events.py",
        "        return letter.previous == last\n",
        "        return True\n",
        PEERS,
    ),
    Mutant(
        "the look after a gap",
        "portfolio_trio/peers/subscriber.py",
        "            self._look.set()\n        for note in letter.notes:\n",
        "            pass\n        for note in letter.notes:\n",
        PEERS,
    ),
    Mutant(
        "the look after too many notes",
        "portfolio_trio/peers/subscriber.py",
        "                waiting.clear()\n                self._look.set()\n",
        "                waiting.clear()\n",
        PEERS,
    ),
    Mutant(
        "the reading of only what could not be read",
        "portfolio_trio/peers/subscriber.py",
        "            unread = await self._look_at(unread)\n",
        "            unread = await self._look_at(unread) and list(self._hub.rooms)\n",
        PEERS,
    ),
    Mutant(
        "the disbelief in names of the server that nobody has listed",
        "portfolio_trio/server/entrance.py",
        "            hosts=settings.allowed_hosts if settings.auth_secret is None else None,\n",
        "            hosts=() if settings.listens_on_loopback else None,\n",
        ("tests/server/test_rebinding.py",),
    ),
    Mutant(
        "the place that the oldest silent connection of an address gives up",
        "portfolio_trio/http/_pending.py",
        "            next(iter(same)).expel()\n",
        "            pass\n",
        ("tests/http/test_pending.py",),
    ),
    Mutant(
        "the place in a full server that a silent connection gives up",
        "portfolio_trio/http/_listeners.py",
        " or self._pending.make_room(stream):\n",
        ":\n",
        ("tests/http/test_pending.py",),
    ),
    Mutant(
        "the stay of a connection that has asked",
        "portfolio_trio/http/_http_server.py",
        "        body = await self._read_body(connection, stream)\n        visit.asked()\n",
        "        body = await self._read_body(connection, stream)\n",
        ("tests/http/test_pending.py",),
    ),
    Mutant(
        "the turn of the others after a few frames",
        "portfolio_trio/http/_frame_stream.py",
        "            await trio.lowlevel.checkpoint()\n        else:\n            self._unparsed =",
        "            pass\n        else:\n            self._unparsed =",
        ("tests/http/test_frames.py",),
    ),
    Mutant(
        "the throttle of control frames and fragments",
        "portfolio_trio/server/server.py",
        "            grant_frame=frames.grant,\n",
        "",
        ("tests/server/test_entrance.py",),
    ),
    Mutant(
        "the share of one session in the market",
        "portfolio_trio/session/handlers.py",
        "book.prices_for(named, session_id=self._room.session_id)\n",
        "book.prices_for(named)\n",
        ("tests/server/test_market_room.py",),
    ),
    Mutant(
        "the end of names that nobody holds",
        "portfolio_trio/market/updater.py",
        "            self._book.release(report.held)\n",
        "            pass\n",
        ("tests/server/test_market_room.py",),
    ),
    Mutant(
        "the price of a name that comes back within its tick",
        "portfolio_trio/market/_book.py",
        "self._parted.pop(ticker, price)",
        "price",
        ("tests/market/test_book_room.py",),
    ),
    Mutant(
        "the silence about hosts and logins in answers",
        "portfolio_trio/hub/error_messages.py",
        "        detail = failure.told\n",
        "        detail = str(failure)\n",
        ("tests/server/test_told.py",),
    ),
    Mutant(
        "the look at a password before a message prints a piece of it",
        "portfolio_trio/redis/_url.py",
        "    _check_password(url)\n",
        "",
        ("tests/redis/test_url.py",),
    ),
    Mutant(
        "the escape of what is logged",
        "portfolio_trio/escaping.py",
        "        return echo(super().formatMessage(record), _LINE_CHARACTERS)\n",
        "        return super().formatMessage(record)\n",
        ("tests/test_escaping.py",),
    ),
    Mutant(
        "the cut of what an answer repeats",
        "portfolio_trio/http/_head.py",
        "{echo(str(error))}",
        "{error}",
        ("tests/test_escaping.py",),
    ),
    Mutant(
        "the stop at the first of many wrong values",
        "portfolio_trio/protocol/messages.py",
        "    _refuse_floods(frame)\n",
        "",
        ("tests/protocol/test_messages.py",),
    ),
    Mutant(
        "the bucket of each address for new sessions",
        "portfolio_trio/access/_new_sessions.py",
        "        if group is None or self._per_address is None:\n",
        "        if True:\n",
        ("tests/access/test_new_sessions.py",),
    ),
    Mutant(
        "the letter that shows a loss",
        "portfolio_trio/peers/publisher.py",
        "                box.owed = True\n",
        "",
        PEERS,
    ),
    Mutant(
        "the bound of what waits for a worker",
        "portfolio_trio/peers/publisher.py",
        "        if self._size > max_size:\n            self.lose()\n",
        "",
        PEERS,
    ),
    Mutant(
        "the numbers that a forgotten box does not use again",
        "portfolio_trio/peers/publisher.py",
        "_Box(self._numbers)",
        "_Box(count(1))",
        PEERS,
    ),
    Mutant(
        "the supersede by a claim of another worker",
        "portfolio_trio/peers/subscriber.py",
        "                await room.supersede_runs(run_id, note.replaced)\n",
        "                await trio.lowlevel.checkpoint()\n",
        (*PEERS, *SERVERS),
    ),
    Mutant(
        "the turn while a claim of another worker ends runs",
        "portfolio_trio/peers/subscriber.py",
        "            async with room.turn:\n                await room.supersede_runs(run_id, note",
        "            if True:\n                await room.supersede_runs(run_id, note",
        PEERS,
    ),
    Mutant(
        "the restart after an edit on another worker",
        "portfolio_trio/peers/subscriber.py",
        "        room.renew_runs(state.version, 0 if current is None else current.run_id)\n        room.see",
        "        room.see",
        PEERS,
    ),
    Mutant(
        "the end of a run abroad by an edit abroad",
        "portfolio_trio/peers/subscriber.py",
        "        room.see_version(state.version)\n",
        "",
        PEERS,
    ),
    Mutant(
        "the end of a run abroad by an edit here",
        "portfolio_trio/session/handlers.py",
        "        self._room.see_version(changed.version)\n",
        "",
        PEERS,
    ),
    Mutant(
        "the end of the runs of the dead",
        "portfolio_trio/peers/subscriber.py",
        "                self.adopt(Orphan(room.session_id, room.incarnation, run.run_id))\n",
        "                pass\n",
        (*PEERS, *SERVERS),
    ),
    Mutant(
        "the rise of versions on a socket",
        "portfolio_trio/hub/stage.py",
        "(asked or scene.again or adopted is not None or sight.version < newest.version)",
        "(True)",
        ORDER,
    ),
    Mutant(
        "the newest state as the answer to who was overtaken",
        "portfolio_trio/hub/stage.py",
        "if self.newest is None or _place(self.newest) <= _place(state):",
        "if True:",
        ORDER,
    ),
    Mutant(
        "the wait of a start for the end before it",
        "portfolio_trio/hub/stage.py",
        "            return scene.run_id is not None and scene.run_id > run.run_id\n",
        "            return False\n",
        ORDER,
    ),
    Mutant(
        "the wait of new holdings for the end of the run on the old ones",
        "portfolio_trio/hub/stage.py",
        "        return scene.state is not None and scene.state.version > run.version\n",
        "        return False\n",
        ORDER,
    ),
    Mutant(
        "the one end of each run",
        "portfolio_trio/hub/stage.py",
        "(is_open or never_began or spectator is scene.asker)",
        "(True)",
        ORDER,
    ),
    Mutant(
        "the results for those only who saw the start",
        "portfolio_trio/hub/stage.py",
        "if sight.open == scene.run_id and sight.version <= self.open.version:",
        "if True:",
        ORDER,
    ),
    Mutant(
        "the silence of a run that new holdings have cut short",
        "portfolio_trio/hub/stage.py",
        'if scene.kind == "outcome" and self._is_doomed:',
        "if False:",
        ORDER,
    ),
    Mutant(
        "the value of the shown holdings only",
        "portfolio_trio/hub/stage.py",
        "if sight.version <= scene.version and sight.tick_id <= scene.tick_id:",
        "if True:",
        ORDER,
    ),
    Mutant(
        "the look for an end that nobody tells",
        "portfolio_trio/peers/subscriber.py",
        "            self._start(room, self._resolve, room, room.stage.awaited)\n",
        "            pass\n",
        PEERS,
    ),
    Mutant(
        "the end that the document has, for who missed the letters",
        "portfolio_trio/peers/subscriber.py",
        "            room.close(state.end_of(run.run_id) or _likely_end(state, run))\n",
        "            room.close(_likely_end(state, run))\n",
        ENDS,
    ),
    Mutant(
        "the end that the document has of what the dead ran",
        "portfolio_trio/peers/subscriber.py",
        "orphan.ending or end.ending or cancelled(",
        "orphan.ending or cancelled(",
        ENDS,
    ),
    Mutant(
        "the end by an edit in the document",
        "lua/trade.lua",
        "if run_id then",
        "if false then",
        ENDS,
    ),
    Mutant(
        "the word of the worker that ran it",
        "lua/finish_analysis.lua",
        "  if not own or known == '' then return known end\n",
        "  if true then return known end\n",
        ENDS,
    ),
    Mutant(
        "the word of the worker that ran it, in its next start",
        "lua/start_analysis.lua",
        "  ends = with_end(ends, ended, how, true)\n",
        "",
        ENDS,
    ),
    Mutant(
        "the end of a replaced run",
        "lua/start_analysis.lua",
        "if replaced ~= '0' then ends =",
        "if false then ends =",
        ENDS,
    ),
    Mutant(
        "the bound of the ends that are kept",
        "lua/prelude.lua",
        "math.max(1, #kept - MAX_ENDS + 1)",
        "1",
        ENDS,
    ),
    Mutant(
        "the last record that is known though the next run has begun",
        "lua/record_results.lua",
        "  if finish and expected and string.find(ended,",
        "  if false and string.find(ended,",
        ENDS,
    ),
    Mutant(
        "the fence of the incarnation",
        "lua/prelude.lua",
        "  return incarnation ~= '' and ",
        "  return false and ",
        ("tests/store/test_sessions.py",),
    ),
    Mutant(
        "the doubt about an answer that was overtaken by another document",
        "portfolio_trio/hub/hub.py",
        "            if since != self.incarnation:\n",
        "            if False:\n",
        EXPIRED,
    ),
    Mutant(
        "the reading of a document that a letter of another one speaks of",
        "portfolio_trio/peers/subscriber.py",
        "        elif note.incarnation != room.incarnation:\n",
        "        elif False:\n",
        EXPIRED,
    ),
    Mutant(
        "the one word that the session has expired",
        "portfolio_trio/session/runner.py",
        "                self.asker.expire()\n",
        "                pass\n",
        EXPIRED,
    ),
    Mutant(
        "the forgetting of what was known of an expired session",
        "portfolio_trio/hub/hub.py",
        "        self.abroad = Abroad()\n        self._cancelling.clear()\n",
        "",
        EXPIRED,
    ),
    Mutant(
        "the adoption of a run whose number did not come in time",
        "portfolio_trio/session/analysis.py",
        "        if start is None:\n            services.relay.adopt(orphan)\n",
        "        if start is None:\n",
        ORPHANS,
    ),
    Mutant(
        "the adoption of a run whose number was lost",
        "portfolio_trio/session/analysis.py",
        "            if failure.sent:\n                services.relay.adopt(orphan)\n",
        "",
        ORPHANS,
    ),
    Mutant(
        "the second look at each sweep for a run without an owner",
        "portfolio_trio/peers/tick_feed.py",
        "        self._caretaker.sweep()\n",
        "",
        ORPHANS,
    ),
    Mutant(
        "the adoption of a run that could not be cleared when its socket went",
        "portfolio_trio/session/connection.py",
        "            self._runner.abandon()\n",
        "            pass\n",
        ORPHANS,
    ),
    Mutant(
        "the second attachment of who came meanwhile",
        "portfolio_trio/peers/subscriber.py",
        "            # Somebody came meanwhile, and may have been struck off again.\n"
        "            await self._read(room)\n",
        "            pass\n",
        PEERS,
    ),
    Mutant(
        "the order of runs abroad",
        "portfolio_trio/hub/remote_run.py",
        "        if run_id <= self.newest:\n            return None\n        before",
        "        before",
        PEERS,
    ),
    Mutant(
        "the run check of a claim",
        "portfolio_trio/hub/hub.py",
        "        if run_id < abroad.newest:\n",
        "        if False:\n",
        PEERS,
    ),
    Mutant(
        "the version check of a claim",
        "portfolio_trio/hub/hub.py",
        "        if version < abroad.version:\n",
        "        if False:\n",
        PEERS,
    ),
    Mutant(
        "the order of adopted ticks",
        "portfolio_trio/market/_book.py",
        "            if tick.tick_id <= self._shared_id:\n",
        "            if False:\n",
        ("tests/market/test_book_shared.py",),
    ),
    Mutant(
        "the refusal of a tick that not all can have",
        "portfolio_trio/market/_book.py",
        "            if commit is not None:\n                await commit(tick)\n"
        "            self._shared_id = tick.tick_id\n            return self._set(",
        "            self._set(tick)\n"
        "            if commit is not None:\n                await commit(tick)\n"
        "            self._shared_id = tick.tick_id\n            return self._set(",
        ("tests/market/test_book_shared.py",),
    ),
    Mutant(
        "local Redis: the lock of its directory",
        "portfolio_trio/local_redis/_home.py",
        "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        ("tests/local_redis/test_home.py",),
    ),
    Mutant(
        "local Redis: the lock that it inherits",
        "portfolio_trio/local_redis/_process.py",
        "pass_fds=[lock]",
        "pass_fds=[]",
        ("tests/local_redis/test_open.py",),
    ),
    Mutant(
        "local Redis: the save before its end",
        "portfolio_trio/local_redis/_process.py",
        "            self._process.terminate()\n",
        "            self._process.kill()\n",
        ("tests/local_redis/test_open.py",),
    ),
    Mutant(
        "local Redis: its own session",
        "portfolio_trio/local_redis/_process.py",
        "                    start_new_session=True,\n",
        "",
        ("tests/local_redis/test_open.py",),
    ),
    Mutant(
        "local Redis: the pause before the next start",
        "portfolio_trio/local_redis/_keeper.py",
        "        await trio.sleep(decision)\n",
        "",
        ("tests/local_redis/test_keeper.py",),
    ),
    Mutant(
        "local Redis: the refusal of a directory with other files",
        "portfolio_trio/local_redis/_home.py",
        "if not lock.exists() and",
        "if False and",
        ("tests/local_redis/test_home.py",),
    ),
    Mutant(
        "local Redis: the trial on nothing that is to last",
        "portfolio_trio/local_redis/_open.py",
        "launch_redis(home, recipe, FLEETING)",
        "launch_redis(home, recipe)",
        ("tests/local_redis/test_open.py",),
    ),
    Mutant(
        "the end of a start by a signal",
        "portfolio_trio/supervisor/listeners.py",
        "                await anext(signals)\n                nursery.cancel_scope.cancel()\n",
        "                await anext(signals)\n",
        ("tests/supervisor/test_listeners.py",),
    ),
    Mutant(
        "the hand-over of signals from start to service",
        "portfolio_trio/supervisor/listeners.py",
        "        await deaf.wait()\n",
        "",
        ("tests/supervisor/test_listeners.py",),
    ),
    Mutant(
        "the refusal of a RedisJSON that is too old",
        "portfolio_trio/store/_check.py",
        "        _refuse_old_json(facts)\n",
        "",
        ("tests/store/test_engine_check.py",),
    ),
    Mutant(
        "the warning of an eviction policy",
        "portfolio_trio/server/engine.py",
        "    for warning in warnings(facts):\n        log.warning(warning)\n",
        "",
        ("tests/server/test_engine.py",),
    ),
    Mutant(
        "the digits that every Redis reads, in a result",
        "portfolio_trio/metrics/registry.py",
        "    return Result(canonical(result.value), result.detail)\n",
        "    return result\n",
        ("tests/metrics/test_registry.py",),
    ),
    Mutant(
        "the digits that every Redis reads, in a detail",
        "portfolio_trio/metrics/registry.py",
        "        _make_exact(result.detail)\n",
        "        pass\n",
        ("tests/metrics/test_registry.py",),
    ),
    Mutant(
        "the digits that every Redis reads, in a price",
        "portfolio_trio/market/_check.py",
        "    return canonical(price) or None\n",
        "    return price\n",
        ("tests/market/test_live_file.py",),
    ),
    Mutant(
        "the digits that every Redis reads, in a total of a script",
        "lua/prelude.lua",
        "  return canonical(total)\n",
        "  return string.format('%.17g', total)\n",
        NUMBERS,
    ),
    Mutant(
        "the digits that every Redis reads, in a total",
        "portfolio_trio/store/_texts.py",
        "    return canonical(total)\n",
        "    return total\n",
        NUMBERS,
    ),
    Mutant(
        "the digits that every Redis reads, in the lines that a trade leaves",
        "lua/trade.lua",
        "shares and line(name, shares) or quoted(name) .. ':' .. text",
        "quoted(name) .. ':' .. text",
        NUMBERS,
    ),
    Mutant(
        "two digits fewer where .0 is printed",
        "portfolio_trio/canonical.py",
        '        return float(f"{value:.13g}")\n',
        '        return float(f"{value:.15g}")\n',
        ("tests/test_canonical.py",),
    ),
    Mutant(
        "the rounding of shares that are added",
        "lua/trade.lua",
        "local shares = sum_of_shares(held, delta)",
        "local shares = held + delta",
        ("tests/store/test_holdings.py",),
    ),
    Mutant(
        "the refusal of shares that round to nothing",
        "portfolio_trio/protocol/fields.py",
        "    if shares and not kept:\n",
        "    if False:\n",
        ("tests/protocol/test_messages.py",),
    ),
    Mutant(
        "the rounding of shares at the door",
        "portfolio_trio/protocol/fields.py",
        "    return kept\n",
        "    return shares\n",
        ("tests/protocol/test_messages.py",),
    ),
    Mutant(
        "colons within names, in the scripts",
        "lua/prelude.lua",
        """local HOLDING = '"([^"]+)":""",
        """local HOLDING = '"([^":]+)":""",
        ("tests/store/test_tickers.py",),
    ),
    Mutant(
        "the rows of what is held alone",
        "portfolio_trio/metrics/rows.py",
        "common = signatures.rows[np.unique(signatures.group[columns])].all(axis=0)",
        "common = signatures.rows.all(axis=0)",
        CALENDARS,
    ),
    Mutant(
        "the look into the past where the newest rows are too few",
        "portfolio_trio/metrics/rows.py",
        "        for depth in (4 * NEAR, total):\n",
        "        for depth in ():\n",
        CALENDARS,
    ),
    Mutant(
        "the longest gap that gives a return",
        "portfolio_trio/metrics/rows.py",
        "near = days[end] - days[start] <= LONGEST_GAP",
        "near = days[end] - days[start] <= 2 * LONGEST_GAP",
        CALENDARS,
    ),
    Mutant(
        "the periods that the returns show",
        "portfolio_trio/metrics/inputs.py",
        "return sqrt(self.periods * self.variance)",
        "return sqrt(252 * self.variance)",
        CALENDARS,
    ),
    Mutant(
        "the year of the stock's own closes",
        "portfolio_trio/metrics/trend.py",
        "    year = _year(days[days >= newest - _DAYS_LOOKED_AT])\n",
        "    year = 252\n",
        CALENDARS,
    ),
    Mutant(
        "the spacing of the last year only",
        "portfolio_trio/metrics/trend.py",
        "_year(days[days >= newest - _DAYS_LOOKED_AT])",
        "_year(days)",
        CALENDARS,
    ),
    Mutant(
        "the refusal of a newest close of long ago",
        "portfolio_trio/metrics/inputs.py",
        "last_day - trend.newest > LONGEST_GAP:",
        "last_day - trend.newest > 10 * LONGEST_GAP:",
        CALENDARS,
    ),
    Mutant(
        "the hash of a name's own dates",
        "portfolio_trio/metrics/bars.py",
        "dates = self._days_digest if days is self.days else _digest_of(days)",
        "dates = self._days_digest",
        CALENDARS,
    ),
    Mutant(
        "the last bar of what is held",
        "portfolio_trio/metrics/returns.py",
        "        newest = window.newest\n",
        "        newest = len(bars.dates) - 1\n",
        CALENDARS,
    ),
    Mutant(
        "the budget of those that move",
        "portfolio_trio/metrics/history.py",
        "        if not len(self.flat):\n            return self.equal_targets\n",
        "        if True:\n            return self.equal_targets\n",
        ("tests/metrics/test_cash.py",),
    ),
    Mutant(
        "the calendar that cash does not have",
        "portfolio_trio/metrics/returns.py",
        "names = tuple(name for name in tickers if name not in cash) if cash else tickers",
        "names = tickers",
        ("tests/metrics/test_cash.py",),
    ),
    Mutant(
        "the price of cash at every tick",
        "portfolio_trio/market/_book.py",
        "        prices.update(self._cash_prices)\n",
        "",
        ("tests/market/test_book_cash.py",),
    ),
    Mutant(
        "the refusal of a column that is no cash",
        "portfolio_trio/market/_book.py",
        "            check_cash_column(self._source.name, bars, ticker)\n",
        "            pass\n",
        ("tests/market/test_book_cash.py",),
    ),
)


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass without the safeguard."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / part)
        target = copy / mutant.file
        whole = target.read_text()
        if mutant.text not in whole:
            raise SystemExit(f"{mutant.file} has no {mutant.text!r} any more: bring the mutant up to date")
        target.write_text(whole.replace(mutant.text, mutant.instead))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-cov", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*command, *mutant.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if ran.returncode not in {0, 1}:
            raise SystemExit(ran.stdout + ran.stderr)
        return ran.returncode == 0


def main() -> int:
    """Try all of them, or those whose names hold a word of the command line."""
    survivors = 0
    for mutant in MUTANTS:
        if sys.argv[1:] and not any(word in mutant.missing for word in sys.argv[1:]):
            continue
        alive = survives(mutant)
        survivors += alive
        print(f"{'SURVIVES' if alive else 'caught  '}  without {mutant.missing}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
