// The answers about trades, plans and the past, as the panels need them; null unless they are for the holdings
// and the request on screen. Pure.

import { keyNow, question } from "./asks.js";
import { riskIsOld, riskOf } from "./view.js";

/** @typedef {import("./state.js").State} State */

/** The answer to the drafted trade, of the newest tick. @param {State} state */
export function whatIfOf(state) {
  const answer = lastWhatIf(state);
  return answer?.key === keyNow(state, "what_if") ? answer : null;
}

/** The same, or that of the previous tick until it arrives: for parts that show its time. @param {State} state */
export function lastWhatIf(state) {
  return lastOf(state, "what_if");
}

/** @template {"what_if" | "plan"} T @param {State} state @param {T} what @returns {NonNullable<State["answers"][T]> | null} */
function lastOf(state, what) {
  const answer = state.answers[what];
  const key = keyNow(state, what);
  if (!answer || !key) return null;
  return question(answer.key) === question(key) && answer.version === state.portfolio?.version ? answer : null;
}

/**
 * @typedef {{weight: number, risk: number | null}} Own
 * @typedef {{totals?: import("wire").Totals | undefined, own?: Own | undefined}} Side
 * @typedef {{before: Side, after: Side, old: boolean}} Sides
 */

/** The portfolio and the selected name, before and after the drafted trade; unchanged if there is none. @param {State} state @returns {Sides} */
export function sidesOf(state) {
  const { selected, draft } = state;
  const mine = (/** @type {{ticker: string}} */ { ticker }) => ticker === selected;
  if (draft === 0) {
    const risk = selected ? riskOf(state) : null;
    return { before: { totals: risk?.totals, own: risk?.holdings.find(mine) }, after: {}, old: riskIsOld(state) };
  }
  const answer = lastWhatIf(state);
  const own = answer?.holdings.find(mine);
  return { before: { totals: answer?.before, own: own?.before }, after: { totals: answer?.after, own: own?.after }, old: answer !== whatIfOf(state) };
}

/** Weight and risk of each name after the drafted trade; empty without one. @param {State} state @returns {Map<string, {weight: number | null, risk: number | null}>} */
export function whatIfRows(state) {
  const answer = state.draft === 0 ? null : whatIfOf(state);
  return new Map((answer?.holdings ?? []).map((row) => [row.ticker, row.after]));
}

/** How many shares to trade to make the selected name the best possible hedge. @param {State} state */
export function hedgeTrade(state) {
  const hedge = whatIfOf(state)?.best_hedge;
  const { selected, portfolio } = state;
  if (!hedge || !selected || !portfolio) return null;
  return hedge.shares - (portfolio.holdings[selected] ?? 0);
}

/** How many shares to trade to bring the selected name to its budget; known once its score has been computed. @param {State} state */
export function budgetTrade(state) {
  const { run } = state.runs;
  if (!run || run.ticker !== state.selected || run.version !== state.portfolio?.version) return null;
  const score = run.tiles.allocation_score?.message;
  return score && "value" in score && score.metric === "allocation_score" ? score.detail.shares_to_trade ?? null : null;
}

/** The plan for the chosen options; it shows its time. @param {State} state */
export function planOf(state) {
  return lastOf(state, "plan");
}

/** How today's holdings would have performed. @param {State} state */
export function historyOf(state) {
  const answer = state.answers.history;
  return answer && answer.version === state.portfolio?.version ? answer : null;
}

/** Correlations of the holdings. @param {State} state */
export function correlationsOf(state) {
  const answer = state.answers.correlations;
  return answer?.matrix && answer.version === state.portfolio?.version ? answer : null;
}

/** Why a request has no answer, or an empty text. @param {State} state @param {string} what */
export function whyNot(state, what) {
  if (state.unknown[what]) return "This server is older and does not answer that.";
  const answer = what === "correlations" ? state.answers.correlations : undefined;
  if (answer?.errors?.matrix && answer.version === state.portfolio?.version) return "The holdings have too few returns in common.";
  const detail = state.failures[what]?.detail ?? "";
  return detail && `${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`;
}
