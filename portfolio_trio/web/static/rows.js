// Rows to edit: no more are drawn than a person looks through at once, and a field finds the others.

import { el, heads, say } from "./dom.js";

const DRAWN = 50;

/**
 * @template {{name: string}} T
 * @param {(item: T) => HTMLElement} make draws one
 * @param {import("./dom.js").Child[]} columns
 */
export function mountRows(make, ...columns) {
  const body = el("tbody");
  const search = el("input", { type: "search", placeholder: "Find", spellcheck: "false", "aria-label": "Find a name", input: draw });
  const rest = el("span", { class: "unit", role: "status" });
  const finder = el("div", { class: "inline" }, search, rest);
  /** @type {T[]} */
  let items = [];

  function draw() {
    finder.hidden = items.length <= DRAWN;
    const wanted = finder.hidden ? "" : search.value.trim().toUpperCase();
    const found = items.filter(({ name }) => name.toUpperCase().includes(wanted));
    body.replaceChildren(...found.slice(0, DRAWN).map(make));
    say(rest, found.length > DRAWN ? `${DRAWN} of ${found.length} shown` : `${found.length} found`);
  }

  return {
    finder,
    table: el("table", { class: "lines" }, heads(...columns), body),
    items: () => items,
    /** @param {T[]} next */
    load(next) {
      items = next;
      draw();
    },
    /** Show a row on top, and put the cursor into it. @param {T} item */
    enter(item) {
      items = [item, ...items.filter((each) => each !== item)];
      search.value = "";
      draw();
      body.querySelector("input")?.focus();
    },
  };
}
