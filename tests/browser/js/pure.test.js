import assert from "node:assert/strict";
import { test } from "node:test";
import { csv } from "../../../portfolio_trio/web/static/csv.js";
import { age, clock, money, percent, plain, shares, signed, took } from "../../../portfolio_trio/web/static/format.js";
import { area, bar, extent, line, range, roundStep, scale, shade } from "../../../portfolio_trio/web/static/geometry.js";
import { readLines } from "../../../portfolio_trio/web/static/editor.js";
import { halfLife, sessionIn } from "../../../portfolio_trio/web/static/session.js";
import { backoff, retryAfter } from "../../../portfolio_trio/web/static/socket.js";
import { meaningOfEmpty, readLines as readTargets, wrongWith } from "../../../portfolio_trio/web/static/targets.js";
import { closed, ended, fault, leftOver, meaning, shown, worthReconnecting } from "../../../portfolio_trio/web/static/words.js";

test("numbers that are none are dashes, and nothing is minus zero", () => {
  for (const none of [null, undefined, NaN, Infinity, "5"]) assert.equal(money(none), "–");
  assert.equal(percent(-0.0001), "0.0 %");
  assert.equal(signed(0, percent), "0.0 %");
  assert.equal(signed(0.00001, percent), "0.0 %");
  assert.equal(money(1234.5), "1,234.50");
  assert.equal(money(-123_456.78), "−123,457");
  assert.equal(shares(0.000000001), "0.000000001");
  assert.equal(signed(2, money), "+2.00");
  assert.equal(plain(-0.1), "-0.1");
});

test("times", () => {
  assert.equal(clock("no time"), "–");
  assert.match(clock("2026-01-05T15:30:00Z"), /^\d\d:30:00$/);
  assert.deepEqual([age(-1), age(119.9), age(120), age(7_200), age(200_000)], ["0 s", "119 s", "2 min", "2 h", "2 days"]);
  assert.equal(took(321), "0.3 ms");
});

test("bars share a stretch that has zero in it and ends on round numbers", () => {
  assert.deepEqual(extent([0.3, -0.04, null]), [-0.1, 0.30000000000000004]);
  assert.deepEqual(extent([]), [0, 1]);
  assert.equal(roundStep(0.5), 0.1);
  for (let at = 0; at < 300; at++) {
    const values = Array.from({ length: 5 }, () => Math.random() * 4 - 2);
    const [low, high] = extent(values);
    assert.ok(low <= Math.min(0, ...values) && high >= Math.max(0, ...values));
    const x = scale([low, high], [0, 1000]);
    for (const value of values) {
      const { x: left, width } = bar(x, value);
      assert.ok(left >= -0.01 && left + width <= 1000.02);
      assert.ok(Math.abs((value < 0 ? left + width : left) - x(0)) < 0.02);
    }
  }
});

test("lines", () => {
  const x = scale([0, 2], [0, 20]);
  assert.equal(line([1, 2, 3], x, (value) => value), "M0 1L10 2L20 3");
  assert.equal(area([1, 2], x, (value) => value, 9, 1), "M10 1L20 2L20 9L10 9Z");
  assert.equal(area([], x, x, 0), "");
  const [low, high] = range([5, 5]);
  assert.ok(low < 5 && high > 5);
  assert.deepEqual([shade(1), shade(-0.5), shade(0), shade(null)], [0.64, 0.34, 0.04, 0]);
});

test("CSV that a spreadsheet reads as it was written", () => {
  assert.equal(csv([["a", 1.5, null], ['say "x", y', -2, "=1+1"]]), 'a,1.5,\r\n"say ""x"", y",-2,\'=1+1\r\n');
});

test("holdings as they are typed, or the first thing that is wrong with them", () => {
  const line = (name, shares) => ({ name, shares });
  assert.deepEqual(readLines([line(" aapl ", "1,200"), line("", ""), line("KO", "0"), line("SPY", "-3.5")]), { holdings: { AAPL: 1200, SPY: -3.5 }, wrong: "" });
  assert.match(readLines([line("AAPL", "1"), line("aapl", "2")]).wrong, /AAPL stands twice/);
  assert.match(readLines([line("AAPL", "many")]).wrong, /AAPL needs a number/);
  assert.match(readLines([line("", "5")]).wrong, /An empty name/);
  assert.match(readLines([line("$$", "5")]).wrong, /\$\$ is no ticker/);
});

test("targets as they are typed, in per cent", () => {
  const lines = [{ name: "AAPL", weights: "60", budgets: "" }, { name: "KO", weights: "0", budgets: "" }, { name: "SPY", weights: "", budgets: "" }];
  assert.deepEqual(readTargets(lines), { weights: { AAPL: 0.6, KO: 0 } });
  assert.deepEqual(readTargets([]), {});
});

