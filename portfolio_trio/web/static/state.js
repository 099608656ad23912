// The state of the page. Pure: `reduce` takes a state and an event, and returns the next state.

import { entriesOf } from "./story.js";
import { fault } from "./words.js";
import { NO_RUNS, goesOn, lose, onRunMessage, recall } from "./runs.js";

/**
 * @typedef {import("wire").ServerMessage} Message
 * @typedef {import("wire").Portfolio} Portfolio
 * @typedef {import("wire").PortfolioUpdate & {received?: number}} Update
 * @typedef {{key: string}} Keyed
 * @typedef {{
 *   risk?: import("wire").Risk & Keyed, correlations?: import("wire").Risk & Keyed, what_if?: import("wire").WhatIf & Keyed,
 *   plan?: import("wire").Plan & Keyed, history?: import("wire").History & Keyed, results?: import("wire").Results & Keyed,
 * }} Answers
 * @typedef {{to: import("wire").PlanTo, cash: number, only_buy: boolean, whole_shares: boolean}} Choice
 * @typedef {{phase: "connecting" | "open" | "waiting" | "ended", why: string, until: number, since: number, token: boolean}} Socket
 * @typedef {{total: number, tick_id: number, as_of: string}} Base
 * @typedef {{key: string, open: boolean, at: number}} Asked
 * @typedef {{what: string, version: number}} Change a request that changes the holdings, and the version it was made for
 * @typedef {{level: "info" | "bad", text: string, at: number}} Notice
 * @typedef {{
 *   now: number, session: string, metrics: string[], socket: Socket, seen: boolean, losses: number,
 *   portfolio: Portfolio | null, update: Update | null, base: Base | null, lag: number | null, gap: number,
 *   risk: import("wire").Risk | null, answers: Answers, failures: Record<string, import("wire").ErrorMessage & Keyed>,
 *   asked: Record<string, Asked>, later: Record<string, number>, unknown: Record<string, boolean>, ticks: Base[],
 *   runs: import("./runs.js").Runs, pending: {ticker: string, at: number} | null, selected: string | null,
 *   draft: number, open: Record<string, string>, plan: Choice, changes: Record<string, Change>,
 *   follow: boolean, notice: Notice | null, log: import("./story.js").Entry[],
 * }} State
 * @typedef {{kind: "message", message: Message} | {kind: "asked", what: string, key: string}
 *   | {kind: "change", id: string} & Change | {kind: "analyze", ticker: string} | {kind: "select", ticker: string}
 *   | {kind: "draft", shares: number} | {kind: "tab", place: string, tab: string} | {kind: "plan", set: Partial<Choice>}
 *   | {kind: "follow", on: boolean} | {kind: "session", session: string, metrics?: string[] | undefined}
 *   | {kind: "socket", phase: Socket["phase"], why?: string, until?: number, token?: boolean}
 *   | {kind: "notice", level: Notice["level"], text: string} | {kind: "clock"}} Happening
 * @typedef {Happening & {at: number}} Event
 */

const KEPT_ENTRIES = 400;
const KEPT_TICKS = 240;
// Milliseconds before the page repeats a request after a retryable error.
const PAUSE = 2_000;
const FIRST_GAP = 30_000;

/** @param {number} now @returns {State} */
export function initial(now) {
  return {
    now,
    session: "",
    metrics: ["portfolio_risk", "concentration", "correlation", "momentum", "allocation_score"],
    socket: { phase: "connecting", why: "", until: 0, since: now, token: false },
    // Whether this connection has shown the holdings; and how often the server has lost them.
    seen: false,
    losses: 0,
    portfolio: null,
    update: null,
    base: null,
    lag: null,
    gap: FIRST_GAP,
    risk: null,
    answers: {},
    failures: {},
    asked: {},
    later: {},
    unknown: {},
    ticks: [],
    runs: NO_RUNS,
    pending: null,
    selected: null,
    draft: 0,
    open: { work: "what_if", side: "value" },
    plan: { to: "weights", cash: 0, only_buy: false, whole_shares: true },
    changes: {},
    follow: false,
    notice: null,
    log: [],
  };
}

/** @param {State} state @param {Event} event @returns {State} */
export function reduce(state, event) {
  const next = step({ ...state, now: Math.max(state.now, event.at) }, event);
  const entries = entriesOf(state, event);
  return entries.length ? { ...next, log: [...next.log, ...entries].slice(-KEPT_ENTRIES) } : next;
}

