// One session's socket: opened, monitored, and opened again after a growing, random pause.

import { closed, worthReconnecting } from "./words.js";

const FIRST = 250;
const LONGEST = 30_000;
const LASTED = 30_000;
const ANSWER = 5_000;

/** Milliseconds before an attempt, counted from 0: half of it fixed, half of it random. @param {number} attempt @param {() => number} random */
export function backoff(attempt, random) {
  return Math.min(LONGEST, FIRST * 2 ** Math.min(attempt, 16)) * (0.5 + random() / 2);
}

/** The retry delay that the server suggests, in milliseconds. @param {string} reason */
export function retryAfter(reason) {
  const found = /retry_after=([0-9.]+)/.exec(reason);
  return found ? Math.min(Number(found[1]) * 1000, LONGEST) : 0;
}

export class Link {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {(() => void) | null} */
  #hurry = null;
  #stopped = false;
  #heard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #doubt;

  /**
   * @param {string} url
   * @param {() => string | null} token what opens the session, where the server asks for it
   * @param {(event: import("./state.js").Happening) => void} dispatch
   */
  constructor(url, token, dispatch) {
    this.url = url;
    this.token = token;
    this.dispatch = dispatch;
  }

  /** Milliseconds since the last message of the server. */
  get silence() {
    return Date.now() - this.#heard;
  }

  /** Stay connected until `stop`, or until only the user can help. */
  async run() {
    let attempt = 0;
    while (!this.#stopped) {
      this.dispatch({ kind: "socket", phase: "connecting", why: "" });
      const began = Date.now();
      const { code, reason, opened } = await this.#connection();
      if (this.#stopped) return;
      const { why, token } = closed(code, reason);
      if (!worthReconnecting(code, reason)) {
        this.dispatch({ kind: "socket", phase: "ended", why, token });
        return;
      }
      if (opened && Date.now() - began > LASTED) attempt = 0;
      const told = opened ? why : await reasonOf();
      const pause = Math.max(backoff(attempt++, Math.random), retryAfter(reason));
      this.dispatch({ kind: "socket", phase: "waiting", why: told, until: Date.now() + pause });
      await this.#pause(pause);
    }
  }

  /** One connection, from its first byte to its end. @returns {Promise<{code: number, reason: string, opened: boolean}>} */
  #connection() {
    return new Promise((resolve) => {
      const socket = new WebSocket(this.url, "portfolio.v1");
      let opened = false;
      this.#socket = socket;
      const end = (/** @type {number} */ code, /** @type {string} */ reason) => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        clearTimeout(this.#doubt);
        this.#doubt = undefined;
        if (this.#socket === socket) this.#socket = null;
        resolve({ code, reason, opened });
      };
      socket.onopen = () => {
        opened = true;
        this.#heard = Date.now();
        const token = this.token();
        if (token) socket.send(JSON.stringify({ action: "authenticate", token }));
        this.dispatch({ kind: "socket", phase: "open" });
      };
      socket.onmessage = ({ data }) => {
        this.#heard = Date.now();
        clearTimeout(this.#doubt);
        this.#doubt = undefined;
        this.dispatch({ kind: "message", message: JSON.parse(data) });
      };
      socket.onclose = ({ code, reason }) => end(code, reason);
      // A peer that is gone does not answer a close, and the browser would wait for it.
      this.drop = (/** @type {string} */ reason) => {
        socket.close();
        end(1006, reason);
      };
    });
  }

  /** @type {(reason: string) => void} */
  drop = () => {};

  /** Send a request; false if there is no connection. @param {Record<string, unknown>} request */
  send(request) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(request));
    return true;
  }

  /** Probe the connection; without an answer it counts as lost. */
  probe() {
    if (this.#doubt !== undefined || !this.send({ action: "get_portfolio", id: "probe" })) return;
    this.#doubt = setTimeout(() => this.drop("silent"), ANSWER);
  }

  /** Do not wait for the next attempt. */
  hurry() {
    this.#hurry?.();
  }

  /** Close it permanently. */
  stop() {
    this.#stopped = true;
    this.#hurry?.();
    this.drop("");
  }

  /** @param {number} milliseconds @returns {Promise<void>} */
  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Why a socket did not open: browsers do not say, so ask the server. */
async function reasonOf() {
  try {
    const answer = await fetch("/ready", { cache: "no-store" });
    const { reasons } = await answer.json();
    return reasons?.length ? `The server is not ready: ${reasons[0]}.` : "The server takes no more connections from here at the moment.";
  } catch {
    return "The server cannot be reached.";
  }
}
