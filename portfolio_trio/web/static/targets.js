// Where each name should be: its weight, its share of risk, and how far it may drift.

import { el, say } from "./dom.js";
import { plain } from "./format.js";

/** @typedef {import("./state.js").State} State */

/** @param {import("./main.js").Actions} actions @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountTargets(actions) {
  const body = el("tbody");
  const band = el("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": "Band in per cent" });
  const sum = el("span", { class: "unit" });
  const equal = el("button", { type: "button", click: () => fill(() => "") }, "Equal");
  const save = el("button", { type: "button", class: "primary", click: () => actions.setTargets(read(), version) }, "Save targets");
  const panel = el("div", { class: "scroll targets", hidden: true },
    el("table", { class: "lines" }, el("thead", {}, el("tr", {}, ...["Name", "Weight, %", "Risk budget, %"].map((name) => el("th", { scope: "col" }, name)))), body),
    el("div", { class: "bar" }, el("label", {}, "Band ", band, " %"), equal, save, sum));
  body.addEventListener("input", total);
  let key = "";
  let version = 0;

  /** @param {(name: string, input: HTMLInputElement) => string} text */
  function fill(text) {
    for (const input of body.querySelectorAll("input")) input.value = text(input.name, input);
    total();
  }

  function total() {
    const weights = Object.values(column("weight"));
    const all = weights.reduce((left, right) => left + right, 0);
    say(sum, weights.length ? `Weights add up to ${plain(all * 100, 2)} %; they are scaled to 100.` : "Empty means equal.");
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

  function read() {
    const [weights, budgets] = [column("weight"), column("budget")];
    return {
      ...(Object.keys(weights).length ? { weights } : {}),
      ...(Object.keys(budgets).length ? { budgets } : {}),
      ...(band.value === "" ? {} : { band: band.valueAsNumber / 100 }),
    };
  }

  return { panel, show(state) {
    if (panel.hidden || !state.portfolio) return;
    const { portfolio } = state;
    save.disabled = state.socket.phase !== "open" || Boolean(state.unknown.targets);
    // What is being typed is not overwritten; a change from elsewhere is, once nobody types.
    const now = `${portfolio.session_id}:${portfolio.version}`;
    if (now === key || panel.contains(document.activeElement)) return;
    key = now;
    version = portfolio.version;
    const { weights = {}, budgets = {}, band: width } = portfolio.targets ?? {};
    const names = [...new Set([...Object.keys(portfolio.holdings), ...Object.keys(weights ?? {}), ...Object.keys(budgets ?? {})])];
    band.value = plain((width ?? 0.05) * 100, 4);
    body.replaceChildren(...names.map((name) => el("tr", {}, el("th", { scope: "row" }, name),
      el("td", {}, field(name, "weight", weights?.[name])), el("td", {}, field(name, "budget", budgets?.[name])))));
    total();
  } };
}

/** @param {string} name @param {string} kind @param {number | undefined} value */
function field(name, kind, value) {
  const input = el("input", { type: "number", min: 0, step: "any", name, "data-kind": kind, placeholder: "equal", "aria-label": `${kind} of ${name} in per cent` });
  if (value !== undefined) input.value = plain(value * 100, 4);
  return input;
}
