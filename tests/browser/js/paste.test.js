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

test("the header may come after titles, and prices are never shares", () => {
  const etrade = `Account Summary

Account,Net Account Value,Total Gain $,Total Gain %
"Individual -1234",25000.00,1000.00,4.17

Symbol,Last Price $,Change $,Quantity,Price Paid $,Value $
AAPL,182.31,1.2,10,150.10,1823.10
MSFT,402.56,-1.1,5,300,2012.80
CASH,,,,,500.00
TOTAL,,,,4000,4335.90

Generated at Jan 05 2024 10:01 AM ET`;
  const read = parsePaste(etrade);
  assert.deepEqual(read.holdings, { AAPL: 10, MSFT: 5 });
  assert.deepEqual(read.refused.map(({ line }) => line), [1, 3, 4, 9, 10, 12], "and each line that was left out is named");
  assert.equal(read.refused[0].why, "above the header");
  const schwab = '"Positions for account ...123 as of 10:00 AM ET, 2024/01/01"\n\n"Symbol","Description","Price","Qty (Quantity)"\n"AAPL","APPLE INC","182.31","10"\n"Account Total","--","--","--"';
  assert.deepEqual(holdings(schwab), { AAPL: 10 });
  assert.deepEqual(holdings("My portfolio\nSymbol\tPrice\tShares\nAAPL\t182.31\t10\nMSFT\t402.56\t5"), { AAPL: 10, MSFT: 5 });
  assert.deepEqual(holdings("Symbol,Share price,Units\nAAPL,10,7"), { AAPL: 7 });
  assert.deepEqual(holdings("Symbol,Shares price,Units\nAAPL,1000,7"), { AAPL: 7 });
  assert.deepEqual(holdings("Ticker,Cost per share,Amount,Quantity held\nAAPL,10,1000,7"), { AAPL: 7 });
  assert.deepEqual(holdings("Position,Shares\nAAPL,7"), { AAPL: 7 });
});

test("where no column can be told as shares nothing is read, and it is said why", () => {
  const pastes = ["Ticker,Position value,Number\nAAPL,1823.10,10", "Symbol,Amount ($),No.\nAAPL,1000,7", "Ticker,Holding value\nAAPL,1823.10",
    "My money\nTicker\tAmount\nAAPL\t1000", "Paper,Price\nAAPL,182.31"];
  for (const text of pastes) {
    const { holdings: held, refused } = parsePaste(text);
    assert.deepEqual(held, {}, text);
    assert.match(refused[0].why, /no column is named shares/);
  }
});

test("a number that was cut in two is no number of shares", () => {
  for (const text of ["AAPL 1 200\nKO 75", "AAPL,1,200\nKO,75", "Ticker,Shares\nAAPL,1,200\nKO,75,"]) {
    const { holdings: held, refused } = parsePaste(text);
    assert.deepEqual(held, { KO: 75 }, text);
    assert.match(refused[0].text, /AAPL/);
    assert.match(refused[0].why, /more cells/);
  }
});

test("beside a decimal comma, what may be thousands is refused", () => {
  const { holdings: held, refused } = parsePaste("AAPL;10,5\nMSFT;1,234\nSAP;2,75\nVOW;1.500\nKO;1.234,5");
  assert.deepEqual(held, { AAPL: 10.5, SAP: 2.75, KO: 1234.5 });
  assert.deepEqual(refused.map(({ text }) => text), ["MSFT;1,234", "VOW;1.500"]);
  assert.match(refused[0].why, /1,234 is unclear/);
  assert.deepEqual(holdings("AAPL\t10.5\nMSFT\t1,234"), { AAPL: 10.5, MSFT: 1234 });
  assert.deepEqual(holdings("AAPL\t$100\nKO\t12%\nMSFT\t75"), { MSFT: 75 });
  assert.deepEqual(holdings("AAPL\t0,123"), { AAPL: 0.123 });
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
