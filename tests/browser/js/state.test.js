import assert from "node:assert/strict";
import { test } from "node:test";
import { due } from "../../../portfolio_trio/web/static/asks.js";
import { correlationsOf, hedgeTrade, lastWhatIf, planOf, sidesOf, whatIfOf, whyNot } from "../../../portfolio_trio/web/static/decisions.js";
import { initial, reduce } from "../../../portfolio_trio/web/static/state.js";
import { foremost, pricesChip, riskOf, runAge, runChip, socketChip, table, tickAge, value } from "../../../portfolio_trio/web/static/view.js";
import { cancelled, completed, error, play, portfolio, result, risk, started, update } from "./messages.js";

const T0 = Date.parse("2026-01-05T15:30:00Z");
const open = () => play(reduce, initial(T0), { kind: "session", session: "s" }, { kind: "socket", phase: "open" });
const asked = (what, key = "k") => ({ kind: "asked", what, key });
const keys = (state) => due(state).map((ask) => ask.what);

test("a result is shown only while its run is the one that runs", () => {
  const state = play(reduce, open(), portfolio(), started(1), result(1, "portfolio_risk", 0.8), cancelled(1), started(2, "SPY"),
    result(1, "correlation", 0.1), result(2, "correlation", 0.2, "SPY"));
  assert.deepEqual(Object.keys(state.runs.run.tiles), ["correlation"]);
  assert.equal(state.runs.run.tiles.correlation.value, 0.2);
  assert.equal(state.runs.ghost.run_id, 1);
  assert.deepEqual(Object.keys(state.runs.ghost.tiles), ["portfolio_risk"]);
  assert.equal(state.runs.ghost.late, 1);
  assert.equal(state.runs.ghost.took, 321);
});

test("nothing lands on a run that has ended", () => {
  const state = play(reduce, open(), portfolio(), started(1), completed(1), result(1, "momentum"));
  assert.deepEqual(state.runs.run.tiles, {});
  assert.equal(state.runs.run.late, 1);
});

test("following ends with a cancellation that names no run", () => {
  const followed = play(reduce, open(), portfolio(), started(1), { ...completed(1), following: true });
  assert.match(runChip(followed).text, /Following AAPL/);
  assert.equal(runChip(play(reduce, followed, { type: "analysis_cancelled", reason: "cancelled" })).text, "Idle");
});

test("a run that is cancelled before its start does not start for ever; one that takes another's place does", () => {
  const starting = play(reduce, open(), portfolio(), { kind: "analyze", ticker: "AAPL" });
  assert.equal(runChip(starting).text, "AAPL starting");
  assert.equal(runChip(play(reduce, starting, { type: "analysis_cancelled", id: "cancel", reason: "cancelled" })).text, "Idle");
  const switched = play(reduce, starting, started(1), { kind: "analyze", ticker: "SPY" }, cancelled(1));
  assert.equal(runChip(switched).text, "SPY starting");
  assert.equal(runChip(play(reduce, switched, started(2, "SPY"))).text, "Running 0/5");
});

test("the box is unticked when nothing is followed any more, however that came", () => {
  const ticked = play(reduce, open(), portfolio(), { kind: "follow", on: true });
  assert.ok(play(reduce, ticked, update(1_500, 1_000)).follow, "the first analysis will be followed");
  const followed = play(reduce, ticked, { kind: "analyze", ticker: "AAPL" }, started(1), { ...completed(1), following: true }, update(2_000, 1_010), started(2));
  assert.ok(followed.follow);
  const ends = {
    "the connection was lost": [{ kind: "socket", phase: "waiting", why: "lost", until: T0 }],
    "on request": [cancelled(2, "cancelled")],
    "on request, between two runs": [{ ...completed(2), following: true }, { type: "analysis_cancelled", reason: "cancelled" }],
    "another tab took over": [cancelled(2, "superseded"), started(3, "SPY")],
    "another tab took over between two runs": [{ ...completed(2), following: true }, started(3, "SPY"), completed(3, "SPY")],
    "it failed": [{ type: "analysis_failed", ticker: "AAPL", code: "not_held", detail: "AAPL is not held" }],
    "holdings changed before the connection was lost": [cancelled(2, "portfolio_changed"), { kind: "socket", phase: "waiting", why: "lost", until: T0 }],
  };
  for (const [why, messages] of Object.entries(ends)) assert.equal(play(reduce, followed, ...messages).follow, false, why);
  const other = { kind: "analyze", ticker: "SPY" };
  const goes = {
    "another was chosen": [other, cancelled(2), started(3, "SPY")],
    "the holdings changed": [cancelled(2, "portfolio_changed"), started(3)],
    "this tab took over": [other, cancelled(2, "superseded"), started(3, "SPY")],
    "the last one ended while the next was asked for": [other, completed(2), started(3, "SPY")],
    "another was refused": [other, error("rate_limited", { id: "analyze" })],
  };
  for (const [why, messages] of Object.entries(goes)) assert.equal(play(reduce, followed, ...messages).follow, true, why);
});

