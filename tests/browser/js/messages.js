// Messages as a server sends them, for the tests of what the page makes of them.

export const METRICS = ["portfolio_risk", "concentration", "correlation", "momentum", "allocation_score"];

export const portfolio = (more = {}) => ({
  type: "portfolio", session_id: "s", holdings: { AAPL: 100, SPY: -10 }, version: 1, total_value: 1_000,
  valued: { tick_id: 1_000, as_of: "2026-01-05T15:30:00.000Z" }, last_bar: "2026-01-02", stale: false, unpriced: {},
  current_analysis: null, ...more,
});
export const update = (tick, total, more = {}) => ({
  type: "portfolio_update", total_value: total, values: { AAPL: total + 200, SPY: -200 }, tick_id: tick,
  as_of: new Date(Date.parse("2026-01-05T15:30:00Z") + tick).toISOString(), last_bar: "2026-01-02", stale: false, unpriced: {}, ...more,
});
export const started = (run_id, ticker = "AAPL", more = {}) => ({
  type: "analysis_started", ticker, run_id, metrics: METRICS, snapshot: "f".repeat(32), version: 1, tick_id: 1_000,
  as_of: "2026-01-05T15:30:00.000Z", ...more,
});
export const result = (run_id, metric, value = 0.5, ticker = "AAPL") => ({
  type: "analysis_result", ticker, metric, value, timestamp: "2026-01-05T15:30:00.100Z", run_id, snapshot: "f".repeat(32),
  tick_id: 1_000, as_of: "2026-01-05T15:30:00.000Z", method: "1", detail: {},
});
export const completed = (run_id, ticker = "AAPL") => ({ type: "analysis_completed", ticker, run_id, results: 5, errors: 0 });
export const cancelled = (run_id, reason = "switched", ticker = "AAPL") => ({
  type: "analysis_cancelled", ticker, run_id, reason, cancelled_in_us: 321,
});
export const error = (code, more = {}) => ({ type: "error", code, detail: `about ${code}`, retryable: false, ...more });
export const risk = (version, tick_id, more = {}) => ({
  type: "risk", id: "risk", version, tick_id, as_of: "2026-01-05T15:30:00.000Z", snapshot: "f".repeat(32),
  holdings: [
    { ticker: "AAPL", shares: 100, price: 12, value: 1_200, weight: 0.857, risk: 1.1, target_weight: 0.5, budget: 0.5, score: -0.6 },
    { ticker: "SPY", shares: -10, price: 20, value: -200, weight: -0.143, risk: -0.1, target_weight: 0.5, budget: 0.5, score: 0.6 },
  ],
  totals: { value: 1_000, gross: 1_400, volatility: 0.2, risk: 280, effective_holdings: 1.3, n_obs: 252 }, ...more,
});

/** Fold events into a state; a message is an event, too. */
export function play(reduce, state, ...events) {
  let at = state.now;
  return events.reduce((now, event) => {
    at += 10;
    return reduce(now, event.kind ? { at, ...event } : { kind: "message", message: event, at });
  }, state);
}
