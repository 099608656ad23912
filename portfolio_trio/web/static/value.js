// How today's holdings would have performed over a year, with the live ticks at the end.

import { draw, el, say, set } from "./dom.js";
import { historyOf, whyNot } from "./decisions.js";
import { clock, percent, whole } from "./format.js";
import { area, line, range, scale } from "./geometry.js";

/** @typedef {import("./state.js").State} State */

const [WIDTH, HEIGHT, PAST] = [1000, 300, 880];

/** @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountValue() {
  const marks = {
    fall: draw("path", { class: "fall" }),
    past: draw("path", { class: "past" }),
    divide: draw("line", { class: "divide", y1: 0, y2: HEIGHT }),
    live: draw("path", { class: "live" }),
    now: draw("path", { class: "now" }),
  };
  const chart = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, ...Object.values(marks));
  const [top, bottom, first, last] = [el("span"), el("span"), el("span"), el("span")];
  const words = el("p", { class: "words" });
  const panel = el("div", { class: "value" }, words,
    el("div", { class: "chart" }, el("div", { class: "yaxis", "aria-hidden": "true" }, top, bottom), chart),
    el("div", { class: "xaxis", "aria-hidden": "true" }, first, last));
  let key = "";

  return { panel, show(state) {
    if (panel.hidden) return;
    const history = historyOf(state);
    const now = `${history?.key ?? ""}/${state.ticks.at(-1)?.tick_id ?? ""}/${state.portfolio?.version}/${whyNot(state, "history")}`;
    if (now === key) return;
    key = now;
    const past = /** @type {number[]} */ (history?.values ?? []);
    const live = liveOf(state, history);
    const sentence = wordsOf(state, history);
    say(words, sentence);
    set(chart, { "aria-label": sentence });
    const short = past.length + live.length < 2;
    chart.toggleAttribute("hidden", short);
    if (short) return;
    const reach = range([...past, ...live]);
    const y = scale(reach, [HEIGHT, 0]);
    const start = past.length ? PAST : 0;
    const x = scale([0, Math.max(1, past.length - 1)], [0, PAST]);
    const later = scale([0, Math.max(1, live.length - 1)], [start, WIDTH]);
    set(marks.past, { d: line(past, x, y) });
    set(marks.live, { d: line(live, later, y) });
    const tip = later(live.length - 1);
    set(marks.now, { d: live.length ? `M${tip} ${y(/** @type {number} */ (live.at(-1)))}h0` : "" });
    set(marks.divide, { x1: start, x2: start, visibility: past.length ? null : "hidden" });
    set(marks.fall, { d: fallOf(history, past, x, y) });
    say(top, whole(reach[1]));
    say(bottom, whole(reach[0]));
    say(first, history?.dates?.[0] ?? clock(state.ticks[0]?.as_of));
    say(last, `tick ${clock(state.ticks.at(-1)?.as_of ?? history?.as_of)}`);
  } };
}

/** The ticks since the page was opened; without any, the value at the history's tick. @param {State} state @param {import("wire").History | null} history @returns {number[]} */
function liveOf(state, history) {
  const ticks = state.ticks.map((tick) => tick.total);
  const first = state.ticks.length ? state.base : null;
  if (ticks.length > 1 || !state.portfolio) return ticks;
  return [first?.total ?? history?.value ?? state.portfolio.total_value, ...ticks];
}

/** The deepest fall, from its peak to its trough, under the line. @param {import("wire").History | null} history @param {number[]} past @param {(index: number) => number} x @param {(value: number) => number} y */
function fallOf(history, past, x, y) {
  const fall = history?.drawdown;
  if (!fall) return "";
  const from = history.dates.indexOf(fall.peak);
  return from < 0 ? "" : area(past.slice(from, history.dates.indexOf(fall.trough) + 1), x, y, HEIGHT, from);
}

/** @param {State} state @param {import("wire").History | null} history */
function wordsOf(state, history) {
  if (!history) {
    const why = whyNot(state, "history");
    return why ? `${why} These are the ticks since the page was opened.` : "Waiting for the closes.";
  }
  const fall = history.drawdown
    ? ` Deepest fall: ${percent(history.drawdown.depth)} of gross value, ${history.drawdown.peak} to ${history.drawdown.trough}.`
    : "";
  return `Today’s holdings at the closes since ${history.since}; no past trades, no dividends.${fall}`;
}