test("a metric's error takes the place of its result", () => {
  const failure = { type: "metric_error", ticker: "AAPL", metric: "momentum", code: "insufficient_history", detail: "short", run_id: 1 };
  const { run } = play(reduce, open(), portfolio(), started(1), failure).runs;
  assert.equal(run.tiles.momentum.error.code, "insufficient_history");
  assert.equal(run.tiles.momentum.value, null);
});

test("a run that was under way before the socket is adopted, and its recorded results are filled in", () => {
  const current = { ticker: "AAPL", started_at: "x", run_id: 7, version: 1, tick_id: 1_000 };
  const before = play(reduce, open(), portfolio({ current_analysis: current }), asked("results"));
  const state = play(reduce, before, { type: "results", id: "results", results: [result(6, "momentum"), result(7, "concentration", 0.3)] });
  assert.equal(state.runs.run.phase, "running");
  assert.deepEqual(Object.keys(state.runs.run.tiles), ["concentration"]);
});

test("what was recorded before the page came says so", () => {
  const state = play(reduce, open(), portfolio(), asked("results"), { type: "results", id: "results", results: [result(6, "momentum")] });
  assert.equal(state.runs.run.phase, "recorded");
  assert.match(runAge(state), /recorded/);
});

test("numbers of a run say so when they are of older prices or other holdings", () => {
  const state = play(reduce, open(), portfolio(), started(1), result(1, "momentum"), completed(1));
  assert.equal(runAge(state), "");
  assert.match(runAge(play(reduce, state, update(2_000, 1_010))), /prices are newer/);
  assert.match(runAge(play(reduce, state, portfolio({ version: 2 }))), /holdings that have changed/);
});

test("a run whose socket is lost is told no end", () => {
  const state = play(reduce, open(), portfolio(), started(1), { kind: "socket", phase: "waiting", why: "lost", until: T0 + 5_000 });
  assert.equal(state.runs.run.phase, "lost");
  assert.equal(runChip(state).text, "Idle");
});

test("a change is that between two ticks of one version, and none across an edit", () => {
  const state = play(reduce, open(), portfolio(), update(2_000, 1_010));
  assert.equal(value(state).change, 10);
  const next = play(reduce, state, update(3_000, 1_000));
  assert.equal(value(next).change, -10);
  const edited = play(reduce, next, portfolio({ version: 2, total_value: 5_000 }));
  assert.equal(value(edited).change, null);
  assert.equal(value(edited).total, 5_000);
  assert.equal(value(play(reduce, edited, update(4_000, 5_005))).change, 5);
});

test("an older tick does not undo a newer one", () => {
  const state = play(reduce, open(), portfolio(), update(3_000, 1_010), update(2_000, 900));
  assert.equal(value(state).total, 1_010);
});