/** @param {State} state @param {Event} event @returns {State} */
function step(state, event) {
  switch (event.kind) {
    case "message":
      return unfollow(onMessage(state, event.message, event.at));
    case "asked":
      return { ...state, asked: { ...state.asked, [event.what]: { key: event.key, open: true, at: event.at } } };
    case "change":
      return { ...state, changes: { ...state.changes, [event.id]: event } };
    case "analyze":
      return { ...state, pending: { ticker: event.ticker, at: event.at } };
    case "select":
      return { ...state, selected: event.ticker, draft: event.ticker === state.selected ? state.draft : 0 };
    case "draft":
      return { ...state, draft: event.shares };
    case "tab":
      return { ...state, open: { ...state.open, [event.place]: event.tab } };
    case "plan":
      return { ...state, plan: { ...state.plan, ...event.set } };
    case "follow":
      return { ...state, follow: event.on };
    case "session":
      return { ...initial(event.at), session: event.session, metrics: event.metrics ?? state.metrics, losses: state.losses, open: state.open, log: state.log };
    case "socket":
      return onSocket(state, event);
    case "notice":
      return { ...state, notice: event.text ? { level: event.level, text: event.text, at: event.at } : null };
    default:
      return state;
  }
}

/** @param {State} state @param {Extract<Event, {kind: "socket"}>} event @returns {State} */
function onSocket(state, event) {
  const socket = {
    phase: event.phase, why: event.why ?? "", until: event.until ?? 0, token: Boolean(event.token),
    since: event.phase === state.socket.phase ? state.socket.since : event.at,
  };
  if (event.phase === "open") {
    // Another process, possibly of another release, may answer now.
    return { ...state, socket, seen: false, asked: {}, later: {}, unknown: {}, failures: {}, pending: null };
  }
  const lost = Object.values(state.changes).map(({ what }) => what);
  const notice = lost.length
    ? { level: /** @type {const} */ ("bad"), at: event.at, text: `The connection was lost while this was on its way: ${lost.join(", ")}. Look whether it was done.` }
    : state.notice;
  return { ...state, socket, asked: {}, pending: null, follow: false, changes: {}, notice, runs: lose(state.runs) };
}

/** @param {State} state @param {Message} message @param {number} at @returns {State} */
function onMessage(state, message, at) {
  const code = message.type === "portfolio" && lossOf(state.portfolio, message);
  const begun = code ? forget(state, fault({ code }), at) : state;
  const settled = settle(begun, message, at);
  const next = { ...settled, runs: onRunMessage(settled.runs, message, settled.metrics) };
  switch (message.type) {
    case "portfolio":
      return onPortfolio(next, message);
    case "portfolio_update":
      return onUpdate(next, message, at);
    case "risk":
      return message.id === "correlations" ? next : { ...next, risk: message };
    case "results":
      return message.id === "results" ? { ...next, runs: recall(next.runs, message.results, next.metrics) } : next;
    case "analysis_started":
    case "analysis_failed":
      return { ...next, pending: null };
    case "analysis_cancelled":
      // After any other reason the requested run starts.
      return message.reason === "cancelled" ? { ...next, pending: null } : next;
    case "error":
      return onError(next, message, at);
    default:
      return next;
  }
}

/** The box is ticked only while something is followed or will be. @param {State} state @returns {State} */
function unfollow(state) {
  const { pending, runs: { run } } = state;
  // A run on what has changed starts by itself.
  return pending || !run || goesOn(run) || run.reason === "portfolio_changed" ? state : { ...state, follow: false };
}

/** Messages about the whole session. @param {State} state @param {import("wire").ErrorMessage} message @param {number} at @returns {State} */
function onError(state, message, at) {
  if (message.code === "session_expired") return forget(state, fault(message), at);
  if (message.id !== undefined) return state;
  return { ...state, notice: { level: "bad", text: fault(message), at } };
}

/** Versions and run ids begin again: nothing known applies to the new session. @param {State} state @param {string} text @param {number} at @returns {State} */
function forget(state, text, at) {
  return {
    ...state, losses: state.losses + 1, portfolio: null, update: null, base: null, ticks: [], risk: null, answers: {}, asked: {},
    runs: NO_RUNS, pending: null, selected: null, draft: 0, notice: { level: "bad", text, at },
  };
}

/** An answer ends the request with its id. @param {State} state @param {Message} message @param {number} at @returns {State} */
function settle(state, message, at) {
  const id = message.id;
  if (typeof id !== "string") return state;
  if (id in state.changes) return settleChange(state, message, id, at);
  const asked = state.asked[id];
  if (id === "analyze" && message.type === "error") {
    return { ...state, pending: null, notice: { level: "bad", text: message.detail, at } };
  }
  if (!asked) return state;
  const closed = { ...state, asked: { ...state.asked, [id]: { ...asked, open: false } } };
  if (message.type !== "error") {
    const { [id]: _old, ...failures } = state.failures;
    return { ...closed, failures, answers: { ...state.answers, [id]: { ...message, key: asked.key } } };
  }
  const failures = { ...state.failures, [id]: { ...message, key: asked.key } };
  if (message.code === "unknown_action") return { ...closed, failures, unknown: { ...state.unknown, [id]: true } };
  if (!message.retryable) return { ...closed, failures };
  return {
    ...closed, failures, later: { ...state.later, [id]: at + PAUSE },
    asked: { ...state.asked, [id]: { key: "", open: false, at } },
  };
}

