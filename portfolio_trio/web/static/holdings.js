// The heart: one row a holding, its weight beside its share of the portfolio's risk.

import { arrange, byId, draw, el, mark, say, set } from "./dom.js";
import { clock, isNumber, money, percent, shares, signed } from "./format.js";
import { bar, extent, scale } from "./geometry.js";
import { table } from "./view.js";
import { whatIfRows } from "./decisions.js";

const WIDTH = 1000;

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./view.js").Row} Row */

/** @param {import("./main.js").Actions} actions @returns {(state: State) => void} */
export function mountHoldings(actions) {
  const root = byId("holdings", HTMLElement);
  const note = el("p", { class: "note" });
  const axis = el("span", { class: "axis", "aria-hidden": "true" });
  const body = el("tbody");
  const head = el("thead", {}, el("tr", {},
    el("th", { scope: "col" }, "Holding"),
    el("th", { scope: "col", class: "wide" }, "Shares"),
    el("th", { scope: "col", class: "wide" }, "Value"),
    el("th", { scope: "col", class: "bars" }, el("span", { class: "unseen" }, "Weight and risk"), axis),
    el("th", { scope: "col", class: "key weight" }, "Weight"),
    el("th", { scope: "col", class: "key risk" }, "Risk")));
  const empty = el("p", { class: "empty", hidden: true });
  root.append(
    el("header", {}, el("h2", { id: "holdings-title" }, "Weight and share of risk"), note),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Holdings" }, el("table", {}, head, body), empty));
  body.addEventListener("keydown", (event) => step(event, body));
  /** @type {Map<string, ReturnType<typeof makeRow>>} */
  const known = new Map();

  return (state) => {
    const { rows, riskIsOld, hasRisk } = table(state);
    const after = whatIfRows(state);
    const reach = extent([
      ...rows.flatMap((row) => [row.weight, row.risk, row.budget, row.target]),
      ...[...after.values()].flatMap((row) => [row.weight, row.risk]),
    ]);
    const x = scale(reach, [0, WIDTH]);
    const wanted = rows.map((row) => {
      let made = known.get(row.ticker);
      if (!made) known.set(row.ticker, (made = makeRow(row.ticker, actions)));
      made.show(row, after.get(row.ticker), x, state.selected === row.ticker);
      return made.root;
    });
    for (const ticker of known.keys()) if (!rows.some((row) => row.ticker === ticker)) known.delete(ticker);
    arrange(body, wanted);
    mark(root, "oldrisk", riskIsOld);
    showAxis(axis, reach, x);
    say(note, noteOf(state, hasRisk, riskIsOld));
    empty.hidden = rows.length > 0;
    if (!rows.length) say(empty, state.portfolio ? "Nothing is held. Add names under “Holdings” below." : "Waiting for the portfolio.");
  };
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
  const name = el("button", { type: "button", class: "ticker" }, ticker);
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
  const root = el("tr", { click: () => actions.analyze(ticker) },
    el("th", { scope: "row" }, name, flag), cells.shares, cells.value, el("td", { class: "bars" }, chart), cells.weight, cells.risk);

  /** @param {Row} row @param {{weight: number | null, risk: number | null} | undefined} after @param {(value: number) => number} x @param {boolean} selected */
  function show(row, after, x, selected) {
    say(cells.shares, shares(row.shares));
    say(cells.value, money(row.value));
    say(cells.weight, percent(row.weight));
    say(cells.risk, percent(row.risk));
    set(name, { "aria-pressed": String(selected), title: `Analyse ${ticker}` });
    mark(root, "selected", selected);
    mark(root, "outside", row.drift !== null);
    mark(root, "unpriced", row.unpriced !== undefined);
    const flags = [];
    if (row.drift !== null) flags.push(`${signed(row.drift, (drift) => percent(drift, 0))} off target`);
    if (row.unpriced !== undefined) flags.push(`no price since ${row.unpriced ?? "ever"}`);
    say(flag, flags.join(", "));
    set(marks.zero, { x1: x(0), x2: x(0) });
    place(marks.weight, row.weight, x);
    place(marks.risk, row.risk, x);
    place(marks.ghostWeight, after?.weight, x);
    place(marks.ghostRisk, after?.risk, x);
    pin(marks.target, row.target, x);
    pin(marks.budget, row.budget, x);
  }
  return { root, show };
}

/** @param {Element} node @param {number | null | undefined} value @param {(value: number) => number} x */
function place(node, value, x) {
  set(node, isNumber(value) ? { ...bar(x, value), visibility: null } : { visibility: "hidden" });
}

/** @param {Element} node @param {number | null} value @param {(value: number) => number} x */
function pin(node, value, x) {
  set(node, value === null ? { visibility: "hidden" } : { x1: x(value), x2: x(value), visibility: null });
}

/** The ends of the stretch, and zero where it is inside. @param {HTMLElement} axis @param {[number, number]} reach @param {(value: number) => number} x */
function showAxis(axis, reach, x) {
  const marks = [...new Set([reach[0], 0, reach[1]])];
  while (axis.children.length < marks.length) axis.append(el("span"));
  while (axis.children.length > marks.length) axis.lastElementChild?.remove();
  marks.forEach((value, index) => {
    const node = /** @type {HTMLElement} */ (axis.children[index]);
    say(node, percent(value, 0));
    node.style.setProperty("left", `${x(value) / 10}%`);
    set(node, { class: value === reach[1] && index ? "end" : value === reach[0] ? "start" : null });
  });
}

/** Arrow keys go from row to row. @param {KeyboardEvent} event @param {HTMLElement} body */
function step(event, body) {
  const way = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (!way) return;
  const buttons = [...body.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  buttons[at + way]?.focus();
  event.preventDefault();
}