test("after a reconnection the newer of state and update is shown", () => {
  const state = play(reduce, open(), portfolio(), asked("risk"), risk(1, 1_000), started(1), completed(1), update(2_000, 1_010), asked("risk"), risk(1, 2_000));
  const again = play(reduce, state, { kind: "socket", phase: "waiting", why: "lost", until: T0 }, { kind: "socket", phase: "open" });
  const stale = { tick_id: 1_500, as_of: "2026-01-05T15:30:01.500Z" };
  assert.equal(value(play(reduce, again, portfolio({ valued: stale }))).total, 1_010, "another server knows an older tick");
  const valued = { tick_id: 60_000, as_of: "2026-01-05T15:31:00.000Z" };
  const newer = play(reduce, again, portfolio({ total_value: 1_200, valued, values: { AAPL: 1_400, SPY: -200 }, stale: true }));
  assert.deepEqual([value(newer).total, value(newer).as_of, value(newer).change], [1_200, valued.as_of, null]);
  assert.equal(tickAge({ ...newer, now: Date.parse(valued.as_of) + 5_000, lag: 0 }), 5);
  assert.equal(pricesChip(newer).text, "Stale prices");
  assert.deepEqual([table(newer).riskIsOld, table(newer).rows[0].value], [true, 1_400]);
  assert.match(runAge(newer), /prices are newer/);
  assert.equal(value(play(reduce, newer, update(30_000, 900))).total, 1_200, "an update that was on its way");
  const next = value(play(reduce, newer, update(61_000, 1_250)));
  assert.deepEqual([next.total, next.change, next.since], [1_250, 50, valued.as_of]);
});

test("risk of another version is not shown; of an older tick it is marked", () => {
  const state = play(reduce, open(), portfolio(), asked("risk"), risk(1, 1_000));
  assert.equal(table(state).rows[0].risk, 1.1);
  assert.equal(table(state).riskIsOld, false);
  const later = play(reduce, state, update(2_000, 1_300));
  assert.equal(table(later).riskIsOld, true);
  assert.equal(table(later).rows[0].value, 1_500);
  const edited = play(reduce, later, portfolio({ version: 2 }));
  assert.equal(riskOf(edited), null);
  assert.equal(riskOf(play(reduce, edited, asked("risk"), risk(1, 3_000))), null, "an answer that was on its way");
  assert.deepEqual(table(edited).rows.map((row) => [row.risk, row.value]), [[null, null], [null, null]]);
  const valued = play(reduce, state, portfolio({ version: 2, values: { AAPL: 900, SPY: -100 } }));
  assert.deepEqual(table(valued).rows.map((row) => [row.value, row.weight]), [[900, 0.9], [-100, -0.1]]);
});

test("most risk first, hedges last", () => {
  const state = play(reduce, open(), portfolio({ holdings: { SPY: -10, AAPL: 100 } }), asked("risk"), risk(1, 1_000));
  assert.deepEqual(table(state).rows.map((row) => row.ticker), ["AAPL", "SPY"]);
});

test("what is wanted and not held has a row", () => {
  const targets = { weights: { AAPL: 3, KO: 1, OLD: 0 }, budgets: { AAPL: 1, KO: 1 }, band: 0.05 };
  const state = play(reduce, open(), portfolio({ targets, outside: { KO: -0.25 } }), asked("risk"), risk(1, 1_000));
  const { rows } = table(state);
  assert.deepEqual(rows.map((row) => row.ticker), ["AAPL", "KO", "SPY"]);
  assert.deepEqual(rows[1], { ticker: "KO", shares: 0, value: 0, weight: 0, risk: null, budget: 0.5, target: 0.25, drift: -0.25, unpriced: undefined });
});

test("of many rows those are shown that have most to say, and the one that was chosen", () => {
  const row = (at, more) => ({ ticker: `N${at}`, risk: at === 0 ? -0.5 : at / 1_000, weight: 0.01, drift: null, ...more });
  const rows = Array.from({ length: 150 }, (_, at) => row(at, at === 1 ? { drift: 0.2 } : {})).reverse();
  const { shown, left, risk: sum } = foremost(rows, "N2");
  assert.equal(shown.length, 100);
  assert.deepEqual([shown[0].ticker, ...shown.slice(-3).map((each) => each.ticker)], ["N149", "N2", "N1", "N0"]);
  assert.equal(left, 50);
  assert.ok(Math.abs(sum - rows.filter((each) => !shown.includes(each)).reduce((all, each) => all + each.risk, 0)) < 1e-12);
  assert.deepEqual(foremost(rows.slice(0, 100), null), { shown: rows.slice(0, 100), left: 0, risk: null });
});

test("each question is asked once a tick, and one of a kind at a time", () => {
  const state = play(reduce, open(), portfolio());
  assert.deepEqual(keys(state), ["risk", "results", "history"]);
  const [{ key }] = due(state);
  const waiting = play(reduce, state, asked("risk", key));
  assert.ok(!keys(waiting).includes("risk"));
  const later = play(reduce, waiting, update(2_000, 1_000));
  assert.ok(!keys(later).includes("risk"), "one is under way");
  const answered = play(reduce, later, risk(1, 1_000));
  assert.ok(keys(answered).includes("risk"), "there is a newer tick");
});

