// Panels behind tabs: one visible, arrow keys between them (the ARIA tabs pattern).

import { button, el, set } from "./dom.js";

/**
 * @param {HTMLElement} root
 * @param {string} label
 * @param {{id: string, name: string, panel: HTMLElement}[]} tabs
 * @param {(id: string) => void} choose
 * @returns {(id: string) => void}
 */
export function mountTabs(root, label, tabs, choose) {
  const buttons = tabs.map(({ id, name, panel }) => {
    const tab = button({ role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, click: () => choose(id) }, name);
    set(panel, { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` });
    return tab;
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
  root.append(list, ...tabs.map(({ panel }) => panel));
  let shown = "";
  return (id) => {
    if (id === shown) return;
    shown = id;
    tabs.forEach((tab, index) => {
      const on = tab.id === id;
      set(/** @type {HTMLElement} */ (buttons[index]), { "aria-selected": String(on), tabindex: on ? 0 : -1 });
      tab.panel.hidden = !on;
    });
  };
}
