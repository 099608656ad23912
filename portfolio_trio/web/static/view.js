// The parts of the state that are shown: rows, totals, chips. Pure. Every number here is for the
// version and the tick that the page shows.

import { newestTick } from "./asks.js";
import { age, clock, count } from "./format.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {{
 *   ticker: string, shares: number, value: number | null, weight: number | null, risk: number | null,
 *   budget: number | null, target: number | null, drift: number | null, unpriced: string | null | undefined,
 * }} Row
 * @typedef {{rows: Row[], riskIsOld: boolean, hasRisk: boolean}} Table
 */

/** The risk answer, if it is of the holdings on screen. @param {State} state */
export function riskOf(state) {
  const { risk, portfolio } = state;
  return risk && portfolio && risk.version === portfolio.version ? risk : null;
}

/** Whether the risk answer is of an older tick than the values. @param {State} state */
export function riskIsOld(state) {
  const risk = riskOf(state);
  return risk !== null && risk.tick_id < newestTick(state);
}

/** @param {State} state @returns {Table} */
export function table(state) {
  const { portfolio } = state;
  if (!portfolio) return { rows: [], riskIsOld: false, hasRisk: false };
  const risk = riskOf(state);
  const old = riskIsOld(state);
  const known = new Map((risk?.holdings ?? []).map((row) => [row.ticker, row]));
  const { values: current, outside = {}, unpriced = {} } = state.update ?? portfolio;
  const values = risk && !old ? null : current ?? null;
  const gross = values ? Object.values(values).reduce((sum, value) => sum + Math.abs(value), 0) : 0;
  const [weights, budgets] = [shares(portfolio.targets?.weights), shares(portfolio.targets?.budgets)];
  // A name with a target that is not held gets a row as well, so that its target is visible.
  const absent = { value: 0, weight: 0 };
  const names = new Set([portfolio.holdings, weights, budgets].flatMap((each) => Object.keys(each)));
  const rows = [...names].map((ticker) => {
    const held = portfolio.holdings[ticker] ?? 0;
    const row = known.get(ticker);
    const value = values?.[ticker];
    const worth = held === 0 ? absent : values ? { value, weight: gross && value !== undefined ? value / gross : null } : row;
    return {
      ticker,
      shares: held,
      value: worth?.value ?? null,
      weight: worth?.weight ?? null,
      risk: row?.risk ?? null,
      budget: row?.budget ?? budgets[ticker] ?? null,
      target: row?.target_weight ?? weights[ticker] ?? null,
      drift: outside[ticker] ?? null,
      unpriced: unpriced[ticker],
    };
  });
  return { rows: rows.sort(byRisk), riskIsOld: old, hasRisk: risk !== null };
}

// As many rows as a user can read, and a browser can draw in a few milliseconds per tick.
const MOST_ROWS = 100;

/** The most important rows, in their order, and how many are left out; `kept` is always shown. @param {Row[]} rows @param {string | null} kept */
export function foremost(rows, kept) {
  if (rows.length <= MOST_ROWS) return { shown: rows, left: 0, risk: null };
  const size = (/** @type {Row} */ row) => (row.ticker === kept ? Infinity : row.drift === null ? Math.abs(row.risk ?? row.weight ?? 0) : 1e9);
  const first = new Set([...rows].sort((a, b) => size(b) - size(a)).slice(0, MOST_ROWS));
  const rest = rows.filter((row) => !first.has(row));
  const risk = rest.every((row) => row.risk !== null) ? rest.reduce((sum, row) => sum + Number(row.risk), 0) : null;
  return { shown: rows.filter((row) => first.has(row)), left: rest.length, risk };
}

/** The set values as shares of their sum, without zeros. @param {Record<string, number> | null | undefined} set @returns {Record<string, number>} */
function shares(set) {
  const wanted = Object.entries(set ?? {}).filter(([, share]) => share > 0);
  const total = wanted.reduce((sum, [, share]) => sum + share, 0);
  return Object.fromEntries(wanted.map(([ticker, share]) => [ticker, share / total]));
}

/** Most risk first; without risk, by size; rows with neither come last. @param {Row} a @param {Row} b */
function byRisk(a, b) {
  const rank = (/** @type {Row} */ row) => row.risk ?? (row.weight === null ? -Infinity : Math.abs(row.weight));
  return rank(b) - rank(a) || a.ticker.localeCompare(b.ticker);
}

