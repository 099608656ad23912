// The state of the newest run and of the previous one. Pure: an event in, a state out.

/**
 * @typedef {import("wire").ServerMessage} Message
 * @typedef {{value: number | null, error: {code: string, detail: string} | null, message: import("wire").AnalysisResult | import("wire").RecordedResult | import("wire").MetricFailure}} Tile
 * @typedef {{run_id: number, ticker: string, tick_id: number, version?: number | null, as_of?: string | null}} Beginning
 * @typedef {{
 *   run_id: number, ticker: string, phase: "running" | "completed" | "cancelled" | "failed" | "recorded" | "lost",
 *   metrics: string[], tiles: Record<string, Tile>, version: number | null, tick_id: number, as_of: string | null,
 *   reason: string | null, took: number | null, late: number, following: boolean,
 *   failure: {code: string, detail: string} | null,
 * }} Run
 * @typedef {{run: Run | null, ghost: Run | null}} Runs
 */

/** @type {Runs} */
export const NO_RUNS = { run: null, ghost: null };

/** @param {Beginning} message @param {string[]} metrics @returns {Run} */
function begin(message, metrics) {
  return {
    run_id: message.run_id,
    ticker: message.ticker,
    phase: "running",
    metrics,
    tiles: {},
    version: message.version ?? null,
    tick_id: message.tick_id,
    as_of: message.as_of ?? null,
    reason: null,
    took: null,
    late: 0,
    following: false,
    failure: null,
  };
}

/** The effect of one message of the server. @param {Runs} runs @param {Message} message @param {string[]} metrics @returns {Runs} */
export function onRunMessage(runs, message, metrics) {
  switch (message.type) {
    case "portfolio":
      return adopt(runs, message.current_analysis, metrics);
    case "analysis_started":
      return { run: begin(message, message.metrics), ghost: fade(runs, message) };
    case "analysis_result":
      return land(runs, message, { value: message.value, error: null, message });
    case "metric_error":
      return land(runs, message, { value: null, error: { code: message.code, detail: message.detail }, message });
    case "analysis_completed":
      return end(runs, message, { phase: "completed", following: "following" in message && message.following === true });
    case "analysis_cancelled":
      return end(runs, message, {
        phase: "cancelled", reason: message.reason, took: message.cancelled_in_us ?? null, following: false,
      });
    case "analysis_failed":
      return end(runs, message, {
        phase: "failed", failure: { code: message.code, detail: message.detail }, following: false,
      });
    case "risk":
      return reached(runs);
    default:
      return runs;
  }
}

/** The store has answered: that it could not be reached is past. @param {Runs} runs @returns {Runs} */
function reached({ run, ghost }) {
  if (run?.failure?.code !== "unavailable") return { run, ghost };
  return { run: { ...run, failure: { code: "", detail: "The server’s store could not be reached; it can be now." } }, ghost };
}

/** A run in progress when this socket opened: the state shows its start, not an event. @param {Runs} runs @param {import("wire").Running | null | undefined} current @param {string[]} metrics @returns {Runs} */
function adopt(runs, current, metrics) {
  if (!current) return runs;
  if (isSame(runs.run, current)) {
    return runs.run?.phase === "lost" ? { ...runs, run: { ...runs.run, phase: "running" } } : runs;
  }
  return { run: begin(current, metrics), ghost: null };
}

/** Whether it is the same run: ids begin again when a store loses what it had, and then start at another tick. @param {Beginning | null} one @param {Beginning} other */
function isSame(one, other) {
  return one?.run_id === other.run_id && one.ticker === other.ticker && one.tick_id === other.tick_id;
}

/** The previous run stays visible if it did not complete. @param {Runs} runs @param {Beginning} message */
function fade({ run }, message) {
  return run?.phase === "cancelled" && run.run_id !== message.run_id ? run : null;
}

/** A number is shown only while its run is in progress. @param {Runs} runs @param {Tile["message"]} message @param {Tile} tile @returns {Runs} */
function land({ run, ghost }, message, tile) {
  if (run && run.run_id === message.run_id) {
    if (run.phase !== "running") return { run: { ...run, late: run.late + 1 }, ghost };
    return { run: { ...run, as_of: run.as_of ?? ("as_of" in message ? message.as_of : null), tiles: { ...run.tiles, [message.metric]: tile } }, ghost };
  }
  if (ghost?.run_id === message.run_id) return { run, ghost: { ...ghost, late: ghost.late + 1 } };
  return { run, ghost };
}

/** @param {Runs} runs @param {import("wire").AnalysisCompleted | import("wire").AnalysisCancelled | import("wire").AnalysisFailed} message @param {Partial<Run>} how @returns {Runs} */
function end({ run, ghost }, message, how) {
  if (message.run_id === undefined || !run || run.run_id !== message.run_id) {
    // A run that failed before it had a snapshot never started.
    // Between two runs of a followed analysis there is no run.
    if (message.type !== "analysis_failed") return { run: run && { ...run, following: run.following && Boolean(how.following) }, ghost };
    return { run: { ...begin({ run_id: 0, tick_id: 0, ...message }, []), ...how }, ghost: null };
  }
  return { run: { ...run, ...how }, ghost };
}

/** The tiles of results recorded before this page opened; only of the newest run. @param {Runs} runs @param {import("wire").RecordedResult[]} results @param {string[]} metrics @returns {Runs} */
export function recall(runs, results, metrics) {
  const newest = results.at(-1);
  if (!newest) return runs;
  const { run } = runs;
  if (run && run.run_id > newest.run_id) return runs;
  /** @type {Record<string, Tile>} */
  const tiles = {};
  for (const message of results) {
    if (isSame(newest, message)) tiles[message.metric] = { value: message.value, error: null, message };
  }
  if (run && isSame(run, newest)) {
    const all = { ...tiles, ...run.tiles };
    const whole = run.phase === "lost" && run.metrics.every((metric) => all[metric]);
    return { ...runs, run: { ...run, tiles: all, phase: whole ? "recorded" : run.phase } };
  }
  const names = [...new Set([...metrics, ...Object.keys(tiles)])].filter((metric) => tiles[metric]);
  return { run: { ...begin(newest, names), phase: "recorded", tiles }, ghost: null };
}

/** The socket is lost, and with it the end of the run. @param {Runs} runs @returns {Runs} */
export function lose({ run, ghost }) {
  if (run?.phase !== "running") return { run: run ? { ...run, following: false } : null, ghost };
  return { run: { ...run, phase: "lost", following: false }, ghost };
}

/** Whether a run is in progress, or another follows it. @param {Run | null} run */
export function goesOn(run) {
  return run !== null && (run.phase === "running" || run.following);
}

/** How many results of a run have arrived. @param {Run} run */
export function arrived(run) {
  return Object.keys(run.tiles).length;
}
