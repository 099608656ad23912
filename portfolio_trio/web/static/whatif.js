// The effect of a trade before it is made: a slider, a number, and both sides.

import { NAME, button, el, heads, mark, say, set } from "./dom.js";
import { budgetTrade, hedgeTrade, lastWhatIf, sidesOf, whyNot } from "./decisions.js";
import { clock, fixed, isNumber, money, percent, plain, shares, signed, whole } from "./format.js";
import { TICKER } from "./paste.js";
import { editionOf, isBusy } from "./state.js";

/** @typedef {import("./state.js").State} State */

/** @type {[string, (value: unknown) => string, (side: import("./decisions.js").Side) => unknown][]} */
const ROWS = [
  ["Volatility", (value) => percent(value, 2), ({ totals }) => totals?.volatility],
  ["Risk a year", whole, ({ totals }) => totals?.risk],
  ["Effective holdings", fixed, ({ totals }) => totals?.effective_holdings],
  ["Gross value", whole, ({ totals }) => totals?.gross],
  [", weight", percent, ({ own }) => own?.weight],
  [", risk", percent, ({ own }) => own?.risk],
];

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountWhatIf(actions) {
  const names = el("datalist", { id: "names" });
  const ticker = el("input", { ...NAME, list: "names", "aria-label": "Ticker", class: "tickerfield", change: () => {
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
  const apply = button({ class: "primary", click: () => actions.applyDraft(edition) }, "Apply");
  const words = el("p", { class: "words" });
  const table = makeTable();
  let edition = "";
  const panel = el("div", { class: "whatif beside" },
    el("div", { class: "controls" },
      el("div", { class: "bar" }, ticker, number, el("span", { class: "unit" }, "shares")),
      slider, el("div", { class: "bar" }, budget, hedge, reset, apply), words, names),
    table.root);

  return { panel, show(state) {
    if (panel.hidden) return;
    const { portfolio, selected, draft } = state;
    edition = editionOf(state);
    const held = selected && portfolio ? portfolio.holdings[selected] ?? 0 : 0;
    if (document.activeElement !== ticker && ticker.value !== (selected ?? "")) ticker.value = selected ?? "";
    offer(names, Object.keys(portfolio?.holdings ?? {}));
    const reach = Math.max(Math.abs(held) * 2, Math.abs(draft), held ? 0 : 100);
    set(slider, { min: -reach, max: reach, step: stepOf(reach), "aria-valuetext": sentence(draft, selected ?? "") });
    if (document.activeElement !== slider || Number(slider.value) !== draft) slider.value = String(draft);
    if (document.activeElement !== number) number.value = draft === 0 ? "" : plain(draft);
    const live = !isBusy(state) && Boolean(selected && portfolio);
    for (const each of [slider, number]) each.disabled = !selected;
    reset.disabled = draft === 0;
    enable(budget, live ? budgetTrade(state) : null, "Analyse this holding first: its score says how many shares");
    enable(hedge, live ? hedgeTrade(state) : null, "Not known for this holding");
    const answer = selected ? lastWhatIf(state) : null;
    apply.disabled = !live || draft === 0 || (!answer && !state.unknown.what_if);
    say(words, wordsOf(state, answer));
    table.show(sidesOf(state), selected);
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
  const lines = ROWS.map(([name, format, get]) => {
    const [head, before, after, change] = [el("th", { scope: "row" }), el("td"), el("td"), el("td")];
    return { root: el("tr", {}, head, before, after, change), show(/** @type {import("./decisions.js").Sides} */ sides, /** @type {string} */ ticker) {
      const [one, other] = [get(sides.before), get(sides.after)];
      say(head, name.startsWith(",") ? ticker + name : name);
      say(before, format(one));
      say(after, format(other));
      say(change, signed(isNumber(one) && isNumber(other) ? other - one : null, format));
    } };
  });
  const root = el("table", { class: "sides" }, heads("The whole portfolio", "Before", "After", "Change"), el("tbody", {}, ...lines.map((each) => each.root)));
  return { root, show(/** @type {import("./decisions.js").Sides} */ sides, /** @type {string | null} */ ticker) {
    for (const each of lines) each.show(sides, ticker ?? "Holding");
    mark(root, "faint", sides.old || !sides.before.totals);
  } };
}
