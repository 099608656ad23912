// The strip on top: four numbers of the whole portfolio, three chips, and problems with the connection.

import { button, byId, el, mark, say, set } from "./dom.js";
import { age, clock, fixed, isNumber, money, percent, signed, whole } from "./format.js";
import { pricesChip, riskIsOld, riskOf, runChip, socketChip, tickAge, value } from "./view.js";

/** @typedef {import("./state.js").State} State */

/** @param {string} name @param {string} hint */
function figure(name, hint) {
  const number = el("span", { class: "number" });
  const beside = el("span", { class: "unit" });
  const root = el("div", { class: "total" }, el("dt", { title: hint }, name), el("dd", {}, number, beside));
  byId("totals", HTMLElement).append(root);
  return { root, number, beside };
}

/** @param {string} name @param {(state: State) => import("./view.js").Chip} chipOf */
function chip(name, chipOf) {
  const words = el("span");
  const root = el("span", { class: "chip" }, el("i", { "aria-hidden": "true" }), el("span", { class: "unseen" }, `${name}: `), words);
  byId("chips", HTMLElement).append(root);
  return (/** @type {State} */ state) => {
    const { text, level, hint } = chipOf(state);
    say(words, text);
    set(root, { "data-level": level, title: hint });
  };
}

/** @param {import("./main.js").Actions} actions @returns {(state: State) => void} */
export function mountStrip(actions) {
  const net = figure("Net value", "Sum of shares times price");
  const volatility = figure("Volatility", "Annual, as a fraction of gross value");
  const risk = figure("Risk a year", "Annual volatility in currency units");
  const effective = figure("Effective holdings", "How many equal positions would be as concentrated");
  const chips = [chip("Connection", socketChip), chip("Prices", pricesChip), chip("Analysis", runChip)];
  const showBanner = mountBanner(actions);

  return (state) => {
    const now = value(state);
    const totals = riskOf(state)?.totals;
    say(net.number, now ? money(now.total) : "–");
    const change = now && isNumber(now.change)
      ? `${signed(now.change, money)} (${signed(now.fraction, (part) => percent(part, 2))})`
      : "";
    say(net.beside, change);
    set(net.beside, { title: now?.since ? `${change} since the tick at ${clock(now.since)}` : null });
    say(volatility.number, percent(totals?.volatility));
    say(risk.number, whole(totals?.risk));
    say(effective.number, fixed(totals?.effective_holdings, 1));
    say(effective.beside, state.portfolio ? `of ${Object.keys(state.portfolio.holdings).length}` : "");
    for (const each of [volatility, risk, effective]) mark(each.root, "stale", riskIsOld(state));
    for (const show of chips) show(state);
    mark(document.body, "offline", state.socket.phase !== "open" && state.portfolio !== null);
    showBanner(state);
  };
}

/** What the user needs to know about a missing connection, and can do about it. @param {import("./main.js").Actions} actions */
function mountBanner(actions) {
  const banner = byId("banner", HTMLElement);
  const text = el("span");
  const retry = button({ click: () => actions.retry() }, "Try now");
  const fresh = button({ click: () => actions.startOver() }, "Start a new session");
  const token = el("input", { type: "password", autocomplete: "off", "aria-label": "Token of this session", placeholder: "Token" });
  const form = el("form", { class: "inline", submit: (/** @type {Event} */ event) => {
    event.preventDefault();
    if (token.value.trim()) actions.useToken(token.value.trim());
    token.value = "";
  } }, token, el("button", { type: "submit" }, "Use token"));
  banner.append(text, retry, form, fresh);

  return (/** @type {State} */ state) => {
    const { socket } = state;
    const troubled = socket.phase === "waiting" || socket.phase === "ended";
    // A short interruption must not move the page.
    const show = socket.phase === "ended" || (troubled && state.now - socket.since > 400) || (socket.phase === "connecting" && !banner.hidden);
    if (banner.hidden === show) banner.hidden = !show;
    if (!troubled) return;
    const seconds = tickAge(state);
    const frozen = seconds === null ? "" : ` The numbers below are of ${clock(value(state)?.as_of)}, ${age(seconds)} ago.`;
    say(text, `${socket.why}${socket.phase === "waiting" ? " The page tries again by itself." : ""}${frozen}`);
    retry.hidden = socket.token;
    form.hidden = !socket.token;
    fresh.hidden = socket.phase !== "ended";
  };
}