test("risk that came for the newest tick is not asked for again", () => {
  const first = play(reduce, open(), asked("risk", ""), portfolio());
  assert.ok(!keys(first).includes("risk"), "one is under way");
  const answered = play(reduce, first, risk(1, 1_000));
  assert.ok(!keys(answered).includes("risk"));
  assert.ok(keys(play(reduce, answered, update(2_000, 1_000))).includes("risk"), "a newer tick");
  assert.ok(keys(play(reduce, answered, portfolio({ version: 2 }))).includes("risk"), "other holdings");
  const ahead = play(reduce, first, risk(1, 2_000), update(2_000, 1_000));
  assert.ok(!keys(ahead).includes("risk"), "the answer was of the tick that came after it");
});

test("of an empty portfolio everything is asked that is on screen: the answers say what is missing", () => {
  const state = play(reduce, open(), portfolio({ holdings: {} }), { kind: "select", ticker: "AMZN" }, { kind: "tab", place: "side", tab: "correlations" });
  assert.deepEqual(keys(state), ["risk", "results", "what_if", "correlations"]);
  const failed = play(reduce, state, asked("correlations"), error("empty_portfolio", { id: "correlations", detail: "nothing is held" }));
  assert.equal(whyNot(failed, "correlations"), "Nothing is held.");
});

test("what an older server does not know is not asked again until the next connection", () => {
  const state = play(reduce, open(), portfolio(), asked("risk"), error("unknown_action", { id: "risk" }), update(2_000, 1_000));
  assert.ok(!keys(state).includes("risk"));
  const again = play(reduce, state, { kind: "socket", phase: "waiting", why: "", until: 0 }, { kind: "socket", phase: "open" });
  assert.ok(keys(again).includes("risk"));
});

test("an error that may pass is given time", () => {
  const [{ key }] = due(play(reduce, open(), portfolio()));
  const state = play(reduce, open(), portfolio(), asked("risk", key), error("rate_limited", { id: "risk", retryable: true }));
  assert.ok(!keys(state).includes("risk"));
  assert.ok(keys(reduce(state, { kind: "clock", at: state.now + 3_000 })).includes("risk"));
});

test("nothing is asked without a connection", () => {
  assert.deepEqual(due(play(reduce, open(), portfolio(), { kind: "socket", phase: "waiting", why: "", until: 0 })), []);
});

test("a trade at hand is asked for, and an answer to another one is not shown", () => {  const state = play(reduce, open(), portfolio(), { kind: "select", ticker: "AAPL" }, { kind: "draft", shares: -5 });
  const ask = due(state).find(({ what }) => what === "what_if");
  assert.deepEqual(ask.request, { action: "what_if", trades: { AAPL: -5 } });
  const answered = play(reduce, state, asked("what_if", ask.key), { type: "what_if", id: "what_if", version: 1, holdings: [] });
  assert.ok(whatIfOf(answered));
  assert.equal(whatIfOf(play(reduce, answered, { kind: "draft", shares: -6 })), null);
  const later = play(reduce, answered, update(2_000, 1_000));
  assert.equal(whatIfOf(later), null);
  assert.ok(lastWhatIf(later), "it says its time");
  for (const other of [{ kind: "draft", shares: -6 }, { kind: "select", ticker: "SPY" }, portfolio({ version: 2 })]) {
    assert.equal(lastWhatIf(play(reduce, later, other)), null);
  }
});

test("without a trade at hand the numbers are those of the risk, and the hedge is asked once a minute", () => {
  const state = play(reduce, open(), portfolio(), asked("risk"), risk(1, 1_000), { kind: "select", ticker: "AAPL" });
  assert.deepEqual(sidesOf(state), { before: { totals: risk(1, 1_000).totals, own: risk(1, 1_000).holdings[0] }, after: {}, old: false });
  const { key } = due(state).find(({ what }) => what === "what_if");
  const answered = play(reduce, state, asked("what_if", key), { type: "what_if", id: "what_if", version: 1, holdings: [], best_hedge: { ticker: "AAPL", shares: -20, value: -1 } });
  assert.equal(hedgeTrade(answered), -120);
  const later = play(reduce, answered, update(2_000, 1_000));
  assert.ok(!keys(later).includes("what_if"));
  assert.equal(sidesOf(later).old, true);
  assert.ok(keys(play(reduce, later, update(62_000, 1_000))).includes("what_if"));
});

