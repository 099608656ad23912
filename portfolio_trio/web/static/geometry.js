// Geometry of drawings. Pure: numbers in, numbers and path texts out.

/** The range that all bars of a table share; it includes zero and some margin. @param {(number | null | undefined)[]} values @returns {[number, number]} */
export function extent(values) {
  let low = 0;
  let high = 0;
  for (const each of values) {
    if (typeof each !== "number" || !Number.isFinite(each)) continue;
    low = Math.min(low, each);
    high = Math.max(high, each);
  }
  if (low === 0 && high === 0) return [0, 1];
  const step = roundStep(high - low);
  return [low < 0 ? Math.floor(low / step) * step : 0, high > 0 ? Math.ceil(high / step) * step : 0];
}

/** About a fifth of a range, rounded, so that axes end on round numbers. @param {number} span */
export function roundStep(span) {
  const rough = span / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const lead = rough / power - 1e-6;
  return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
}

/** A scale from values to positions. @param {[number, number]} from @param {[number, number]} to */
export function scale([low, high], [start, end]) {
  const span = high - low || 1;
  return (/** @type {number} */ value) => start + ((value - low) / span) * (end - start);
}

/** A bar from zero to a value. @param {(value: number) => number} x @param {number} value @returns {{x: number, width: number}} */
export function bar(x, value) {
  const [zero, tip] = [x(0), x(value)];
  return { x: round(Math.min(zero, tip)), width: round(Math.abs(tip - zero)) };
}

/** A path through points, left to right. @param {number[]} values @param {(index: number) => number} x @param {(value: number) => number} y @param {number} [first] */
export function line(values, x, y, first = 0) {
  return values.map((value, index) => `${index ? "L" : "M"}${round(x(first + index))} ${round(y(value))}`).join("");
}

/** The path of a line, closed down to a level. @param {number[]} values @param {(index: number) => number} x @param {(value: number) => number} y @param {number} level @param {number} [first] */
export function area(values, x, y, level, first = 0) {
  if (!values.length) return "";
  const last = first + values.length - 1;
  return `${line(values, x, y, first)}L${round(x(last))} ${round(level)}L${round(x(first))} ${round(level)}Z`;
}

/** Lowest and highest of a series, with a small margin. @param {number[]} values @returns {[number, number]} */
export function range(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
  return [low - room, high + room];
}

/** How opaque the cell of a correlation is: some more if it is 0 than if it is not known. @param {number | null} correlation */
export function shade(correlation) {
  return correlation === null ? 0 : round(0.04 + 0.6 * Math.min(1, Math.abs(correlation)));
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100;
}
