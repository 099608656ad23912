// Editing all holdings together: rows to edit, and a field to paste two columns.

import { button, el, heads, say } from "./dom.js";
import { count, plain, shares } from "./format.js";
import { TICKER, parsePaste, readNumber } from "./paste.js";
import { isBusy, sameNumbers } from "./state.js";

/** @typedef {import("./state.js").State} State */

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountEditor(actions) {
  const body = el("tbody");
  const words = el("p", { class: "words", role: "status" });
  const add = button({ click: () => addRow("", null).querySelector("input")?.focus() }, "Add a name");
  const reload = button({ click: () => load() }, "Discard changes");
  const save = button({ class: "primary", click: send }, "Save holdings");
  const area = el("textarea", { id: "paste", rows: 4, spellcheck: "false", placeholder: "AAPL\t100\nMSFT\t75", input: preview });
  const outcome = el("div", { class: "preview", role: "status" });
  const use = button({ disabled: true, click: takePasted }, "Use these instead");
  const panel = el("div", { class: "editor" },
    el("div", { class: "column" }, el("div", { class: "scroll" }, el("table", { class: "lines" },
      heads("Ticker", "Shares", el("span", { class: "unseen" }, "Remove")), body)),
      words, el("div", { class: "bar" }, add, reload, save)),
    el("div", { class: "column" }, el("label", { class: "unit", for: "paste" }, "Paste from a spreadsheet or a broker’s export"), area, outcome, el("div", { class: "bar" }, use)));
  /** @type {State | null} */
  let now = null;
  let version = -1;
  let session = "";
  let touched = false;
  let typed = read();
  body.addEventListener("input", touch);

  function touch() {
    touched = true;
    typed = read();
    if (now) show(now);
  }

  /** @param {string} ticker @param {number | null} held */
  function addRow(ticker, held) {
    const name = el("input", { value: ticker, maxlength: 32, spellcheck: "false", autocomplete: "off", "aria-label": "Ticker" });
    const amount = el("input", { value: held === null ? "" : plain(held), inputmode: "decimal", autocomplete: "off", "aria-label": `Shares of ${ticker || "the new name"}` });
    const row = el("tr", {}, el("td", {}, name), el("td", {}, amount), el("td", {}, button({ class: "quiet", "aria-label": `Remove ${ticker || "this line"}`, click: () => {
      row.remove();
      touch();
    } }, "Remove")));
    body.append(row);
    return row;
  }

  /** @param {Record<string, number>} [holdings] */
  function load(holdings) {
    body.replaceChildren();
    touched = holdings !== undefined;
    if (now?.portfolio && holdings === undefined) ({ version, session_id: session } = now.portfolio);
    for (const [ticker, held] of Object.entries(holdings ?? now?.portfolio?.holdings ?? {})) addRow(ticker, held);
    typed = read();
    if (now) show(now);
  }

  /** @returns {{holdings: Record<string, number>, wrong: string}} */
  function read() {
    /** @type {Record<string, number>} */
    const holdings = {};
    for (const row of body.rows) {
      const [name, amount] = [...row.querySelectorAll("input")].map((input) => input.value.trim());
      const ticker = (name ?? "").toUpperCase();
      if (!ticker && !amount) continue;
      const held = readNumber(amount ?? "");
      if (!TICKER.test(ticker)) return { holdings, wrong: `${ticker || "An empty name"} is no ticker.` };
      if (ticker in holdings) return { holdings, wrong: `${ticker} stands twice.` };
      if (held === null) return { holdings, wrong: `${ticker} needs a number of shares.` };
      if (held !== 0) holdings[ticker] = held;
    }
    return { holdings, wrong: "" };
  }

  function send() {
    const { holdings, wrong } = typed;
    if (wrong) say(words, wrong);
    else actions.setHoldings(holdings, version);
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
    const { portfolio } = state;
    const other = portfolio.version !== version || portfolio.session_id !== session;
    // Input stays until it equals the holdings, so that a refused change can be corrected.
    if (other && (!touched || sameNumbers(typed.holdings, portfolio.holdings))) {
      load();
      return;
    }
    const conflict = other ? `The holdings changed elsewhere (version ${portfolio.version}, yours began at ${version}): discard and look again.` : "";
    const wrong = touched ? typed.wrong : "";
    say(words, conflict || wrong || (touched ? "Not saved yet." : `Version ${version}.`));
    reload.disabled = !touched;
    save.disabled = !touched || Boolean(conflict || wrong) || state.socket.phase !== "open" || isBusy(state);
  }
  return { panel, show };
}
