// The main table: one row per holding, with its weight beside its share of the portfolio's risk.

import { arrange, button, byId, draw, el, heads, mark, region, say, set } from "./dom.js";
import { clock, count, fixed, isNumber, money, percent, shares, signed } from "./format.js";
import { bar, extent, scale } from "./geometry.js";
import { foremost, table } from "./view.js";
import { whatIfRows } from "./decisions.js";

const WIDTH = 1000;

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./view.js").Row} Row */

/** @param {import("./main.js").Actions} actions @returns {(state: State) => void} */
export function mountHoldings(actions) {
  const root = byId("holdings", HTMLElement);
  const note = el("p", { class: "note" });
  const axis = makeAxis();
  let pointed = false;
  const body = el("tbody", {
    keydown: (/** @type {KeyboardEvent} */ event) => step(event, body),
    pointerenter: () => (pointed = true), pointerleave: () => (pointed = false),
  });
  const head = heads("Holding", ["Shares", "wide"], ["Value", "wide"],
    [el("span", {}, el("span", { class: "unseen" }, "Weight and risk"), axis.root), "bars"], ["Weight", "key sign"], ["Risk", "key risk sign"]);
  const empty = el("p", { class: "empty", hidden: true });
  let all = false;
  const restText = el("span", { class: "unit" });
  const showAll = button({ click: () => {
    all = !all;
    if (last) show(last);
  } });
  const rest = el("div", { class: "bar rest", hidden: true }, restText, showAll);
  root.append(
    el("header", {}, el("h2", { id: "holdings-title" }, "Weight and share of risk"), note, el("span", { class: "goal sign" }, "target, budget")),
    region("Holdings", el("table", {}, head, body), rest, empty));
  /** @type {Map<string, ReturnType<typeof makeRow>>} */
  const known = new Map();

  /** @type {State | null} */
  let last = null;

  /** @param {State} state */
  function show(state) {
    last = state;
    const { rows: whole, riskIsOld, hasRisk } = table(state);
    const { shown, left, risk } = foremost(whole, state.selected);
    const rows = all ? whole : shown;
    rest.hidden = left === 0;
    say(restText, all ? "" : `${count(left, "smaller position")}${risk === null ? "" : `: ${percent(risk)} of risk together`}`);
    say(showAll, all ? "Show the largest" : `Show all ${whole.length}`);
    // Rows that the user is about to click do not move.
    if (pointed) keepOrder(rows, [...known.keys()]);
    const after = whatIfRows(state);
    const reach = extent([
      ...rows.flatMap((row) => [row.weight, row.risk, row.budget, row.target]),
      ...[...after.values()].flatMap((row) => [row.weight, row.risk]),
    ]);
    const x = scale(reach, [0, WIDTH]);
    const wanted = rows.map((row) => {
      const made = known.get(row.ticker) ?? makeRow(row.ticker, actions);
      made.show(row, after.get(row.ticker), x, state.selected === row.ticker);
      return made;
    });
    known.clear();
    wanted.forEach((row, at) => known.set(/** @type {Row} */ (rows[at]).ticker, row));
    arrange(body, wanted.map((row) => row.root));
    mark(root, "oldrisk", riskIsOld);
    axis.show(reach, x);
    say(note, noteOf(state, hasRisk, riskIsOld));
    empty.hidden = rows.length > 0;
    if (!rows.length) say(empty, state.portfolio ? "Nothing is held. Add names under “Holdings” below." : "Waiting for the portfolio.");
  }
  return show;
}

/** Sort rows in their present order; new ones come last. @param {Row[]} rows @param {string[]} order */
function keepOrder(rows, order) {
  const place = new Map(order.map((ticker, at) => [ticker, at]));
  rows.sort((a, b) => (place.get(a.ticker) ?? order.length) - (place.get(b.ticker) ?? order.length));
}

/** @param {State} state @param {boolean} hasRisk @param {boolean} riskIsOld */
function noteOf(state, hasRisk, riskIsOld) {
  if (!state.portfolio) return "";
  if (state.unknown.risk) return "This server is older: it gives risk for one holding at a time.";
  const failure = state.failures.risk;
  if (!hasRisk && failure) return `No risk shares: ${failure.detail}`;
  const version = `version ${state.portfolio.version}`;
  if (riskIsOld) return `${version}, risk as of ${clock(state.risk?.as_of)}`;
  return hasRisk ? `${version}, as of ${clock(state.risk?.as_of)}` : version;
}

