// The targets of each name: its weight, its share of risk, and how far it may drift.

import { button, el, heads, say } from "./dom.js";
import { plain } from "./format.js";
import { TICKER } from "./paste.js";
import { isBusy, sameTargets } from "./state.js";

/** @typedef {import("./state.js").State} State */

/** @typedef {{weights?: Record<string, number>, budgets?: Record<string, number>, band?: number}} Wanted */

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountTargets(actions) {
  const body = el("tbody");
  const band = el("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": "Band in per cent" });
  const sum = el("span", { class: "unit" });
  const equal = button({ click: () => fill(() => "") }, "Equal");
  const drop = button({ click: () => {
    touched = false;
    if (now) load(now);
  } }, "Discard changes");
  const save = button({ class: "primary", click: () => actions.setTargets(read(), version) }, "Save targets");
  const more = el("input", { class: "tickerfield", maxlength: 32, placeholder: "Add…", autocomplete: "off", spellcheck: "false", "aria-label": "Add a name that is not held", change: add });
  const panel = el("div", { class: "scroll targets", hidden: true },
    el("table", { class: "lines" }, heads("Name", "Weight, %", "Risk budget, %"), body),
    el("div", { class: "bar" }, more, el("label", {}, "Band ", band, " %"), equal, drop, save, sum));
  panel.addEventListener("input", (event) => {
    if (event.target !== more) touched = true;
    total();
  });
  /** @type {State | null} */
  let now = null;
  let key = "";
  let version = 0;
  let touched = false;

  function add() {
    const name = more.value.trim().toUpperCase();
    if (!TICKER.test(name)) return;
    more.value = "";
    const known = [...body.querySelectorAll("input")].find((input) => input.name === name);
    if (!known) body.append(line(name, undefined, undefined));
    touched = true;
    (known ?? body.lastElementChild?.querySelector("input"))?.focus();
    total();
  }

  /** @param {(name: string, input: HTMLInputElement) => string} text */
  function fill(text) {
    for (const input of body.querySelectorAll("input")) input.value = text(input.name, input);
    touched = true;
    total();
  }

  function total() {
    const targets = read();
    const all = Object.values(targets.weights ?? {}).reduce((left, right) => left + right, 0);
    for (const input of body.querySelectorAll("input")) input.placeholder = meaningOfEmpty(input.dataset.kind, targets);
    drop.disabled = !touched;
    if (touched && now && keyOf(now) !== key) say(sum, "The holdings changed elsewhere: discard and look again.");
    else say(sum, targets.weights ? `Weights add up to ${plain(all * 100, 2)} %; they are scaled to 100.` : "Empty means equal.");
  }

  /** @param {string} kind @returns {Record<string, number>} */
  function column(kind) {
    /** @type {Record<string, number>} */
    const found = {};
    for (const input of body.querySelectorAll("input")) {
      if (input.dataset.kind === kind && input.value !== "") found[input.name] = input.valueAsNumber / 100;
    }
    return found;
  }

  /** @returns {Wanted} */
  function read() {
    const [weights, budgets] = [column("weight"), column("budget")];
    return {
      ...(Object.keys(weights).length ? { weights } : {}),
      ...(Object.keys(budgets).length ? { budgets } : {}),
      ...(band.value === "" ? {} : { band: band.valueAsNumber / 100 }),
    };
  }

  /** @param {State} state */
  function load(state) {
    if (!state.portfolio) return;
    key = keyOf(state);
    version = state.portfolio.version;
    const { weights, budgets, band: width } = state.portfolio.targets ?? {};
    const names = [...new Set([...Object.keys(state.portfolio.holdings), ...Object.keys(weights ?? {}), ...Object.keys(budgets ?? {})])];
    band.value = plain((width ?? 0.05) * 100, 4);
    body.replaceChildren(...names.map((name) => line(name, weights?.[name], budgets?.[name])));
    total();
  }

  return { panel, show(state) {
    now = state;
    if (panel.hidden || !state.portfolio) return;
    // Input is not overwritten, and is not saved over a change that the user has not seen.
    const other = keyOf(state) !== key;
    if (other && touched && sameTargets(read(), state.portfolio.targets)) touched = false;
    if (other && !touched) load(state);
    else if (other) total();
    save.disabled = state.socket.phase !== "open" || Boolean(state.unknown.targets) || (other && touched) || isBusy(state);
  } };
}

/** @param {State} state */
function keyOf({ portfolio }) {
  return `${portfolio?.session_id}:${portfolio?.version}`;
}

/** @param {string} name @param {number | undefined} weight @param {number | undefined} budget */
function line(name, weight, budget) {
  return el("tr", {}, el("th", { scope: "row" }, name),
    el("td", {}, field(name, "weight", weight)), el("td", {}, field(name, "budget", budget)));
}

/** Once one target of a kind is set, the others are 0. @param {string | undefined} kind @param {Wanted} targets */
export function meaningOfEmpty(kind, targets) {
  return (kind === "weight" ? targets.weights : targets.budgets) ? "0" : "equal";
}

/** @param {string} name @param {string} kind @param {number | undefined} value */
function field(name, kind, value) {
  const input = el("input", { type: "number", min: 0, step: "any", name, "data-kind": kind, "aria-label": `${kind} of ${name} in per cent` });
  if (value !== undefined) input.value = plain(value * 100, 4);
  return input;
}
