// What the server lost, the page keeps nothing of: another life of a session may have the same numbers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetTrade, historyOf } from "../../../portfolio_trio/web/static/decisions.js";
import { editionOf, initial, isBusy, reduce } from "../../../portfolio_trio/web/static/state.js";
import { riskOf, runAge, table } from "../../../portfolio_trio/web/static/view.js";
import { completed, error, play, portfolio, result, risk, started } from "./messages.js";

const T0 = Date.parse("2026-01-05T15:30:00Z");
const open = () => play(reduce, initial(T0), { kind: "session", session: "s" }, { kind: "socket", phase: "open" });
const asked = (what, key = "k") => ({ kind: "asked", what, key });

test("versions that begin again take nothing of the ones before", () => {
  const history = { type: "history", id: "history", version: 1, values: [1, 2], dates: ["a", "b"] };
  const state = play(reduce, open(), portfolio(), asked("risk"), risk(1, 1_000), asked("history"), history);
  assert.ok(historyOf(state) && riskOf(state));
  assert.equal(historyOf(play(reduce, state, portfolio({ version: 2 }))), null);
  const other = play(reduce, state, portfolio({ holdings: { MSFT: 1 } }));
  assert.deepEqual([historyOf(other), riskOf(other)], [null, null]);
  const fallen = play(reduce, state, portfolio({ version: 0, holdings: { MSFT: 1 } }), portfolio({ version: 1, holdings: { KO: 2 } }));
  assert.deepEqual([historyOf(fallen), riskOf(fallen)], [null, null]);
  assert.ok(historyOf(play(reduce, state, portfolio())), "the same state, told again");
});

test("a run of a session that was lost is never current again", () => {
  const score = { ...result(4, "allocation_score"), detail: { shares_to_trade: -12 } };
  const state = play(reduce, open(), portfolio({ version: 2 }), { kind: "select", ticker: "AAPL" }, started(4, "AAPL", { version: 2 }), score, completed(4),
    { kind: "draft", shares: -12 });
  assert.equal(budgetTrade(state), -12);
  const again = play(reduce, state, { kind: "socket", phase: "waiting", why: "lost", until: T0 }, { kind: "socket", phase: "open" });
  assert.equal(budgetTrade(play(reduce, again, portfolio({ version: 2 }))), -12, "the connection was lost, the session was not");
  const beginnings = [
    [portfolio({ version: 1 }), portfolio({ version: 2 })],
    [portfolio({ version: 2, holdings: { AAPL: 1 } })],
    [portfolio({ version: 2, targets: { weights: null, budgets: { AAPL: 1 }, band: 0.05 } })],
  ];
  for (const messages of beginnings) {
    const lost = play(reduce, again, ...messages, { kind: "select", ticker: "AAPL" });
    assert.deepEqual([lost.runs, lost.draft, budgetTrade(lost), runAge(lost)], [{ run: null, ghost: null }, 0, null, ""]);
    assert.match(lost.notice.text, /session was lost.*default holdings/);
  }
  const current = { ticker: "SPY", started_at: "x", run_id: 4, version: 1, tick_id: 2_000 };
  const adopted = play(reduce, again, portfolio({ current_analysis: current }));
  assert.deepEqual([adopted.runs.run.ticker, adopted.runs.run.tiles], ["SPY", {}], "its runs have the numbers of the old ones");
});

test("a session that was made again is another one, whatever its numbers are", () => {
  const of = (incarnation, more = {}) => portfolio({ incarnation, version: 2, ...more });
  const state = play(reduce, open(), of("a"), { kind: "select", ticker: "AAPL" }, started(4, "AAPL", { version: 2 }), result(4, "momentum"), { kind: "draft", shares: -5 });
  const again = play(reduce, state, { kind: "socket", phase: "waiting", why: "lost", until: T0 }, { kind: "socket", phase: "open" });
  const current = { ticker: "AAPL", started_at: "x", run_id: 4, version: 2, tick_id: 1_000 };
  const same = play(reduce, again, of("a", { current_analysis: current }));
  assert.deepEqual([same.runs.run.phase, Object.keys(same.runs.run.tiles), same.draft], ["running", ["momentum"], -5]);
  assert.equal(editionOf(same), editionOf(state));
  // The same holdings, version, run and tick, but not the same session.
  const other = play(reduce, again, of("b", { current_analysis: current }));
  assert.deepEqual([other.runs.run.phase, other.runs.run.tiles, other.draft], ["running", {}, 0]);
  assert.match(other.notice.text, /session was lost/);
  const editions = [state, other, play(reduce, again, of("a", { holdings: { AAPL: 1 } })), play(reduce, again, of("a", { version: 3 }))].map(editionOf);
  assert.equal(new Set(editions).size, 4);
  // With a new token the page opens the session as if it had not known it; what was typed may still be for it.
  const reopened = play(reduce, state, { kind: "session", session: "s" }, { kind: "socket", phase: "open" });
  assert.equal(editionOf(play(reduce, reopened, of("a"))), editionOf(state));
  assert.notEqual(editionOf(play(reduce, reopened, of("b"))), editionOf(state));
});

test("a store that lost its newest changes is told as that, and its runs are others", () => {
  const state = play(reduce, open(), portfolio({ incarnation: "a", version: 3 }), started(4, "AAPL", { version: 3 }), result(4, "momentum"), completed(4));
  assert.match(play(reduce, state, portfolio({ incarnation: "a", version: 2 })).notice.text, /store has lost its newest changes/);
  for (const more of [{ ticker: "SPY" }, { tick_id: 2_000 }]) {
    const current = { ticker: "AAPL", started_at: "x", run_id: 4, version: 3, tick_id: 1_000, ...more };
    const adopted = play(reduce, state, portfolio({ incarnation: "a", version: 3, current_analysis: current }));
    assert.deepEqual(adopted.runs.run.tiles, {});
    const recorded = { ...result(4, "correlation"), ...more };
    const recalled = play(reduce, state, asked("results"), { type: "results", id: "results", results: [recorded] });
    assert.deepEqual(Object.keys(recalled.runs.run.tiles), ["correlation"]);
  }
});

test("nothing is changed before the connection has shown the holdings", () => {
  const state = play(reduce, open(), portfolio());
  assert.equal(isBusy(state), false);
  const lost = play(reduce, state, { kind: "socket", phase: "waiting", why: "lost", until: T0 });
  assert.equal(isBusy(lost), true);
  const again = play(reduce, lost, { kind: "socket", phase: "open" });
  assert.equal(isBusy(again), true, "these holdings may be those of a session that is gone");
  assert.equal(isBusy(play(reduce, again, portfolio())), false);
  assert.equal(isBusy(play(reduce, state, { kind: "change", id: "trade:1", what: "Buy", version: 1 })), true);
});

test("an expired session leaves nothing of itself", () => {
  const state = play(reduce, open(), portfolio({ version: 9 }), asked("risk"), risk(9, 1_000), started(4), error("session_expired", { retryable: true }),
    portfolio({ version: 1, holdings: { MSFT: 1 } }));
  assert.equal(riskOf(state), null);
  assert.equal(state.runs.run, null);
  assert.deepEqual(table(state).rows.map((row) => row.ticker), ["MSFT"]);
});
