// Tables as text for spreadsheets (RFC 4180). Pure.

/** Rows of cells as CSV. Cells that a spreadsheet would take for formulas are kept as text. @param {(string | number | null)[][]} rows @returns {string} */
export function csv(rows) {
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** @param {string | number | null} value */
function cell(value) {
  if (value === null) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
