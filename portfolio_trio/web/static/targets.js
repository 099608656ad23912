// The targets of each name: its weight, its share of risk, and how far it may drift.

import { NAME, button, el, say } from "./dom.js";
import { plain } from "./format.js";
import { TICKER } from "./paste.js";
import { mountRows } from "./rows.js";
import { editionOf, isBusy, sameTargets } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {{weights?: Record<string, number>, budgets?: Record<string, number>, band?: number}} Wanted */
/** @typedef {{name: string, weights: string, budgets: string}} Line in per cent, as it is written in the fields */

const KINDS = /** @type {const} */ ([["weights", "weight"], ["budgets", "budget"]]);

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountTargets(actions) {
  const rows = mountRows(drawRow, "Name", "Weight, %", "Risk budget, %");
  const band = el("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": "Band in per cent", input: touch });
  const sum = el("span", { class: "unit" });
  const equal = button({ click: () => {
    rows.load(rows.items().map(({ name }) => ({ name, weights: "", budgets: "" })));
    touch();
  } }, "Equal");
  const drop = button({ click: () => load() }, "Discard changes");
  const save = button({ class: "primary", click: () => actions.setTargets(read(), edition) }, "Save targets");
  const more = el("input", { ...NAME, class: "tickerfield", placeholder: "Add…", "aria-label": "Add a name that is not held", change: add });
  const panel = el("div", { class: "scroll targets", hidden: true }, rows.finder, rows.table,
    el("div", { class: "bar" }, more, el("label", {}, "Band ", band, " %"), equal, drop, save, sum));
  /** @type {State | null} */
  let now = null;
  let edition = "";
  let touched = false;

  /** @param {Line} line */
  function drawRow(line) {
    const fields = KINDS.map(([kind, word]) => {
      const field = el("input", { type: "number", min: 0, step: "any", name: line.name, "data-kind": kind, value: line[kind], "aria-label": `${word} of ${line.name} in per cent`, input: () => {
        line[kind] = field.value;
        touch();
      } });
      return el("td", {}, field);
    });
    return el("tr", {}, el("th", { scope: "row" }, line.name), ...fields);
  }

  function add() {
    const name = more.value.trim().toUpperCase();
    if (!TICKER.test(name)) return;
    more.value = "";
    rows.enter(rows.items().find((line) => line.name === name) ?? { name, weights: "", budgets: "" });
    touch();
  }

  function touch() {
    touched = true;
    if (now) show(now);
  }

  /** @returns {Wanted} */
  function read() {
    return { ...readLines(rows.items()), ...(band.value === "" ? {} : { band: band.valueAsNumber / 100 }) };
  }

  function load() {
    if (!now?.portfolio) return;
    touched = false;
    edition = editionOf(now);
    const { weights = {}, budgets = {}, band: width = 0.05 } = now.portfolio.targets ?? {};
    const names = new Set([now.portfolio.holdings, weights, budgets].flatMap((each) => Object.keys(each ?? {})));
    band.value = plain(width * 100, 4);
    rows.load([...names].map((name) => ({ name, weights: written(weights?.[name]), budgets: written(budgets?.[name]) })));
    show(now);
  }

  /** @param {State} state */
  function show(state) {
    now = state;
    if (panel.hidden || !state.portfolio) return;
    const targets = read();
    // Input is not overwritten, and is not saved over a change that the user has not seen.
    const other = editionOf(state) !== edition;
    if (other && (!touched || sameTargets(targets, state.portfolio.targets))) {
      load();
      return;
    }
    for (const input of rows.table.querySelectorAll("input")) input.placeholder = meaningOfEmpty(input.dataset.kind, targets);
    drop.disabled = !touched;
    const wrong = touched ? wrongWith(targets) : "";
    save.disabled = other || wrong !== "" || Boolean(state.unknown.targets) || isBusy(state);
    const all = Object.values(targets.weights ?? {}).reduce((left, right) => left + right, 0);
    if (other) say(sum, "The holdings changed elsewhere or were lost: discard and look again.");
    else say(sum, wrong || (targets.weights ? `Weights add up to ${plain(all * 100, 2)} %; they are scaled to 100.` : "Empty means equal."));
  }
  return { panel, show };
}

/** @param {number | undefined} part */
function written(part) {
  return part === undefined ? "" : plain(part * 100, 4);
}

/** The targets that lines say; a kind without any is left out. @param {Line[]} lines @returns {Wanted} */
export function readLines(lines) {
  /** @type {Wanted} */
  const found = {};
  for (const [kind] of KINDS) {
    for (const line of lines) if (line[kind] !== "") (found[kind] ??= {})[line.name] = Number(line[kind]) / 100;
  }
  return found;
}

/** What the server would refuse; empty if nothing. @param {Wanted} targets */
export function wrongWith(targets) {
  for (const [kind, word] of KINDS) {
    const parts = Object.entries(targets[kind] ?? {});
    const [below, zero] = [parts.find(([, part]) => part < 0), parts.find(([, part]) => part === 0)];
    if (below) return `The ${word} of ${below[0]} is below 0.`;
    if (zero && kind === "budgets") return `The budget of ${zero[0]} is 0: leave it empty.`;
    if (zero && parts.every(([, part]) => part === 0)) return "Each weight is 0: leave all empty to make them equal.";
  }
  const { band = 0 } = targets;
  return band < 0 || band > 1 ? "The band is from 0 to 100 %." : "";
}

/** Once one target of a kind is set, the others are 0. @param {string | undefined} kind @param {Wanted} targets */
export function meaningOfEmpty(kind, targets) {
  return targets[/** @type {"weights" | "budgets"} */ (kind)] ? "0" : "equal";
}