test("targets that the server would refuse are named in plain words", () => {
  const right = [{}, { weights: { AAPL: 0.6, KO: 0 } }, { weights: { KO: 3 }, budgets: { KO: 1 }, band: 0.05 }, { band: 0 }, { band: 1 }];
  assert.deepEqual(right.map(wrongWith), ["", "", "", "", ""]);
  assert.match(wrongWith({ weights: { AAPL: 1, GOOGL: -0.1 } }), /^The weight of GOOGL is below 0\.$/);
  assert.match(wrongWith({ budgets: { AAPL: 1, GOOGL: -0.1 } }), /^The budget of GOOGL is below 0\.$/);
  assert.match(wrongWith({ weights: { AAPL: 0, KO: 0 } }), /^Each weight is 0: leave all empty/);
  assert.match(wrongWith({ budgets: { AAPL: 1, KO: 0 } }), /^The budget of KO is 0: leave it empty/);
  for (const band of [-0.01, 1.01]) assert.match(wrongWith({ band }), /band is from 0 to 100 %/);
});

test("an empty target is an equal one until another of its kind is set", () => {
  const weights = { AAPL: 0.6 };
  assert.deepEqual([meaningOfEmpty("weights", {}), meaningOfEmpty("budgets", { weights, band: 0.1 })], ["equal", "equal"]);
  assert.deepEqual([meaningOfEmpty("weights", { weights }), meaningOfEmpty("budgets", { budgets: weights })], ["0", "0"]);
});

test("pauses grow, vary and end at half a minute", () => {
  for (let attempt = 0; attempt < 40; attempt++) {
    const whole = Math.min(30_000, 250 * 2 ** attempt);
    assert.equal(backoff(attempt, () => 0), whole / 2);
    assert.ok(backoff(attempt, () => 0.999) <= whole);
  }
  assert.equal(retryAfter("the server is going away; retry_after=1.5"), 1_500);
  assert.equal(retryAfter("retry_after=99999"), 30_000);
  assert.equal(retryAfter(""), 0);
});

test("what closes a socket, in words", () => {
  assert.equal(closed(1008, "token_expired: The token has expired.").token, true);
  assert.equal(closed(1008, "origin").why, "origin");
  assert.match(closed(1006, "").why, /lost/);
  assert.deepEqual([1000, 1008, 1001, 1006, 1011, 1012, 1013].map((code) => worthReconnecting(code, "")), [false, false, true, true, true, true, true]);
  assert.ok(worthReconnecting(1008, "rate_limited: too many requests"), "it passes");
  assert.ok(!worthReconnecting(1008, "token_expired"));
});

test("the address names a session, and nothing else", () => {
  assert.equal(sessionIn("#session=my-session"), "my-session");
  for (const hash of ["", "#", "#session=", "#session=a/b", "#session=%", "#other=x", `#session=${"a".repeat(129)}`]) {
    assert.equal(sessionIn(hash), null);
  }
});

test("a token is used for half of its life, if it says how long that is", () => {
  const token = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;
  assert.equal(halfLife(token({ iat: 100, exp: 160, sub: "ü?>" })), 30_000);
  for (const none of [token({ exp: 160 }), "x.y.z", ""]) assert.equal(halfLife(none), Infinity);
});

test("sentences say what the numbers say", () => {
  assert.deepEqual([leftOver(0), leftOver(-0.001), leftOver(3.5), leftOver(-715.63)], ["", "", ", 3.50 left over", ", 715.63 more than there is"]);
  assert.equal(shown("portfolio_risk", 0.801), "80.1 %");
  assert.match(meaning("portfolio_risk", { ticker: "AAPL", value: 0.8 }), /^80 % of this portfolio's variance comes from AAPL/);
  assert.match(meaning("portfolio_risk", { ticker: "SPY", value: -0.05 }), /hedge: it takes 5.0 % off/);
  const score = (value, trade, side) => meaning("allocation_score", { ticker: "X", value, detail: { budget: 0.25, shares_to_trade: trade, side } });
  assert.match(score(0.1, 3.456, "buy"), /below its budget of 25 %; buy 3.46 shares/);
  assert.match(meaning("allocation_score", { ticker: "X", value: 0, detail: { budget: 0.002, shares_to_trade: 1, side: "buy" } }), /budget of 0.2 %/);
  assert.match(score(-0.1, -3, "sell"), /above its budget of 25 %; sell 3 shares/);
  assert.match(score(0.1, null, "buy"), /No size of X alone/);
  assert.match(meaning("correlation", { ticker: "X", value: -0.7 }), /closely against/);
  const beside = (weight, times) => meaning("portfolio_risk", { ticker: "X", value: 0.5, detail: { share_per_weight: times } });
  assert.match(beside(0.5, 1), /from X, 1.0 times its weight\.$/);
  assert.match(beside(-0.5, -1), /from X\.$/, "of a short position that carries risk");
  assert.equal(shown("concentration", 0.5, { weight: -0.5 }), "−50.0 %");
  assert.equal(shown("concentration", 0.5), "50.0 %");
  assert.match(ended("superseded"), /a newer analysis took its place/, "this tab may have asked for it");
  assert.match(ended("disconnected"), /the connection that asked for it was lost/);
  assert.match(fault({ code: "session_expired" }), /had expired or was lost; a new one with the default holdings/);
  assert.match(meaning("my_metric", { ticker: "X", value: 1 }), /My metric of X/);
});
