// The effect of a trade before it is made: a slider, a number, and both sides.

import { button, el, heads, mark, say, set } from "./dom.js";
import { budgetTrade, hedgeTrade, lastWhatIf, sidesOf, whyNot } from "./decisions.js";
import { clock, fixed, isNumber, money, percent, plain, shares, signed, whole } from "./format.js";
import { TICKER } from "./paste.js";
import { isBusy } from "./state.js";

/** @typedef {import("./state.js").State} State */

/** @type {[string, (value: unknown) => string, (totals: import("wire").Totals) => unknown][]} */
const ROWS = [
  ["Volatility", (value) => percent(value, 2), (totals) => totals.volatility],
  ["Risk a year", whole, (totals) => totals.risk],
  ["Effective holdings", (value) => fixed(value, 2), (totals) => totals.effective_holdings],
  ["Gross value", whole, (totals) => totals.gross],
];

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountWhatIf(actions) {
  const names = el("datalist", { id: "names" });
  const ticker = el("input", { list: "names", "aria-label": "Ticker", class: "tickerfield", maxlength: 32, autocomplete: "off", spellcheck: "false", change: () => {
    const name = ticker.value.trim().toUpperCase();
    if (TICKER.test(name)) actions.select(name);
  } });
  const slider = el("input", { type: "range", "aria-label": "Shares to trade", input: () => actions.draft(Number(slider.value)) });
  const number = el("input", { type: "number", step: "any", "aria-label": "Shares to trade", input: () => {
    if (number.value !== "" && Number.isFinite(number.valueAsNumber)) actions.draft(number.valueAsNumber);
  } });
  const budget = button({ click: () => actions.draftTo("budget") }, "To budget");
  const hedge = button({ click: () => actions.draftTo("hedge") }, "Best hedge");
  const reset = button({ click: () => actions.draft(0) }, "Reset");
  const apply = button({ class: "primary", click: () => actions.applyDraft() }, "Apply");
  const words = el("p", { class: "words" });
  const table = makeTable();
  const panel = el("div", { class: "whatif" },
    el("div", { class: "controls" },
      el("div", { class: "bar" }, ticker, number, el("span", { class: "unit" }, "shares")),
      slider, el("div", { class: "bar" }, budget, hedge, reset, apply), words, names),
    table.root);

  return { panel, show(state) {
    if (panel.hidden) return;
    const { portfolio, selected, draft } = state;
    const held = selected && portfolio ? portfolio.holdings[selected] ?? 0 : 0;
    if (document.activeElement !== ticker && ticker.value !== (selected ?? "")) ticker.value = selected ?? "";
    offer(names, Object.keys(portfolio?.holdings ?? {}));
    const reach = Math.max(Math.abs(held) * 2, Math.abs(draft), held ? 0 : 100);
    set(slider, { min: -reach, max: reach, step: stepOf(reach), "aria-valuetext": sentence(draft, selected ?? "") });
    if (document.activeElement !== slider || Number(slider.value) !== draft) slider.value = String(draft);
    if (document.activeElement !== number) number.value = draft === 0 ? "" : plain(draft);
    const live = state.socket.phase === "open" && Boolean(selected && portfolio);
    for (const each of [slider, number]) each.disabled = !selected;
    reset.disabled = draft === 0;
    enable(budget, live ? budgetTrade(state) : null, "Analyse this holding first: its score says how many shares");
    enable(hedge, live ? hedgeTrade(state) : null, "Not known for this holding");
    const answer = selected ? lastWhatIf(state) : null;
    apply.disabled = !live || draft === 0 || (!answer && !state.unknown.what_if) || isBusy(state);
    say(words, wordsOf(state, answer));
    table.show(sidesOf(state), selected, draft !== 0);
  } };
}

/** @param {HTMLButtonElement} button @param {number | null} trade @param {string} why */
function enable(button, trade, why) {
  button.disabled = trade === null;
  set(button, { title: trade === null ? why : sentence(Number(trade.toFixed(2)), "") });
}

/** @param {HTMLElement} list @param {string[]} names */
function offer(list, names) {
  const key = names.join();
  if (list.dataset.names === key) return;
  list.dataset.names = key;
  list.replaceChildren(...names.map((name) => el("option", { value: name })));
}

/** A convenient step: a hundredth of the range, rounded. @param {number} reach */
function stepOf(reach) {
  const rough = reach / 100;
  return rough >= 1 ? Math.round(rough) : 10 ** Math.floor(Math.log10(rough || 1));
}

/** @param {number} trade @param {string} ticker */
function sentence(trade, ticker) {
  if (trade === 0) return "no trade";
  return `${trade < 0 ? "sell" : "buy"} ${shares(Math.abs(trade))} ${ticker}`.trim();
}

/** @param {State} state @param {import("wire").WhatIf | null} answer */
function wordsOf(state, answer) {
  const { selected, draft, portfolio } = state;
  if (!selected) return "Choose a holding, or type a ticker that is not held yet.";
  const why = answer ? "" : whyNot(state, "what_if");
  if (why) return why;
  const held = `You hold ${shares(portfolio?.holdings[selected] ?? 0)} ${selected}.`;
  if (draft === 0 || !answer) return `${held} Move the slider to see what a trade would do; nothing is recorded.`;
  const cash = answer.cash < 0 ? `takes ${money(-answer.cash)} of cash` : `brings ${money(answer.cash)} of cash`;
  return `To ${sentence(draft, selected)} ${cash}. Prices of ${clock(answer.as_of)}, ${answer.before.n_obs} days of returns.`;
}

function makeTable() {
  const body = el("tbody");
  const root = el("table", { class: "sides" }, heads("The whole portfolio", "Before", "After", "Change"), body);
  const lines = [...ROWS.map(([name]) => name), "", ""].map((name) => {
    const cells = [el("td"), el("td"), el("td")];
    const head = el("th", { scope: "row" }, name);
    body.append(el("tr", {}, head, ...cells));
    return { head, cells };
  });

  /** @param {number} at @param {string} name @param {(value: unknown) => string} format @param {unknown} before @param {unknown} after @param {boolean} moved */
  function fill(at, name, format, before, after, moved) {
    const { head, cells } = /** @type {typeof lines[0]} */ (lines[at]);
    const change = isNumber(before) && isNumber(after) ? after - before : null;
    say(head, name);
    say(/** @type {HTMLElement} */ (cells[0]), format(before));
    say(/** @type {HTMLElement} */ (cells[1]), moved ? format(after) : "–");
    say(/** @type {HTMLElement} */ (cells[2]), moved ? signed(change, format) : "–");
  }

  return { root, show(/** @type {import("./decisions.js").Sides} */ { before, after, own, old }, /** @type {string | null} */ ticker, /** @type {boolean} */ moved) {
    ROWS.forEach(([name, format, get], at) => fill(at, name, format, before && get(before), after && get(after), moved));
    const part = (/** @type {unknown} */ value) => percent(value);
    fill(ROWS.length, `${ticker ?? "Holding"}, weight`, part, own.before?.weight, own.after?.weight, moved);
    fill(ROWS.length + 1, `${ticker ?? "Holding"}, risk`, part, own.before?.risk, own.after?.risk, moved);
    mark(root, "faint", old || !before);
  } };
}
