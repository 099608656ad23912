// Two columns, ticker and shares, from pasted text: spreadsheets and brokers' exports. Pure.

export const TICKER = /^[A-Z0-9^][A-Z0-9.\-=^&/_:]{0,31}$/;
const MAX_SHARES = 1e15;
const MAX_LINES = 500;
const HEAD_LINES = 40;
const TICKER_HEADS = ["ticker", "symbol", "instrument", "stock", "name", "security", "asset", "company"];
const SHARE_HEADS = ["shares", "quantity", "qty", "units", "position", "holding", "holdings"];
const MONEY = /\b(value|amount|price|cost|gain|change|worth)\b|[$€£¥%]/i;
const DECIMAL_COMMA = /^[+-]?(\d+,(?!\d{3}$)\d+|(0|\d{4,}),\d+|\d{1,3}(\.\d{3})+,\d+)$/;
const EITHER = /^[+-]?[1-9]\d{0,2}[.,]\d{3}$/;

/**
 * @typedef {{line: number, text: string, why: string}} Refused
 * @typedef {{line: number, text: string, cells: string[]}} Row
 * @typedef {{at: number, ticker: number, shares: number, width: number}} Head the row of the header, or -1; a column that is not there is -1
 * @typedef {{holdings: Record<string, number>, refused: Refused[], notes: string[]}} Pasted
 */

/** Parse a pasted text. @param {string} text @returns {Pasted} */
export function parsePaste(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const separator = separatorOf(lines);
  const rows = lines.map((raw, at) => ({ line: at + 1, text: raw.trim().slice(0, 80), cells: split(raw, separator) })).filter(({ text }) => text);
  const head = headOf(rows);
  if (head.shares < 0) {
    const { line, text } = /** @type {Row} */ (rows[head.at]);
    return { holdings: {}, refused: [{ line, text, why: "nothing is read: no column is named shares, quantity or units" }], notes: [] };
  }
  const decimalComma = rows.some(({ cells }) => DECIMAL_COMMA.test(cells[head.shares] ?? ""));
  /** @type {Map<string, number>} */
  const holdings = new Map();
  /** @type {Refused[]} */
  const refused = [];
  /** @type {Map<string, number>} */
  const lots = new Map();
  rows.forEach(({ line, text, cells }, at) => {
    if (at === head.at) return;
    const read = at < head.at ? "above the header" : readLine(cells, head, separator, decimalComma);
    if (typeof read === "string") {
      refused.push({ line, text, why: read });
      return;
    }
    const [ticker, shares] = read;
    lots.set(ticker, (lots.get(ticker) ?? 0) + 1);
    holdings.set(ticker, (holdings.get(ticker) ?? 0) + shares);
  });
  const entries = [...holdings].map(([ticker, shares]) => /** @type {const} */ ([ticker, Number(shares.toFixed(9))]));
  for (const [ticker] of entries.splice(MAX_LINES)) {
    refused.push({ line: 0, text: ticker, why: `a portfolio has at most ${MAX_LINES} names` });
  }
  const notes = [...lots].filter(([, lines]) => lines > 1).map(([ticker, lines]) => `${ticker}: ${lines} lines added up`);
  return { holdings: Object.fromEntries(entries), refused, notes };
}

/** @param {string[]} cells @param {Head} head @param {string} separator @param {boolean} decimalComma @returns {[string, number] | string} */
function readLine(cells, head, separator, decimalComma) {
  if (cells.length < 2) return "one column; a line is a ticker and a number of shares";
  const ticker = (cells[head.ticker] ?? "").toUpperCase();
  if (!ticker) return "no ticker";
  if (!TICKER.test(ticker)) return `${ticker.slice(0, 40)} is no ticker`;
  const written = cells[head.shares] ?? "";
  // A number that was cut at its thousands has one cell too many.
  if (cells.findLastIndex(Boolean) >= head.width) return "more cells than columns: which is the number of shares?";
  if (!written) return "no number of shares";
  if (decimalComma && EITHER.test(written)) return `${written} is unclear: other lines have a decimal comma`;
  const shares = readNumber(written, separator);
  if (shares === null) return `${written.slice(0, 40)} is no number of shares`;
  if (Math.abs(shares) > MAX_SHARES) return "more shares than a portfolio can hold";
  if (shares === 0) return "zero shares";
  return [ticker, shares];
}

/** The header: the first of the first rows that names both columns; one that names money alone has no shares. @param {Row[]} rows @returns {Head} */
function headOf(rows) {
  const heads = rows.slice(0, HEAD_LINES).map(({ cells }, at) => {
    const find = (/** @type {string[]} */ names) => names.map((name) => cells.findIndex((cell) => !MONEY.test(cell) && cell.toLowerCase().split(/[^a-z]+/).includes(name))).find((found) => found >= 0) ?? -1;
    const words = cells.filter(Boolean);
    const named = words.length > 1 && !words.some((cell) => /^[^a-z]*\d[^a-z]*$/i.test(cell));
    return { at, ticker: find(TICKER_HEADS), shares: find(SHARE_HEADS), width: cells.length, named, money: words.some((cell) => MONEY.test(cell)) };
  }).filter(({ named }) => named);
  const both = heads.find(({ ticker, shares }) => ticker >= 0 && shares >= 0 && ticker !== shares);
  if (both) return both;
  const [first] = heads;
  if (first?.at === 0 && first.shares > 0) return { ...first, ticker: 0 };
  const money = heads.find((head) => head.money);
  return money ? { ...money, shares: -1 } : { at: -1, ticker: 0, shares: 1, width: 2 };
}

/** The separator of the cells: one that every line contains. @param {string[]} lines */
function separatorOf(lines) {
  const full = lines.filter((line) => line.trim());
  for (const each of ["\t", ";", ","]) {
    if (full.length && full.filter((line) => line.includes(each)).length * 2 > full.length) return each;
  }
  return " ";
}

/** The cells of a line; quoted ones may contain the separator. @param {string} line @param {string} separator @returns {string[]} */
function split(line, separator) {
  if (separator === " ") return line.trim().split(/\s+/);
  /** @type {string[]} */
  const cells = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? "";
    if (char === '"') {
      if (quoted && line[at + 1] === '"') cell += line[++at];
      else quoted = !quoted;
    } else if (char === separator && !quoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += char;
  }
  return [...cells, cell.trim()];
}

/** A number in a common notation: 1,234.5 or 1.234,5 or (12); null if it is not a number. @param {string} text @param {string} separator @returns {number | null} */
export function readNumber(text, separator = "\t") {
  let cleaned = text.replace(/[\s\u00A0\u202F'’]/g, "").replace(/^[−–]/, "-");
  const bracketed = /^\((.+)\)$/.exec(cleaned);
  if (bracketed) cleaned = `-${bracketed[1]}`;
  if (/^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$/.test(cleaned)) cleaned = cleaned.replaceAll(",", "");
  else if (/^[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?$|^[+-]?\d{1,3}(\.\d{3})+,\d+$/.test(cleaned)) {
    cleaned = cleaned.replaceAll(".", "").replace(",", ".");
  } else if (separator !== "," && /^[+-]?\d+,\d+$/.test(cleaned)) cleaned = cleaned.replace(",", ".");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(cleaned)) return null;
  const number = Number(cleaned);
  return Number.isFinite(number) ? number : null;
}
