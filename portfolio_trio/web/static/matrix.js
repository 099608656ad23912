// The correlation of each pair of holdings, as a heat map.

import { draw, el, say, set } from "./dom.js";
import { correlationsOf, whyNot } from "./decisions.js";
import { clock, fixed, isNumber } from "./format.js";
import { shade } from "./geometry.js";

/** @typedef {import("./state.js").State} State */

const CELL = 10;

/** @returns {{panel: HTMLElement, show: (state: State) => void}} */
export function mountMatrix() {
  const words = el("p", { class: "words", "aria-live": "polite" });
  const chart = draw("svg", { class: "heat", tabindex: 0, role: "img", preserveAspectRatio: "xMidYMid meet" });
  const panel = el("div", { class: "matrix" }, words, chart);
  let key = "";
  let at = { row: 0, column: 0 };
  /** @type {ReturnType<typeof correlationsOf>} */
  let shown = null;

  /** @param {number} row @param {number} column */
  function point(row, column) {
    const names = namesOf(shown);
    const last = names.length - 1;
    if (last < 0) return;
    at = { row: Math.max(0, Math.min(last, row)), column: Math.max(0, Math.min(last, column)) };
    const value = shown?.matrix?.[at.row]?.[at.column];
    say(words, `${names[at.row]} and ${names[at.column]}: ${isNumber(value) ? fixed(value) : "not known"}`);
    chart.querySelector(".point")?.remove();
    chart.append(draw("rect", { class: "point", x: at.column * CELL, y: at.row * CELL, width: CELL, height: CELL }));
  }

  chart.addEventListener("pointermove", (event) => {
    const cell = event.target instanceof SVGRectElement ? event.target.dataset : {};
    if (cell.row !== undefined) point(Number(cell.row), Number(cell.column));
  });
  chart.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    point(at.row + Number(move[0]), at.column + Number(move[1]));
  });

  return { panel, show(state) {
    if (panel.hidden) return;
    shown = correlationsOf(state);
    const why = whyNot(state, "correlations");
    const now = shown ? `${shown.key}` : `none ${why}`;
    if (now === key) return;
    key = now;
    const names = namesOf(shown);
    say(words, shown ? `Correlations of daily returns, newest weigh most; as of ${clock(shown.as_of)}. Point at a cell.` : why || "Computing.");
    set(chart, { viewBox: `${-labelRoom(names)} ${-2} ${names.length * CELL + labelRoom(names)} ${names.length * CELL + 4}`, "aria-label": `Correlations of ${names.length} holdings; arrow keys go from cell to cell` });
    chart.replaceChildren(...(shown ? cells(shown, names) : []));
  } };
}

/** @param {import("wire").Risk | null} answer @returns {string[]} */
function namesOf(answer) {
  return (answer?.holdings ?? []).map((row) => row.ticker);
}

/** @param {string[]} names */
function labelRoom(names) {
  return Math.max(0, ...names.map((name) => name.length)) * 4.2 + 4;
}

/** @param {import("wire").Risk} answer @param {string[]} names */
function* cells(answer, names) {
  for (const [row, name] of names.entries()) {
    yield draw("text", { x: -3, y: row * CELL + 7.2, "text-anchor": "end" }, name);
    for (const column of names.keys()) {
      const value = answer.matrix?.[row]?.[column] ?? null;
      yield draw("rect", {
        x: column * CELL + 0.4, y: row * CELL + 0.4, width: CELL - 0.8, height: CELL - 0.8,
        class: Number(value) < 0 && "against", "fill-opacity": shade(value), "data-row": row, "data-column": column,
      });
      if (names.length <= 10 && isNumber(value) && row !== column) {
        yield draw("text", { class: "in", x: (column + 0.5) * CELL, y: row * CELL + 6.6, "text-anchor": "middle" }, fixed(value, 1));
      }
    }
  }
}