test("a plan is that of what is chosen, on the holdings as they are", () => {
  const state = play(reduce, open(), portfolio(), { kind: "tab", place: "work", tab: "plan" });
  const { key } = due(state).find(({ what }) => what === "plan");
  const answered = play(reduce, state, asked("plan", key), { type: "plan", id: "plan", version: 1, lines: [] });
  assert.ok(planOf(answered));
  assert.ok(planOf(play(reduce, answered, update(2_000, 1_000))), "it says its time");
  assert.equal(planOf(play(reduce, answered, { kind: "plan", set: { cash: 5 } })), null);
  assert.equal(planOf(play(reduce, answered, portfolio({ version: 2 }))), null);
});

test("a conflict is told with the version that was looked at, and loses no draft", () => {
  const state = play(reduce, open(), portfolio(), { kind: "select", ticker: "AAPL" }, { kind: "draft", shares: -5 },
    { kind: "change", id: "trade:1", what: "Sell 5 AAPL", version: 1 }, portfolio({ version: 2 }), error("version_conflict", { id: "trade:1", retryable: true }));
  assert.match(state.notice.text, /looked at version 1; nothing was done/);
  assert.equal(state.draft, -5);
  assert.deepEqual(state.changes, {});
});

test("a change whose connection is lost is told as unknown", () => {
  const state = play(reduce, open(), portfolio(), { kind: "change", id: "trade:1", what: "Sell 5 AAPL" },
    { kind: "socket", phase: "waiting", why: "lost", until: T0 });
  assert.match(state.notice.text, /Sell 5 AAPL/);
  assert.match(state.notice.text, /Look whether/);
});

test("chips say what is the matter", () => {
  const state = play(reduce, open(), portfolio(), update(2_000, 1_000));
  assert.equal(pricesChip(state).level, "good");
  assert.equal(socketChip(state).text, "Connected");
  assert.match(pricesChip({ ...state, now: state.now + 300_000 }).text, /No tick for 5 min/);
  const paced = { ...state, gap: 10_000, now: Date.parse(state.update.as_of) + state.lag + 19_000 };
  assert.match(pricesChip(paced).text, /Prices 19 s old/);
  assert.match(pricesChip({ ...paced, now: paced.now + 2_000 }).text, /No tick for 21 s/, "one is missing, and the next is not far");
  assert.match(pricesChip(play(reduce, state, update(3_000, 1_000, { unpriced: { AAPL: null } }))).text, /1 name without/);
  assert.match(pricesChip(play(reduce, state, update(3_000, 1_000, { stale_prices: { AAPL: "2026-01-02" } }))).text, /1 name at the last close/);
  assert.equal(pricesChip(play(reduce, state, update(3_000, 1_000, { stale: true }))).text, "Stale prices");
  const lost = play(reduce, state, { kind: "socket", phase: "waiting", why: "gone", until: state.now + 4_000 });
  assert.match(socketChip(lost).text, /Reconnecting in \d s/);
  assert.equal(pricesChip(lost).level, "warn");
});

test("holdings with too little history have no correlations, and it is said why", () => {
  const answer = { ...risk(1, 1_000), id: "correlations", matrix: null, errors: { matrix: "insufficient_history" } };
  const state = play(reduce, open(), portfolio(), asked("correlations"), answer);
  assert.equal(correlationsOf(state), null);
  assert.match(whyNot(state, "correlations"), /too few returns/);
  assert.equal(whyNot(play(reduce, state, portfolio({ version: 2 })), "correlations"), "");
});

test("the log is bounded and says how many had arrived", () => {
  let state = play(reduce, open(), portfolio(), started(1), result(1, "momentum"), cancelled(1));
  assert.match(state.log.at(-1).text, /cancelled after 1 of 5 in 0\.3 ms/);
  for (let tick = 0; tick < 500; tick++) state = play(reduce, state, update(2_000 + tick, 1_000));
  assert.equal(state.log.length, 400);
  assert.equal(state.ticks.length, 240);
});