/** The value now and before. @param {State} state */
export function value(state) {
  const { portfolio, update, base } = state;
  if (!portfolio) return null;
  const total = update?.total_value ?? portfolio.total_value;
  const before = update && base;
  return {
    total,
    as_of: update?.as_of ?? portfolio.valued.as_of,
    change: before && total - before.total,
    fraction: before?.total ? (total - before.total) / Math.abs(before.total) : null,
    since: before && before.as_of,
  };
}

/** @typedef {{text: string, level: "good" | "warn" | "bad" | "idle", hint: string}} Chip */

/** @param {State} state @returns {Chip} */
export function socketChip({ socket, now }) {
  if (socket.phase === "open") return { text: "Connected", level: "good", hint: "The page gets each event as it happens." };
  if (socket.phase === "waiting") {
    const left = Math.max(0, Math.ceil((socket.until - now) / 1000));
    return { text: `Reconnecting in ${left} s`, level: "warn", hint: socket.why };
  }
  if (socket.phase === "ended") return { text: "Disconnected", level: "bad", hint: socket.why };
  return { text: "Connecting", level: "warn", hint: socket.why };
}

/** Seconds since the newest tick, by the server's clock as far as known. @param {State} state */
export function tickAge(state) {
  const shown = value(state);
  if (!shown) return null;
  return Math.max(0, (state.now - Date.parse(shown.as_of) - (state.lag ?? 0)) / 1000);
}

/** @param {State} state @returns {Chip} */
export function pricesChip(state) {
  const { portfolio, socket } = state;
  const seconds = tickAge(state);
  if (!portfolio || seconds === null) return { text: "No prices yet", level: "idle", hint: "" };
  const hint = `Tick ${newestTick(state)}, as of ${clock(value(state)?.as_of)}`;
  const old = `Prices ${age(seconds)} old`;
  if (socket.phase !== "open") return { text: old, level: "warn", hint: `${hint}; not live` };
  const now = state.update ?? portfolio;
  const unpriced = Object.keys(now.unpriced ?? {});
  if (unpriced.length) {
    return { text: `${count(unpriced.length, "name")} without a price`, level: "warn", hint: `${unpriced.join(", ")} at the last known price` };
  }
  const atClose = Object.keys(now.stale_prices ?? {});
  if (atClose.length) {
    return { text: `${count(atClose.length, "name")} at the last close`, level: "warn", hint: `The live prices leave out ${atClose.join(", ")}` };
  }
  if (now.stale) {
    return { text: `Stale prices`, level: "warn", hint: `${hint}. Prices or closes are older than they should be; last close ${portfolio.last_bar ?? "unknown"}` };
  }
  if (seconds * 1000 > 1.5 * state.gap + 5_000) return { text: `No tick for ${age(seconds)}`, level: "warn", hint };
  return { text: old, level: "good", hint };
}

/** @param {State} state @returns {Chip} */
export function runChip({ runs: { run }, pending, socket }) {
  if (pending) return { text: `${pending.ticker} starting`, level: "good", hint: "" };
  if (!run || socket.phase !== "open") return { text: "Idle", level: "idle", hint: "No analysis runs." };
  const hint = `${run.ticker}, run ${run.run_id}`;
  if (run.phase === "running") {
    return { text: `Running ${Object.keys(run.tiles).length}/${run.metrics.length}`, level: "good", hint };
  }
  if (run.following) return { text: `Following ${run.ticker}`, level: "good", hint: `${hint}; again with the next tick or edit` };
  return { text: "Idle", level: "idle", hint: `Last: ${hint}, ${run.phase}` };
}

/** Whether a run's results are still valid; a sentence if not. @param {State} state */
export function runAge(state) {
  const { runs: { run }, portfolio } = state;
  if (!run || run.phase === "running" || run.phase === "failed") return "";
  if (run.phase === "recorded" && run.version === null) return `recorded, of ${clock(run.as_of)}`;
  if (portfolio && run.version !== null && run.version !== portfolio.version) return "of holdings that have changed";
  if (run.tick_id < newestTick(state)) return `of ${clock(run.as_of)}, prices are newer`;
  return "";
}
