// What stands beside an analysis: how it ended, and whether that still holds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { initial, reduce } from "../../../portfolio_trio/web/static/state.js";
import { noteOf } from "../../../portfolio_trio/web/static/tiles.js";
import { play, portfolio, result, risk, started } from "./messages.js";

const open = () => play(reduce, initial(Date.parse("2026-01-05T15:30:00Z")), { kind: "session", session: "s" }, { kind: "socket", phase: "open" });
const failed = (code) => ({ type: "analysis_failed", ticker: "AAPL", code, detail: `about ${code}` });

test("a run that was lost with its connection says so, whatever has come since", () => {
  const state = play(reduce, open(), portfolio(), started(1), result(1, "momentum"), { kind: "socket", phase: "waiting", why: "lost", until: 0 },
    { kind: "socket", phase: "open" }, portfolio({ valued: { tick_id: 9_000, as_of: "2026-01-05T15:31:00.000Z" } }));
  assert.match(noteOf(state), /^run 1, .*the connection was lost before its end$/);
});

test("a store that cannot be reached is told until it answers again", () => {
  const away = play(reduce, open(), portfolio(), { kind: "analyze", ticker: "AAPL" }, failed("unavailable"));
  assert.match(noteOf(away), /cannot reach its store at the moment/);
  const back = play(reduce, away, risk(1, 2_000));
  assert.match(noteOf(back), /store could not be reached; it can be now/);
  assert.match(noteOf(play(reduce, back, started(2))), /^run 2/);
  assert.equal(noteOf(play(reduce, open(), portfolio(), failed("not_held"), risk(1, 2_000))), "about not_held", "no answer changes that");
});
