// The list of trades that together reach the targets, and the targets themselves.

import { button, copyButton, el, heads, region, say, set } from "./dom.js";
import { csv } from "./csv.js";
import { planOf, whyNot } from "./decisions.js";
import { clock, money, percent, shares, signed } from "./format.js";
import { mountTargets } from "./targets.js";
import { leftOver } from "./words.js";

/** @typedef {import("./state.js").State} State */

// A longer table belongs in a spreadsheet, and would be redrawn with each tick.
const MOST_LINES = 100;

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountPlan(actions) {
  const to = el("select", { "aria-label": "Aim for", change: () => actions.plan({ to: to.value === "budgets" ? "budgets" : "weights" }) },
    el("option", { value: "weights" }, "Target weights"), el("option", { value: "budgets" }, "Risk budgets"));
  const cash = el("input", { type: "number", step: "any", placeholder: "0", "aria-label": "Cash to add, negative to withdraw", change: () => actions.plan({ cash: cash.valueAsNumber || 0 }) });
  const whole = check("Whole shares", (on) => actions.plan({ whole_shares: on }));
  const buy = check("Only buy", (on) => actions.plan({ only_buy: on }));
  const targets = mountTargets(actions);
  const edit = button({ "aria-expanded": "false", click: () => {
    targets.panel.hidden = !targets.panel.hidden;
    lines.hidden = !targets.panel.hidden;
    set(edit, { "aria-expanded": String(!targets.panel.hidden) });
    actions.wake();
  } }, "Targets");
  const copied = copyButton("Copy CSV", () => shown && asCsv(shown));
  const body = el("tbody");
  const words = el("p", { class: "words" });
  const more = el("p", { class: "unit" });
  const lines = region("Trades", el("table", { class: "lines" },
    heads("Trade", "Shares", ["Value", "wide"], "Weight", "after", "Risk", "after"), body), more);
  const panel = el("div", { class: "plan" },
    el("div", { class: "bar" }, el("label", {}, "To ", to), el("label", {}, "with cash ", cash), whole.root, buy.root, edit, copied), words, lines, targets.panel);
  /** @type {ReturnType<typeof planOf>} */
  let shown = null;
  let key = "";

  return { panel, show(state) {
    if (panel.hidden) return;
    const { plan } = state;
    if (to.value !== plan.to) to.value = String(plan.to);
    whole.box.checked = Boolean(plan.whole_shares);
    buy.box.checked = Boolean(plan.only_buy);
    buy.root.hidden = plan.to !== "weights";
    targets.show(state);
    shown = planOf(state);
    copied.disabled = !shown;
    say(words, wordsOf(state, shown));
    const now = shown ? `${shown.key}` : "none";
    if (now === key || lines.hidden) return;
    key = now;
    const trades = shown?.lines ?? [];
    body.replaceChildren(...trades.slice(0, MOST_LINES).map(lineRow));
    say(more, trades.length > MOST_LINES ? `And ${trades.length - MOST_LINES} smaller ones; the CSV has all of them.` : "");
  } };
}

/** @param {string} name @param {(on: boolean) => void} choose */
function check(name, choose) {
  const box = el("input", { type: "checkbox", change: () => choose(box.checked) });
  return { box, root: el("label", { class: "check" }, box, name) };
}

/** @param {import("wire").PlanLine} line */
function lineRow(line) {
  const cells = [
    signed(line.shares, (value) => shares(Number(Number(value).toFixed(4)))), signed(line.value, money),
    percent(line.weight_before), percent(line.weight_after), percent(line.risk_before), percent(line.risk_after),
  ];
  return el("tr", {}, el("th", { scope: "row" }, `${line.shares < 0 ? "Sell" : "Buy"} ${line.ticker}`), ...cells.map((text, at) => el("td", { class: at === 1 && "wide" }, text)));
}

/** @param {State} state @param {import("wire").Plan | null} plan */
function wordsOf(state, plan) {
  if (!plan) return whyNot(state, "plan") || (state.portfolio ? "Computing the trades." : "");
  if (!plan.lines.length) return `Nothing to trade: the portfolio is where it should be, at prices of ${clock(plan.as_of)}.`;
  const after = plan.after.volatility;
  return `Turnover ${percent(plan.turnover, 0)} of gross value${leftOver(plan.cash_left)}; volatility ${percent(plan.before.volatility)} to ${percent(after)}. Prices of ${clock(plan.as_of)}; nothing is traded here.`;
}

/** @param {import("wire").Plan} plan */
export function asCsv(plan) {
  const columns = /** @type {const} */ (["ticker", "shares", "value", "weight_before", "weight_after", "risk_before", "risk_after"]);
  return csv([[...columns], ...plan.lines.map((line) => columns.map((name) => line[name] ?? null))]);
}