/** @param {State} state @param {Message} message @param {string} id @param {number} at @returns {State} */
function settleChange(state, message, id, at) {
  const { [id]: change, ...changes } = state.changes;
  const failed = message.type === "error";
  /** @type {Notice} */
  const notice = failed
    ? { level: "bad", text: conflict(message, change?.version), at }
    : { level: "info", text: `${change?.what}: done.`, at };
  // A draft that was carried out is no longer a draft.
  const draft = !failed && id.startsWith("trade") ? 0 : state.draft;
  return { ...state, changes, draft, notice };
}

/** @param {import("wire").ErrorMessage} message @param {number | undefined} version that the change was made for */
function conflict(message, version) {
  if (message.code !== "version_conflict") return fault(message);
  return `The holdings changed while you looked at version ${version}; nothing was done. Look at them and decide again.`;
}

/** The server's order counts: the newest state is valid, even if versions began again. @param {State} state @param {Portfolio} message @returns {State} */
function onPortfolio(state, message) {
  const before = state.portfolio;
  const same = isSame(before, message);
  const kept = same ? state : { ...state, ticks: [] };
  // After a reconnection the state is of a newer tick than the last update.
  const update = same && state.update && state.update.tick_id >= message.valued.tick_id ? state.update : null;
  const base = (update && state.base) ?? baseOf(message.total_value, message.valued);
  const risk = kept.risk?.version === message.version ? kept.risk : null;
  const { selected } = state;
  const gone = selected !== null && selected in (before?.holdings ?? {}) && !(selected in message.holdings);
  return { ...kept, seen: true, portfolio: message, update, base, risk, selected: gone ? null : selected, draft: gone ? 0 : kept.draft };
}

/** @param {Portfolio | null} before @param {Portfolio} after */
function isSame(before, after) {
  return before?.version === after.version
    && sameNumbers(before.holdings, after.holdings) && sameTargets(before.targets, after.targets);
}

/** What the server has lost since, if anything: numbers of before may have the version of new ones. @param {Portfolio | null} before @param {Portfolio} after */
function lossOf(before, after) {
  if (!before) return null;
  const known = before.incarnation && after.incarnation;
  if (known && before.incarnation !== after.incarnation) return "session_lost";
  if (after.version > before.version || isSame(before, after)) return null;
  return known ? "changes_lost" : "session_lost";
}

/** Names one version of the holdings in one life of the session: what is typed, asked and drafted is for exactly one. @param {State} state */
export function editionOf({ portfolio, losses }) {
  return portfolio ? `${portfolio.session_id}/${portfolio.incarnation ?? ""}/${losses}/${portfolio.version}` : "";
}

/** Whether a change has to wait: for the connection, for the holdings as it shows them, or for the answer to another. @param {State} state */
export function isBusy({ socket, seen, changes }) {
  return socket.phase !== "open" || !seen || Object.keys(changes).length > 0;
}

/** Whether two sets of numbers by name are equal, up to the server's rounding. @param {Record<string, number> | null | undefined} one @param {Record<string, number> | null | undefined} other */
export function sameNumbers(one, other) {
  const [left, right] = [one ?? {}, other ?? {}];
  const names = Object.keys(left);
  return names.length === Object.keys(right).length
    && names.every((name) => Math.abs(Number(left[name]) - Number(right[name])) <= 1e-9 * Math.max(1, Math.abs(Number(left[name]))));
}

/** @typedef {{weights?: Record<string, number> | null, budgets?: Record<string, number> | null, band?: number} | null | undefined} Targets */

/** @param {Targets} one @param {Targets} other */
export function sameTargets(one, other) {
  return sameNumbers(one?.weights, other?.weights) && sameNumbers(one?.budgets, other?.budgets)
    && Math.abs((one?.band ?? 0.05) - (other?.band ?? 0.05)) < 1e-9;
}

/** @param {number} total @param {import("wire").Valued} valued @returns {Base} */
function baseOf(total, valued) {
  return { total, tick_id: valued.tick_id, as_of: valued.as_of };
}

/** @param {State} state @param {import("wire").PortfolioUpdate} message @param {number} at @returns {State} */
function onUpdate(state, message, at) {
  const { portfolio, update, ticks } = state;
  if (!portfolio || message.tick_id < portfolio.valued.tick_id || (update && message.tick_id <= update.tick_id)) return state;
  const before = update ? baseOf(update.total_value, update) : state.base;
  const lag = at - Date.parse(message.as_of);
  const tick = baseOf(message.total_value, message);
  return {
    ...state,
    update: { ...message, received: at },
    base: before && before.tick_id < message.tick_id ? before : null,
    gap: update?.received ? Math.max(1_000, at - update.received) : state.gap,
    lag: state.lag === null ? lag : Math.min(lag, state.lag),
    ticks: [...ticks, tick].slice(-KEPT_TICKS),
  };
}
