// The event log: filter, pause, copy.

import { button, copyButton, el, region, say } from "./dom.js";
import { clock } from "./format.js";

/** @typedef {import("./state.js").State} State */

const KINDS = /** @type {const} */ ([["all", "Everything"], ["run", "Analyses"], ["tick", "Ticks"], ["edit", "Edits"], ["fault", "Errors"], ["socket", "Connection"]]);
const SHOWN = 200;

/** @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountLog() {
  const filter = el("select", { "aria-label": "Which events", change: () => redraw() }, ...KINDS.map(([kind, name]) => el("option", { value: kind }, name)));
  const search = el("input", { type: "search", placeholder: "Search", "aria-label": "Search events", input: () => redraw() });
  let paused = false;
  const pause = button({ "aria-pressed": "false", click: () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    redraw();
  } }, "Pause");
  const copied = copyButton("Copy", () => visible().map(text).join("\n"));
  const list = el("ol", { class: "log" });
  const box = region("Events", list);
  const panel = el("div", { class: "logpanel" }, el("div", { class: "bar" }, filter, search, pause, copied), box);
  /** @type {import("./story.js").Entry[]} */
  let entries = [];
  /** @type {import("./story.js").Entry[]} */
  let drawn = [];

  const visible = () => entries.filter((entry) => (filter.value === "all" || entry.kind === filter.value)
    && text(entry).toLowerCase().includes(search.value.toLowerCase()));

  function redraw() {
    drawn = entries;
    list.replaceChildren(...visible().slice(-SHOWN).reverse().map((entry) =>
      el("li", { "data-kind": entry.kind }, el("time", {}, clock(entry.at)), el("span", {}, entry.text))));
  }

  return { panel, show(state) {
    if (!paused) entries = state.log;
    say(pause, paused ? `Paused, ${state.log.filter((entry) => !entries.includes(entry)).length} new` : "Pause");
    if (!panel.hidden && entries !== drawn) redraw();
  } };
}

/** @param {import("./story.js").Entry} entry */
function text(entry) {
  return `${clock(entry.at)} ${entry.text}`;
}
