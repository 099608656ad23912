// The log: events as lines. Pure.

import { count, money, percent, signed, took } from "./format.js";
import { arrived } from "./runs.js";
import { ended, fault, shown, title, worth } from "./words.js";

/** @typedef {{at: number, kind: "run" | "tick" | "edit" | "fault" | "socket", text: string}} Entry */

/** The lines that an event adds, given the state before it. @param {import("./state.js").State} state @param {import("./state.js").Event} event @returns {Entry[]} */
export function entriesOf(state, event) {
  const at = event.at;
  if (event.kind === "socket") return socketEntries(event, at);
  if (event.kind !== "message") return [];
  const line = lineOf(state, event.message);
  return line ? [{ at, kind: line[0], text: line[1] }] : [];
}

/** @param {Extract<import("./state.js").Event, {kind: "socket"}>} event @param {number} at @returns {Entry[]} */
function socketEntries({ phase, why = "", until = 0 }, at) {
  if (phase === "open") return [{ at, kind: "socket", text: "connected" }];
  if (phase === "connecting") return [];
  const again = phase === "waiting" ? `; connecting again in ${Math.ceil((until - at) / 1000)} s` : "";
  return [{ at, kind: "socket", text: `${why.replace(/\.$/, "")}${again}` }];
}

/** @param {import("./state.js").State} state @param {import("wire").ServerMessage} message @returns {[Entry["kind"], string] | null} */
function lineOf(state, message) {
  const run = !("run_id" in message) || message.run_id === undefined ? "" : `${message.ticker} run ${message.run_id}`;
  switch (message.type) {
    case "portfolio": {
      const held = Object.keys(message.holdings).length;
      if (state.portfolio?.version === message.version) return null;
      return ["edit", `version ${message.version}: ${worth(message.total_value, held)}`];
    }
    case "portfolio_update": {
      const before = state.update?.total_value ?? state.base?.total;
      const change = before === undefined ? "" : ` (${signed(message.total_value / before - 1, (part) => percent(part, 2))})`;
      return ["tick", `tick: ${money(message.total_value)}${change}${message.stale ? ", stale" : ""}`];
    }
    case "analysis_started":
      return ["run", `${run}: started, ${count(message.metrics.length, "metric")}`];
    case "analysis_result":
      return ["run", `${run}: ${title(message.metric).toLowerCase()} ${shown(message.metric, message.value, message.detail)}`];
    case "metric_error":
      return ["fault", `${run}: ${title(message.metric).toLowerCase()}: ${message.detail}`];
    case "analysis_completed":
      return ["run", `${run}: completed, ${count(message.results, "result")}${message.errors ? `, ${count(message.errors, "error")}` : ""}`];
    case "analysis_cancelled": {
      if (message.run_id === undefined) return ["run", "nothing ran that could be cancelled"];
      const in_ = message.cancelled_in_us === undefined ? "" : ` in ${took(message.cancelled_in_us)}`;
      return ["run", `${run}: cancelled after ${landed(state, message)}${in_}: ${ended(message.reason)}`];
    }
    case "analysis_failed":
      return ["fault", `${message.ticker}: ${message.detail}`];
    case "error":
      return message.code === "unknown_action" ? null : ["fault", `${message.code}: ${fault(message)}`];
    default:
      return null;
  }
}

/** @param {import("./state.js").State} state @param {import("wire").AnalysisCancelled} message */
function landed(state, message) {
  const { run } = state.runs;
  return run?.run_id === message.run_id && run ? `${arrived(run)} of ${run.metrics.length}` : "some";
}
