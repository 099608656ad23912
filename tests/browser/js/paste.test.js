import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePaste, readNumber } from "../../../portfolio_trio/web/static/paste.js";

const holdings = (text) => parsePaste(text).holdings;

test("two columns of a spreadsheet", () => {
  assert.deepEqual(holdings("AAPL\t100\r\nbrk-b\t-2.5\r\n\r\n"), { AAPL: 100, "BRK-B": -2.5 });
  assert.deepEqual(holdings("AAPL 100\nMSFT   75"), { AAPL: 100, MSFT: 75 });
  assert.deepEqual(holdings("AAPL,100\nMSFT,75"), { AAPL: 100, MSFT: 75 });
});

test("a broker's export: the columns are found by their names", () => {
  const text = '\uFEFFAccount,Symbol,Description,Quantity,"Price, last"\n1,AAPL,"Apple, Inc.","1,200",190\n1,MSFT,Microsoft,75,400\n';
  assert.deepEqual(holdings(text), { AAPL: 1200, MSFT: 75 });
  assert.deepEqual(holdings("Ticker;Quantity\n0700.HK;1.234,5\nSAP.DE;12,5"), { "0700.HK": 1234.5, "SAP.DE": 12.5 });
});

test("lots are added up, and that is said", () => {
  const { holdings: held, notes } = parsePaste("AAPL\t1\nAAPL\t2.5\nMSFT\t1");
  assert.deepEqual(held, { AAPL: 3.5, MSFT: 1 });
  assert.deepEqual(notes, ["AAPL: 2 lines added up"]);
});

test("each refused line is named, with its number and the reason", () => {
  const { holdings: held, refused } = parsePaste("AAPL\t100\nTotal value\t\nMSFT\tmany\n\n$$$\t5\nGE\t0\nlonely\nKO\t1e16");
  assert.deepEqual(held, { AAPL: 100 });
  assert.deepEqual(refused.map(({ line }) => line), [2, 3, 5, 6, 7, 8]);
  assert.match(refused[0].why, /TOTAL VALUE is no ticker/);
  assert.match(refused[1].why, /many is no number/);
  assert.match(refused[3].why, /zero/);
  assert.match(refused[4].why, /one column/);
});

test("no more names than a portfolio holds", () => {
  const { holdings: held, refused } = parsePaste(Array.from({ length: 502 }, (_, at) => `N${at}\t1`).join("\n"));
  assert.equal(Object.keys(held).length, 500);
  assert.equal(refused.length, 2);
});

test("numbers as people write them", () => {
  /** @type {[string, number | null][]} */
  const cases = [
    ["1,234.5", 1234.5], ["1,234", 1234], ["1 234", 1234], ["1'234.5", 1234.5], ["(12)", -12], ["−3", -3], ["+4", 4], [".5", 0.5],
    ["1.234.567", 1234567], ["1.234,56", 1234.56], ["12,5", 12.5], ["1e3", 1000], ["", null], ["-", null], ["12x", null],
    ["1,23,4", null], ["Infinity", null], ["NaN", null], ["0x10", null],
  ];
  for (const [text, number] of cases) assert.equal(readNumber(text), number, text);
});

test("whatever is pasted, nothing is thrown and no number is other than finite", () => {
  const letters = "A1\t,; .-()\"'\n%eé−";
  for (let round = 0; round < 2_000; round++) {
    const text = Array.from({ length: 30 }, () => letters[Math.floor(Math.random() * letters.length)]).join("");
    for (const held of Object.values(parsePaste(text).holdings)) assert.ok(Number.isFinite(held));
  }
});
