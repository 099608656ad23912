// Editing all holdings together: rows to edit, and a field to paste two columns.

import { NAME, button, el, say } from "./dom.js";
import { count, plain, shares } from "./format.js";
import { TICKER, parsePaste, readNumber } from "./paste.js";
import { mountRows } from "./rows.js";
import { editionOf, isBusy, sameNumbers } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {{name: string, shares: string}} Line as it is written in the fields */

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountEditor(actions) {
  const rows = mountRows(drawRow, "Ticker", "Shares", el("span", { class: "unseen" }, "Remove"));
  const words = el("p", { class: "words", role: "status" });
  const add = button({ click: () => rows.enter({ name: "", shares: "" }) }, "Add a name");
  const reload = button({ click: () => load() }, "Discard changes");
  const save = button({ class: "primary", click: () => actions.setHoldings(typed.holdings, edition) }, "Save holdings");
  const area = el("textarea", { id: "paste", rows: 4, spellcheck: "false", placeholder: "For example\nAAPL\t100\nMSFT\t75", input: preview });
  const outcome = el("div", { class: "preview", role: "status" });
  const use = button({ disabled: true, click: takePasted }, "Use these instead");
  const panel = el("div", { class: "editor beside" },
    el("div", { class: "column" }, rows.finder, el("div", { class: "scroll" }, rows.table),
      words, el("div", { class: "bar" }, add, reload, save)),
    el("div", { class: "column" }, el("label", { class: "unit", for: "paste" }, "Paste from a spreadsheet or a broker’s export"), area, outcome, el("div", { class: "bar" }, use)));
  /** @type {State | null} */
  let now = null;
  let edition = "";
  let touched = false;
  let typed = readLines([]);

  function touch() {
    touched = true;
    typed = readLines(rows.items());
    if (now) show(now);
  }

  /** @param {Line} line */
  function drawRow(line) {
    const name = el("input", { ...NAME, value: line.name, "aria-label": "Ticker", input: () => {
      line.name = name.value;
      touch();
    } });
    const amount = el("input", { value: line.shares, inputmode: "decimal", autocomplete: "off", "aria-label": `Shares of ${line.name || "the new name"}`, input: () => {
      line.shares = amount.value;
      touch();
    } });
    return el("tr", {}, el("td", {}, name), el("td", {}, amount), el("td", {}, button({ class: "quiet", "aria-label": `Remove ${line.name || "this line"}`, click: () => {
      rows.load(rows.items().filter((each) => each !== line));
      touch();
    } }, "Remove")));
  }

  /** Begin again with the holdings as they are, or with pasted ones. @param {Record<string, number>} [pasted] */
  function load(pasted) {
    touched = pasted !== undefined;
    if (now && !touched) edition = editionOf(now);
    const lines = Object.entries(pasted ?? now?.portfolio?.holdings ?? {}).map(([name, held]) => ({ name, shares: plain(held) }));
    rows.load(lines);
    typed = readLines(lines);
    if (now) show(now);
  }

  function preview() {
    const { holdings, refused, notes } = parsePaste(area.value);
    const names = Object.entries(holdings);
    use.disabled = names.length === 0;
    outcome.replaceChildren(
      el("p", {}, area.value.trim() ? `${count(names.length, "name")} read${refused.length ? `, ${count(refused.length, "line")} refused` : ""}.` : ""),
      el("p", { class: "read" }, names.slice(0, 12).map(([ticker, held]) => `${ticker} ${shares(held)}`).join(", ") + (names.length > 12 ? ", …" : "")),
      el("ul", {}, ...notes.map((note) => el("li", {}, note)),
        ...refused.map(({ line, text, why }) => el("li", { class: "wrong" }, `${line ? `Line ${line}: ` : ""}${why} (${text})`))));
  }

  function takePasted() {
    load(parsePaste(area.value).holdings);
    area.value = "";
    preview();
  }

  /** @param {State} state */
  function show(state) {
    now = state;
    if (panel.hidden || !state.portfolio) return;
    const { holdings, version } = state.portfolio;
    const other = editionOf(state) !== edition;
    // Input stays until it equals the holdings, so that a refused change can be corrected.
    if (other && (!touched || sameNumbers(typed.holdings, holdings))) {
      load();
      return;
    }
    const why = other ? `The holdings changed elsewhere or were lost (now version ${version}): discard and look again.` : touched ? typed.wrong : "";
    say(words, why || (touched ? "Not saved yet." : `Version ${version}.`));
    reload.disabled = !touched;
    save.disabled = !touched || why !== "" || isBusy(state);
  }
  return { panel, show };
}

/** The holdings that lines say, or the first thing that is wrong with them. @param {Line[]} lines @returns {{holdings: Record<string, number>, wrong: string}} */
export function readLines(lines) {
  /** @type {Record<string, number>} */
  const holdings = {};
  for (const { name, shares: amount } of lines) {
    const ticker = name.trim().toUpperCase();
    if (!ticker && !amount.trim()) continue;
    const held = readNumber(amount);
    if (!TICKER.test(ticker)) return { holdings, wrong: `${ticker || "An empty name"} is no ticker.` };
    if (ticker in holdings) return { holdings, wrong: `${ticker} stands twice.` };
    if (held === null) return { holdings, wrong: `${ticker} needs a number of shares.` };
    if (held !== 0) holdings[ticker] = held;
  }
  return { holdings, wrong: "" };
}
