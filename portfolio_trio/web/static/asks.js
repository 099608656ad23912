// The requests the page should send next, from its state: one of each kind at a time, each once. Pure.

import { editionOf } from "./state.js";

/** @typedef {{what: string, key: string, request: Record<string, unknown>}} Ask */

/** The newest tick that the page knows. @param {import("./state.js").State} state @returns {number} */
export function newestTick(state) {
  return Math.max(state.update?.tick_id ?? 0, state.portfolio?.valued.tick_id ?? 0);
}

/** Requests that are due now. @param {import("./state.js").State} state @returns {Ask[]} */
export function due(state) {
  if (state.socket.phase !== "open") return [];
  return wanted(state).filter(({ what, key }) => {
    const asked = state.asked[what];
    return !state.unknown[what] && !asked?.open && asked?.key !== key && (state.later[what] ?? 0) <= state.now;
  });
}

/** @param {import("./state.js").State} state @returns {Ask[]} */
function wanted(state) {
  const { portfolio, open } = state;
  const edition = editionOf(state);
  const tick = portfolio ? `${edition}:${newestTick(state)}` : "";
  /** @type {Ask[]} */
  const asks = [{ what: "results", key: "missed", request: { action: "get_results", limit: 10 } }];
  // An answer may be of a newer tick than its request; known answers are not requested again.
  if (!knowsRisk(state)) asks.unshift({ what: "risk", key: tick, request: { action: "get_risk" } });
  if (!portfolio) return asks;
  const bars = `${edition}:${portfolio.last_bar ?? ""}`;
  // Without a drafted trade only its best hedge is needed, and one up to a minute old is good enough.
  const minute = `${edition}:${Math.floor(newestTick(state) / 60_000)}`;
  if (state.selected && (state.draft !== 0 || open.work === "what_if")) {
    asks.push(whatIf(state.selected, state.draft, state.draft === 0 ? minute : tick));
  }
  if (open.side === "value") asks.push({ what: "history", key: bars, request: { action: "get_history", bars: 252 } });
  if (open.side === "correlations") {
    asks.push({ what: "correlations", key: bars, request: { action: "get_risk", correlations: true } });
  }
  if (open.work === "plan") asks.push(plan(state, tick));
  return asks;
}

/** Whether the known risk is that of the holdings and of the newest tick. @param {import("./state.js").State} state */
function knowsRisk(state) {
  const { risk, portfolio } = state;
  return risk !== null && portfolio?.version === risk.version && risk.tick_id >= newestTick(state);
}

/** @param {string} ticker @param {number} shares @param {string} tick @returns {Ask} */
function whatIf(ticker, shares, tick) {
  return {
    what: "what_if",
    key: `${tick}:${ticker}:${shares}`,
    request: { action: "what_if", trades: { [ticker]: shares } },
  };
}

/** @param {import("./state.js").State} state @param {string} tick @returns {Ask} */
function plan(state, tick) {
  const { to, cash, only_buy, whole_shares } = state.plan;
  const request = { action: "plan", to, cash, only_buy: to === "weights" && only_buy, whole_shares };
  return { what: "plan", key: `${tick}:${JSON.stringify(request)}`, request };
}

/** The key of a request at present; null if it is not sent. @param {import("./state.js").State} state @param {string} what @returns {string | null} */
export function keyNow(state, what) {
  return wanted(state).find((ask) => ask.what === what)?.key ?? null;
}

/** The part of a trade's or plan's key that does not depend on the tick. @param {string | null} key */
export function question(key) {
  return key?.split(":").slice(2).join(":");
}

/** Whether to probe the socket: after too long a silence, or a jump of the clock. @param {number} silence @param {number} jump @returns {boolean} */
export function suspicious(silence, jump) {
  return silence > 45_000 || jump > 10_000;
}
