// Five tiles that fill one by one, and the end of the previous run.

import { button, byId, copyButton, el, mark, region, say, set } from "./dom.js";
import { clock, count, fixed, isNumber, took } from "./format.js";
import { arrived, goesOn } from "./runs.js";
import { runAge, table } from "./view.js";
import { carries, ended, fault, meaning, shown, title } from "./words.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Tile} Tile */

/** @param {import("./main.js").Actions} actions @returns {(state: State) => void} */
export function mountTiles(actions) {
  const root = byId("analysis", HTMLElement);
  const name = el("h2", { id: "analysis-title" }, "Analysis");
  const note = el("p", { class: "note" });
  const cancel = button({ click: () => actions.cancel() }, "Cancel");
  const again = button({ click: () => actions.again() }, "Run again");
  const follow = el("input", { type: "checkbox", change: () => actions.follow(follow.checked) });
  const followed = el("label", { class: "check", title: "Run again after every tick and edit" }, follow, "Follow");
  const ghost = makeGhost();
  const list = el("ol", { class: "tiles" });
  const most = el("p", { class: "most" });
  const empty = el("div", { class: "empty" }, most, "Choose a holding to see what it does to the portfolio: five numbers from one snapshot, each as it is ready.");
  root.append(
    el("header", {}, name, note, el("span", { class: "tools" }, followed, again, cancel)),
    region("Results", ghost.root, list, empty));
  /** @type {Map<string, ReturnType<typeof makeTile>>} */
  let tiles = new Map();
  let shownRun = "";

  return (state) => {
    const { runs: { run, ghost: before }, pending } = state;
    const ticker = pending?.ticker ?? run?.ticker;
    say(name, ticker ? `Analysis of ${ticker}` : "Analysis");
    say(note, noteOf(state));
    const running = Boolean(pending) || goesOn(run);
    cancel.hidden = !running;
    again.hidden = running || !run || state.socket.phase !== "open";
    followed.hidden = Boolean(state.unknown.follow);
    follow.disabled = state.socket.phase !== "open";
    if (follow.checked !== state.follow) follow.checked = state.follow;
    ghost.show(before ?? (run?.phase === "cancelled" && !pending ? run : null));
    const metrics = run && !pending ? run.metrics : [];
    const key = run && !pending ? `${run.ticker}/${metrics.join()}` : "";
    if (key !== shownRun) {
      // Another ticker gets new tiles, so that nothing of the previous one is left on them.
      shownRun = key;
      tiles = new Map(metrics.map((metric) => [metric, makeTile(metric)]));
      list.replaceChildren(...[...tiles.values()].map((tile) => tile.root));
    }
    empty.hidden = Boolean(run || pending);
    if (!empty.hidden) say(most, mostRisk(state));
    mark(root, "old", runAge(state) !== "");
    if (run) for (const [metric, tile] of tiles) tile.show(run, run.tiles[metric]);
  };
}

/** How the run ended, and whether that still holds. @param {State} state */
export function noteOf(state) {
  const { runs: { run }, pending } = state;
  if (pending) return "starting";
  if (!run) return "";
  if (run.phase === "failed" && run.failure) return fault(run.failure);
  const old = run.phase === "lost" ? "" : runAge(state);
  if (old) return old;
  const of = `run ${run.run_id}, as of ${clock(run.as_of)}`;
  if (run.phase === "running") return `${of}: ${arrived(run)} of ${run.metrics.length}`;
  if (run.phase === "lost") return `${of}: the connection was lost before its end`;
  return run.following ? `${of}; following` : of;
}

/** Where the risk is, before anything is analysed. @param {State} state */
function mostRisk(state) {
  const first = table(state).rows[0];
  return first && isNumber(first.risk) ? carries(first.ticker, first.weight, first.risk) : "";
}

/** A cancelled run: the results it had, those it lacked, and its end. */
function makeGhost() {
  const cells = el("span", { class: "cells" });
  const text = el("p");
  const root = el("div", { class: "ghostrun", hidden: true }, text, cells);
  let drawn = "";
  return {
    root,
    show(/** @type {Run | null} */ run) {
      root.hidden = !run;
      if (!run) return;
      const fast = run.took === null ? "" : ` in ${took(run.took)}`;
      const late = run.late
        ? `${count(run.late, "result")} of it came afterwards and ${run.late === 1 ? "was" : "were"} dropped`
        : "nothing of it arrived afterwards";
      say(text, `${run.ticker} cancelled after ${arrived(run)} of ${run.metrics.length}${fast}; ${late}.`);
      set(text, { title: `Run ${run.run_id}: ${ended(run.reason ?? "")}` });
      const key = `${run.ticker} ${run.run_id} ${run.tick_id} ${Object.keys(run.tiles)}`;
      if (key === drawn) return;
      drawn = key;
      cells.replaceChildren(...run.metrics.map((metric) => el("span", { class: run.tiles[metric] ? "had" : "lost" }, title(metric))));
    },
  };
}

/** @param {string} metric */
function makeTile(metric) {
  const number = el("span", { class: "number" });
  const words = el("p", { class: "words" });
  const facts = el("dl", { class: "facts" });
  /** @type {Tile["message"] | null} */
  let message = null;
  const receipt = copyButton("Copy receipt", () => message && JSON.stringify(message), { class: "quiet", title: "The result with the holdings and prices it was computed from, for portfolio-trio replay" });
  const more = el("details", {}, el("summary", {}, el("span", { class: "unseen" }, `${title(metric)}: `), "Detail"), facts, receipt);
  const root = el("li", { class: "tile" }, el("h3", {}, title(metric)), number, words, more);

  return { root, show(/** @type {Run} */ run, /** @type {Tile | undefined} */ tile) {
    const running = run.phase === "running";
    set(root, { "data-state": tile ? (tile.error ? "error" : "done") : running ? "waiting" : "none", "aria-busy": !tile && running ? "true" : null });
    more.hidden = !tile || tile.error !== null;
    if (message === (tile?.message ?? null) && tile) return;
    message = tile?.message ?? null;
    if (!tile) {
      say(number, running ? "…" : "–");
      say(words, running ? "computing" : run.phase === "cancelled" ? "stopped before it had a number" : "no number");
    } else if (tile.error) {
      say(number, "–");
      say(words, fault(tile.error));
    } else if ("value" in tile.message) {
      say(number, shown(metric, Number(tile.value), tile.message.detail));
      say(words, meaning(metric, { ticker: run.ticker, value: Number(tile.value), detail: tile.message.detail }));
      facts.replaceChildren(...factsOf(tile.message));
    }
  } };
}

/** @param {Tile["message"]} message */
function* factsOf(message) {
  if (!("value" in message)) return;
  yield* fact("Value", message.value);
  for (const [name, value] of Object.entries(message.detail ?? {})) yield* fact(name.replaceAll("_", " "), value);
  yield* fact("Last close", message.last_bar);
  yield* fact("Run", String(message.run_id));
  yield* fact("Tick", String(message.tick_id));
  yield* fact("Snapshot", message.snapshot);
}

/** @param {string} name @param {unknown} value */
function* fact(name, value) {
  const text = isNumber(value) ? fixed(value, Number.isInteger(value) ? 0 : 4) : value === true ? "yes" : value === false ? "no" : String(value ?? "–");
  yield el("dt", {}, name);
  yield el("dd", { title: isNumber(value) ? String(value) : text }, text);
}
