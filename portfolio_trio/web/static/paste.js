// Two columns, ticker and shares, from pasted text: spreadsheets and brokers' exports. Pure.

export const TICKER = /^[A-Z0-9^][A-Z0-9.\-=^&/_:]{0,31}$/;
const MAX_SHARES = 1e15;
const MAX_LINES = 500;
const TICKER_HEADS = ["ticker", "symbol", "instrument", "stock", "name", "security"];
const SHARE_HEADS = ["shares", "quantity", "qty", "units", "amount", "position", "holding", "holdings"];

/**
 * @typedef {{line: number, text: string, why: string}} Refused
 * @typedef {{holdings: Record<string, number>, refused: Refused[], notes: string[]}} Pasted
 */

/** Parse a pasted text. @param {string} text @returns {Pasted} */
export function parsePaste(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const separator = separatorOf(lines);
  /** @type {Map<string, number>} */
  const holdings = new Map();
  /** @type {Refused[]} */
  const refused = [];
  /** @type {Map<string, number>} */
  const lots = new Map();
  let columns = { ticker: 0, shares: 1 };
  let started = false;
  lines.forEach((raw, index) => {
    if (!raw.trim()) return;
    const cells = split(raw, separator);
    const heads = started ? null : headsOf(cells);
    started = true;
    if (heads) {
      columns = heads;
      return;
    }
    const read = readLine(cells, columns, separator);
    if (typeof read === "string") {
      refused.push({ line: index + 1, text: raw.trim().slice(0, 80), why: read });
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

/** @param {string[]} cells @param {{ticker: number, shares: number}} columns @param {string} separator @returns {[string, number] | string} */
function readLine(cells, columns, separator) {
  if (cells.length < 2) return "one column; a line is a ticker and a number of shares";
  const ticker = (cells[columns.ticker] ?? "").toUpperCase();
  if (!ticker) return "no ticker";
  if (!TICKER.test(ticker)) return `${ticker.slice(0, 40)} is no ticker`;
  const written = cells[columns.shares] ?? "";
  if (!written) return "no number of shares";
  const shares = readNumber(written, separator);
  if (shares === null) return `${written.slice(0, 40)} is no number of shares`;
  if (Math.abs(shares) > MAX_SHARES) return "more shares than a portfolio can hold";
  if (shares === 0) return "zero shares";
  return [ticker, shares];
}

/** The columns named in the first line, if any. @param {string[]} cells */
function headsOf(cells) {
  const words = cells.map((cell) => cell.toLowerCase().replace(/[^a-z]+/g, " ").trim());
  const find = (/** @type {string[]} */ heads) => heads.map((head) => words.findIndex((word) => word.split(" ").includes(head))).find((at) => at >= 0);
  const shares = find(SHARE_HEADS);
  if (shares === undefined || readNumber(cells[shares] ?? "", ";") !== null) return null;
  return { ticker: find(TICKER_HEADS) ?? 0, shares };
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
  if (/^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$/.test(cleaned)) cleaned = cleaned.replaceAll(",", "");
  else if (/^[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?$|^[+-]?\d{1,3}(\.\d{3})+,\d+$/.test(cleaned)) {
    cleaned = cleaned.replaceAll(".", "").replace(",", ".");
  } else if (separator !== "," && /^[+-]?\d+,\d+$/.test(cleaned)) cleaned = cleaned.replace(",", ".");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(cleaned)) return null;
  const number = Number(cleaned);
  return Number.isFinite(number) ? number : null;
}