/** @param {string} ticker @param {import("./main.js").Actions} actions */
function makeRow(ticker, actions) {
  const name = button({ class: "ticker" }, ticker);
  const flag = el("span", { class: "flag" });
  const cells = { shares: el("td", { class: "wide" }), value: el("td", { class: "wide" }), weight: el("td"), risk: el("td") };
  const marks = {
    zero: draw("line", { class: "zero", y1: 0, y2: 24 }),
    weight: draw("rect", { class: "weight", y: 3.5, height: 8 }),
    risk: draw("rect", { class: "risk", y: 12.5, height: 8 }),
    ghostWeight: draw("rect", { class: "ghost", y: 3.5, height: 8 }),
    ghostRisk: draw("rect", { class: "ghost", y: 12.5, height: 8 }),
    target: draw("line", { class: "goal", y1: 2, y2: 11.5 }),
    budget: draw("line", { class: "goal", y1: 12.5, y2: 22 }),
  };
  const chart = draw("svg", { viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...Object.values(marks));
  let held = true;
  const root = el("tr", { click: () => (held ? actions.analyze(ticker) : actions.select(ticker)) },
    el("th", { scope: "row" }, name, flag), cells.shares, cells.value, el("td", { class: "bars" }, chart), cells.weight, cells.risk);

  /** @param {Row} row @param {{weight: number | null, risk: number | null} | undefined} after @param {(value: number) => number} x @param {boolean} selected */
  function show(row, after, x, selected) {
    say(cells.shares, shares(row.shares));
    say(cells.value, money(row.value));
    for (const cell of [cells.shares, cells.value]) set(cell, { title: cell.textContent });
    say(cells.weight, percent(row.weight));
    say(cells.risk, percent(row.risk));
    held = row.shares !== 0;
    set(name, { "aria-pressed": String(selected), title: held ? `Analyse ${ticker}` : `${ticker} is not held: try a trade` });
    mark(root, "absent", !held);
    mark(root, "selected", selected);
    mark(root, "outside", row.drift !== null);
    mark(root, "unpriced", row.unpriced !== undefined);
    const flags = [];
    if (row.drift !== null) flags.push(`${signed(row.drift * 100, (points) => fixed(points, 0))} pp`);
    if (row.unpriced !== undefined) flags.push("no price");
    say(flag, flags.join(", "));
    set(flag, { title: flags.length ? titleOf(row) : null });
    set(marks.zero, { x1: x(0), x2: x(0) });
    place(marks.weight, row.weight, x);
    place(marks.risk, row.risk, x);
    place(marks.ghostWeight, differs(row.weight, after?.weight, x), x);
    place(marks.ghostRisk, differs(row.risk, after?.risk, x), x);
    pin(marks.target, row.target, x);
    pin(marks.budget, row.budget, x);
  }
  return { root, show };
}

/** @param {Row} row */
function titleOf({ drift, unpriced }) {
  const parts = drift === null ? [] : ["weight less target, in percentage points: outside the band"];
  if (unpriced !== undefined) parts.push(`valued at the last known price; last close ${unpriced ?? "none"}`);
  return parts.join("; ");
}

/** The bar after the change, if the difference is visible. @param {number | null} before @param {number | null | undefined} after @param {(value: number) => number} x */
function differs(before, after, x) {
  return isNumber(after) && Math.abs(x(after) - x(before ?? 0)) > WIDTH / 250 ? after : null;
}

/** @param {Element} node @param {number | null | undefined} value @param {(value: number) => number} x */
function place(node, value, x) {
  set(node, isNumber(value) ? { ...bar(x, value), visibility: null } : { visibility: "hidden" });
}

/** @param {Element} node @param {number | null} value @param {(value: number) => number} x */
function pin(node, value, x) {
  set(node, !value ? { visibility: "hidden" } : { x1: x(value), x2: x(value), visibility: null });
}

/** The ends of the range, and zero if it is well inside. */
function makeAxis() {
  const [low, zero, high] = [el("span"), el("span", { class: "zero" }, "0 %"), el("span")];
  return { root: el("span", { class: "axis", "aria-hidden": "true" }, low, zero, high), show(/** @type {[number, number]} */ reach, /** @type {(value: number) => number} */ x) {
    say(low, percent(reach[0], 0));
    say(high, percent(reach[1], 0));
    zero.hidden = Math.min(-reach[0], reach[1]) * 3 <= reach[1] - reach[0];
    zero.style.setProperty("left", `${x(0) / 10}%`);
  } };
}

/** Arrow keys move from row to row. @param {KeyboardEvent} event @param {HTMLElement} body */
function step(event, body) {
  const way = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (!way) return;
  const buttons = [...body.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  buttons[at + way]?.focus();
  event.preventDefault();
}
