// A socket's life in node: what is lost is opened again after a pause, which a person may cut short.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Link, backoff } from "../../../portfolio_trio/web/static/socket.js";

/** @typedef {import("../../../portfolio_trio/web/static/state.js").Event} Event */

class Unreachable {
  /** @type {Unreachable[]} */
  static made = [];
  static end = { code: 1006, reason: "" };
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;

  constructor() {
    Unreachable.made.push(this);
    queueMicrotask(() => this.onclose?.(Unreachable.end));
  }

  close() {}
}

/** Until what awaits has gone on; no timer is mocked that this needs. */
async function settled() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test("an attempt that fails is repeated after its pause, or at once when somebody asks", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  context.mock.method(Math, "random", () => 1);
  Object.assign(globalThis, { WebSocket: Unreachable, fetch: () => Promise.reject(new Error("no server")) });
  /** @type {Event[]} */
  const told = [];
  const link = new Link("ws://nowhere/", () => null, (event) => told.push(event));
  const ended = link.run();
  await settled();
  assert.equal(Unreachable.made.length, 1);
  const last = told.at(-1);
  assert.equal(last?.kind === "socket" && last.phase === "waiting" && last.until, backoff(0, () => 1));

  context.mock.timers.tick(backoff(0, () => 1) - 1);
  await settled();
  assert.equal(Unreachable.made.length, 1);
  context.mock.timers.tick(1);
  await settled();
  assert.equal(Unreachable.made.length, 2);

  link.hurry();
  await settled();
  assert.equal(Unreachable.made.length, 3);
  link.stop();
  await ended;
});

test("a connection that was closed for too many requests is opened again after a pause that varies", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  context.mock.method(Math, "random", () => 0.5);
  Object.assign(Unreachable, { made: [], end: { code: 1008, reason: "rate_limited: too many requests" } });
  Object.assign(globalThis, { WebSocket: Unreachable, fetch: () => Promise.reject(new Error("no server")) });
  /** @type {Event[]} */
  const told = [];
  const link = new Link("ws://nowhere/", () => null, (event) => told.push(event));
  const ended = link.run();
  for (let attempt = 0; attempt < 3; attempt++) {
    await settled();
    assert.equal(Unreachable.made.length, attempt + 1);
    const last = told.at(-1);
    assert.equal(last?.kind === "socket" && last.phase, "waiting");
    context.mock.timers.tick(backoff(attempt, () => 0.5));
  }
  link.stop();
  await ended;
});
