// Numbers and times as text. A missing number is a dash, never 0.

export const NONE = "–";
const MINUS = "−";

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** @param {number} value @param {number} least @param {number} most @returns {string} */
function decimal(value, least, most) {
  const key = `${least}/${most}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });
    formats.set(key, format);
  }
  const text = format.format(Math.abs(value));
  return value < 0 && /[1-9]/.test(text) ? MINUS + text : text;
}

/** @param {unknown} value @returns {value is number} */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** Currency units: cents up to a hundred thousand, then whole units. @param {unknown} value */
export function money(value) {
  if (!isNumber(value)) return NONE;
  const digits = Math.abs(value) < 99_999.995 ? 2 : 0;
  return decimal(value, digits, digits);
}

/** Currency units without cents. @param {unknown} value */
export function whole(value) {
  return isNumber(value) && Math.abs(value) >= 1_000 ? decimal(value, 0, 0) : money(value);
}

/** A fraction as per cent. @param {unknown} value @param {number} digits */
export function percent(value, digits = 1) {
  return isNumber(value) ? `${decimal(value * 100, digits, digits)} %` : NONE;
}

/** @param {unknown} value @param {number} digits */
export function fixed(value, digits = 2) {
  return isNumber(value) ? decimal(value, digits, digits) : NONE;
}

/** A number of shares: as many decimals as it has, at most nine. @param {unknown} value */
export function shares(value) {
  return isNumber(value) ? decimal(value, 0, 9) : NONE;
}

/** The text of a change, with its sign. @param {unknown} value @param {(value: unknown) => string} format */
export function signed(value, format) {
  if (!isNumber(value)) return NONE;
  const text = format(value);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** A number for an input field: no thousands separators, a plain minus. @param {number} value @param {number} digits */
export function plain(value, digits = 9) {
  return String(Number(value.toFixed(digits)));
}

/** The time of day of a time on the wire, in the user's time zone. @param {string | number | null | undefined} moment */
export function clock(moment) {
  if (moment === null || moment === undefined) return NONE;
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return NONE;
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** A duration in words. @param {number} seconds */
export function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86_400)} days`;
}

/** How long a cancellation took. @param {number} microseconds */
export function took(microseconds) {
  const milliseconds = microseconds / 1000;
  return milliseconds < 100 ? `${decimal(milliseconds, 1, 1)} ms` : `${decimal(milliseconds, 0, 0)} ms`;
}

/** One thing or several. @param {number} count @param {string} one @param {string} [many] */
export function count(count, one, many = `${one}s`) {
  return `${decimal(count, 0, 0)} ${count === 1 ? one : many}`;
}
