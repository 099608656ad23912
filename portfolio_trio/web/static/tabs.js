// Panels behind tabs: one visible, arrow keys between them (the ARIA tabs pattern).

import { button, byId, el, set } from "./dom.js";

/** @typedef {import("./state.js").State} State */

/**
 * @param {string} place the id of the element that has them
 * @param {string} label
 * @param {{id: string, name: string, panel: HTMLElement, show: (state: State) => void}[]} tabs
 * @param {import("./main.js").Actions} actions
 * @returns {(state: State) => void}
 */
export function mountTabs(place, label, tabs, actions) {
  const buttons = tabs.map(({ id, name, panel }) => {
    set(panel, { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` });
    return button({ role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, click: () => actions.tab(place, id) }, name);
  });
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": label, keydown: (/** @type {KeyboardEvent} */ event) => {
    const at = buttons.findIndex((each) => each === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = buttons[(to + buttons.length) % buttons.length];
    next?.click();
    next?.focus();
  } }, ...buttons);
  byId(place, HTMLElement).append(list, ...tabs.map(({ panel }) => panel));
  return (state) => {
    tabs.forEach(({ id, panel }, index) => {
      const on = id === state.open[place];
      set(/** @type {HTMLElement} */ (buttons[index]), { "aria-selected": String(on), tabindex: on ? 0 : -1 });
      if (panel.hidden === on) panel.hidden = !on;
    });
    for (const each of tabs) each.show(state);
  };
}
