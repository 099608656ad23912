// Small DOM helpers. Text is inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes */

/** @param {Element} node @param {Attributes} attributes */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, /** @type {EventListener} */ (value));
    else if (value === null || value === undefined || value === false) {
      if (node.hasAttribute(name)) node.removeAttribute(name);
    } else {
      const text = value === true ? "" : String(value);
      if (node.getAttribute(name) !== text) node.setAttribute(name, text);
    }
  }
  return node;
}

/** @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {Attributes} [attributes] @param {Child[]} children @returns {HTMLElementTagNameMap[T]} */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** @template {keyof SVGElementTagNameMap} T @param {T} tag @param {Attributes} [attributes] @param {Child[]} children @returns {SVGElementTagNameMap[T]} */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** @template {Element} T @param {T} node @param {Attributes} attributes @param {Child[]} children */
function filled(node, attributes, children) {
  set(node, attributes);
  for (const child of children) if (child) node.append(child);
  return node;
}

/** What scrolls by itself, with the keyboard, too. @param {string} name @param {Child[]} children */
export function region(name, ...children) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, ...children);
}

/** A button that sends no form. @param {Attributes} attributes @param {string} [text] */
export function button(attributes, text) {
  return el("button", { type: "button", ...attributes }, text);
}

/** What fields for a ticker have in common. */
export const NAME = { maxlength: 32, autocomplete: "off", spellcheck: "false" };

/** The head of a table. @param {(Child | [Child, string])[]} names some with a class */
export function heads(...names) {
  const cells = names.map((each) => (Array.isArray(each) ? each : /** @type {[Child]} */ ([each])));
  return el("thead", {}, el("tr", {}, ...cells.map(([name, kind]) => el("th", { scope: "col", class: kind }, name))));
}

/** Set a text if it differs: an unchanged screen costs nothing. @param {Node} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} node @param {string} name @param {boolean} on */
export function mark(node, name, on) {
  if (node.classList.contains(name) !== on) node.classList.toggle(name, on);
}

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** Put children in this order, moving as few as possible; the focused one keeps the focus. @param {Element} parent @param {Element[]} children */
export function arrange(parent, children) {
  const focused = document.activeElement;
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild?.remove();
  if (focused instanceof HTMLElement && focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

/** Tell it to those who listen to the page instead of looking at it. @param {string} text */
export function speak(text) {
  const live = byId("live", HTMLElement);
  live.append(el("p", {}, text));
  if (live.childElementCount > 5) live.firstElementChild?.remove();
}

/** A button that copies a text, and says whether that worked. @param {string} name @param {() => string | null} text null: there is nothing to copy @param {Attributes} attributes */
export function copyButton(name, text, attributes = {}) {
  const root = button({ ...attributes, click: async () => {
    const copied = text();
    const words = copied !== null && await copy(copied) ? "Copied" : "Not copied";
    say(root, words);
    speak(words);
    setTimeout(() => say(root, name), 1_500);
  } }, name);
  return root;
}

/** Copy a text; false if the browser does not permit copying. @param {string} text @returns {Promise<boolean>} */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // On other hosts than localhost and without TLS, browsers have only this clipboard.
    const area = el("textarea", { class: "hidden", "aria-hidden": "true", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
