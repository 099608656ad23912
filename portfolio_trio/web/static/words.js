// The meaning of numbers and errors, as sentences.

import { count, fixed, isNumber, money, percent, shares, signed } from "./format.js";

/**
 * @typedef {Partial<import("wire").PortfolioRiskDetail & import("wire").ConcentrationDetail & import("wire").CorrelationDetail
 *   & import("wire").MomentumDetail & import("wire").AllocationScoreDetail>} Detail what each metric may say
 */
/** @typedef {{ticker: string, value: number, detail?: Detail}} Result */

/** @type {Record<string, string>} */
const TITLES = {
  portfolio_risk: "Share of risk",
  concentration: "Weight",
  correlation: "Correlation",
  momentum: "Momentum",
  allocation_score: "Score",
};

/** @param {string} metric */
export function title(metric) {
  const words = metric.replaceAll("_", " ");
  return TITLES[metric] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** The value in readable form; a weight has its sign, as in the row. @param {string} metric @param {number} value @param {Detail} [detail] */
export function shown(metric, value, detail) {
  if (metric === "concentration") return percent(detail?.weight ?? value);
  if (metric === "portfolio_risk") return percent(value);
  if (metric === "allocation_score") return signed(value, (score) => `${fixed(Number(score) * 100, 1)} pp`);
  if (metric === "correlation" || metric === "momentum") return signed(value, fixed);
  return fixed(value, 4);
}

/** A fraction in words: whole per cent, or tenths if it is small. @param {unknown} part */
const about = (part) => percent(part, isNumber(part) && Math.abs(part) < 0.0995 ? 1 : 0);

/** @type {Record<string, (result: Result) => string>} */
const MEANINGS = {
  portfolio_risk({ ticker, value, detail }) {
    if (value < 0) return `${ticker} is a hedge: it takes ${about(-value)} off this portfolio's variance.`;
    const times = detail?.share_per_weight;
    // Of a short position that carries risk the quotient is below 0, and says nothing.
    const beside = isNumber(times) && times >= 0 ? `, ${fixed(times, 1)} times its weight` : "";
    return `${about(value)} of this portfolio's variance comes from ${ticker}${beside}.`;
  },
  concentration({ ticker, value, detail }) {
    const rank = detail?.rank === 1 ? "the largest position" : `position ${detail?.rank} by size`;
    const as = isNumber(detail?.effective_holdings)
      ? `; the whole is as concentrated as ${fixed(detail.effective_holdings, 1)} equal holdings`
      : "";
    return `${ticker} is ${about(value)} of gross value, ${detail?.rank ? rank : "held"}${as}.`;
  },
  correlation({ ticker, value, detail }) {
    const size = Math.abs(value);
    const how = size < 0.2 ? "hardly moves with" : `moves ${size < 0.5 ? "somewhat" : "closely"} ${value < 0 ? "against" : "with"}`;
    const closest = detail?.closest ? `; closest to ${detail.closest}` : "";
    return `${ticker} ${how} the rest of the portfolio${closest}.`;
  },
  momentum({ ticker, detail }) {
    if (!isNumber(detail?.raw_12_1)) return `Weight times the risk-adjusted return of ${ticker} over a year.`;
    const way = detail.raw_12_1 < 0 ? "fell" : "rose";
    return `${ticker} ${way} ${percent(Math.abs(detail.raw_12_1), 0)} in the year up to last month.`;
  },
  allocation_score({ ticker, value, detail }) {
    const budget = about(detail?.budget);
    if (!isNumber(detail?.shares_to_trade)) return `No size of ${ticker} alone carries its budget of ${budget}.`;
    const trade = detail.shares_to_trade;
    if (trade === 0 || detail.side === "hold") return `${ticker} carries its budget of ${budget}.`;
    const few = shares(Number(Math.abs(trade).toFixed(2)));
    const more = value > 0 ? "below" : "above";
    return `${ticker} is ${more} its budget of ${budget}; ${trade < 0 ? "sell" : "buy"} ${few} shares to meet it.`;
  },
};

/** @param {string} ticker @param {number | null} weight @param {number} risk */
export function carries(ticker, weight, risk) {
  return `Most risk comes from ${ticker}: ${about(risk)} of it, at ${about(weight)} of gross value.`;
}

/** What a result means, in one sentence. @param {string} metric @param {Result} result */
export function meaning(metric, result) {
  return MEANINGS[metric]?.(result) ?? `${title(metric)} of ${result.ticker}.`;
}

/** The remaining cash of a plan. @param {number} cash */
export function leftOver(cash) {
  if (!/[1-9]/.test(money(cash))) return "";
  return cash < 0 ? `, ${money(-cash)} more than there is` : `, ${money(cash)} left over`;
}

/** @type {Record<string, string>} */
const ENDS = {
  switched: "another ticker was asked for",
  superseded: "a newer analysis took its place",
  cancelled: "on request",
  portfolio_changed: "holdings or prices moved; it starts again by itself",
  disconnected: "the connection that asked for it was lost",
  draining: "the server is going away",
};

/** Why a run was cancelled. @param {string} reason */
export function ended(reason) {
  return ENDS[reason] ?? reason.replaceAll("_", " ");
}

const REPLACED = "a new one with the default holdings replaced it.";

/** @type {Record<string, string>} */
const FAULTS = {
  unknown_action: "This server does not answer that yet.",
  version_conflict: "The holdings changed in the meantime, so nothing was done. Look at them and try again.",
  rate_limited: "Too many requests at once; the page slows down.",
  unavailable: "The server cannot reach its store at the moment: try again soon.",
  outcome_unknown: "The reply was lost on the way: the change may have been made. The holdings below are read again.",
  session_expired: `The session had expired or was lost; ${REPLACED}`,
  session_lost: `The session was lost; ${REPLACED}`,
  changes_lost: "The server’s store has lost its newest changes; these are the holdings that it still has.",
  draining: "The server is going away; the page connects again by itself.",
  store_full: "The server's store is full; nothing was changed.",
};

/** The message for the user about an error. @param {{code: string, detail?: string}} error @returns {string} */
export function fault(error) {
  return FAULTS[error.code] ?? error.detail ?? error.code.replaceAll("_", " ");
}

/** By the word that a reason begins with, or by the code. @type {Record<string, string>} */
const CLOSES = {
  token_missing: "This session needs its token.",
  token_malformed: "That is not a token of this server.",
  token_bad_signature: "The token was not signed by this server; its secret may have changed.",
  token_expired: "The token of this session has expired: paste a newer one, or start a new session.",
  token_other_session: "The token belongs to another session.",
  session_full: "Too many tabs have this session open.",
  rate_limited: "The server closed the connection: too many requests.",
  1001: "The server is going away.",
  1009: "The server refused a message that was too large.",
  1011: "The server failed; its log has the cause.",
  1013: "The server has too much to do.",
};

/** Why a socket was closed, and whether only the user can help. @param {number} code @param {string} reason */
export function closed(code, reason) {
  const word = reason.split(":")[0] ?? "";
  const other = code === 1008 ? reason || "The server does not permit this page." : "The connection was lost.";
  return { why: CLOSES[word] ?? CLOSES[code] ?? other, token: word.startsWith("token_") };
}

/** Whether reconnecting can help, as in the server's table of close codes; a limit passes. @param {number} code @param {string} reason */
export function worthReconnecting(code, reason) {
  return /^(session_full|rate_limited)/.test(reason) || ![1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010].includes(code);
}

/** A line for the log about the value. @param {number} total @param {number} holdings */
export function worth(total, holdings) {
  return `${count(holdings, "holding")}, worth ${money(total)}`;
}
