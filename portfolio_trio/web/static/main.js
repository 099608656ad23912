// The page: one state, one socket, eight views. Messages and clicks become events; events become the next state;
// the screen is drawn from it once per frame, and due requests are sent.

import { due, suspicious } from "./asks.js";
import { budgetTrade, hedgeTrade } from "./decisions.js";
import { button, byId, el, say, speak } from "./dom.js";
import { mountEditor } from "./editor.js";
import { shares } from "./format.js";
import { mountHoldings } from "./holdings.js";
import { mountLog } from "./log.js";
import { mountMatrix } from "./matrix.js";
import { mountPlan } from "./plan.js";
import { goesOn } from "./runs.js";
import { Refusal, halfLife, keepToken, lastSession, openSession, remember, sessionIn, tokenOf } from "./session.js";
import { Link, backoff } from "./socket.js";
import { editionOf, initial, isBusy, reduce } from "./state.js";
import { mountStrip } from "./strip.js";
import { mountTabs } from "./tabs.js";
import { mountTiles } from "./tiles.js";
import { mountValue } from "./value.js";
import { mountWhatIf } from "./whatif.js";

/** @typedef {ReturnType<typeof makeActions>} Actions */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Happening} Happening */

const SECOND = 1_000;
const NOTICE = 8_000;
const AGAIN = 60_000;

let state = initial(Date.now());
/** @type {Link | null} */
let link = null;
let drawing = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let patience;
let changes = 0;
let starts = 0;
// When to ask for a fresh token: an open socket outlives its token, but the next one would be refused.
let renewal = Infinity;

/** @param {Happening} event */
function dispatch(event) {
  state = reduce(state, { ...event, at: Date.now() });
  ask();
  if (!followed(event)) drawSoon();
  else if (!drawing) patience ??= setTimeout(drawSoon, state.risk ? 40 : 100);
}

/** Whether more messages of the same tick are milliseconds away, a little more at first: draw them together. @param {Happening} event */
function followed(event) {
  if (event.kind !== "message") return false;
  const { message } = event;
  if (message.type === "risk") return state.asked.what_if?.open;
  return message.type.startsWith("portfolio") && (state.asked.risk?.open || state.asked.what_if?.open);
}

function drawSoon() {
  clearTimeout(patience);
  patience = undefined;
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

/** Send due requests. A hidden page requests nothing. */
function ask() {
  if (document.hidden) return;
  for (const { what, key, request } of due(state)) {
    if (!link?.send({ ...request, id: what })) return;
    state = reduce(state, { kind: "asked", what, key, at: Date.now() });
  }
}

/** Send a change of the holdings that somebody looked at; its answer ends it. @param {string} kind @param {string} what @param {string} edition @param {Record<string, unknown>} request */
function change(kind, what, edition, request) {
  const id = `${kind}:${++changes}`;
  const version = state.portfolio?.version ?? 0;
  // A click may come before the screen shows what the server has said.
  if (edition !== editionOf(state) || isBusy(state) || !link?.send({ ...request, version, id })) {
    dispatch({ kind: "notice", level: "bad", text: `${what}: not sent. The connection or the holdings have just changed; look at them and try again.` });
  } else dispatch({ kind: "change", id, what, version });
}

function makeActions() {
  const actions = {
    /** @param {string} ticker */
    analyze(ticker) {
      dispatch({ kind: "select", ticker });
      const follow = state.follow && !state.unknown.follow ? { follow: true } : {};
      if (link?.send({ action: "analyze", ticker, receipt: true, id: "analyze", ...follow })) dispatch({ kind: "analyze", ticker });
    },
    again() {
      if (state.runs.run) actions.analyze(state.runs.run.ticker);
    },
    cancel() {
      link?.send({ action: "cancel", id: "cancel" });
    },
    /** @param {boolean} on */
    follow(on) {
      dispatch({ kind: "follow", on });
      const { run } = state.runs;
      if (on && run) actions.analyze(run.ticker);
      if (!on && (state.pending || goesOn(run))) actions.cancel();
    },
    /** @param {string} ticker */
    select: (ticker) => dispatch({ kind: "select", ticker }),
    /** @param {number} amount */
    draft: (amount) => dispatch({ kind: "draft", shares: Number(amount.toFixed(9)) }),
    /** @param {"budget" | "hedge"} goal */
    draftTo(goal) {
      const trade = goal === "budget" ? budgetTrade(state) : hedgeTrade(state);
      if (trade !== null) actions.draft(trade);
    },
    /** @param {string} edition that was on screen */
    applyDraft(edition) {
      const { selected: ticker, draft } = state;
      if (!ticker || draft === 0) return;
      const what = `${draft < 0 ? "Sell" : "Buy"} ${shares(Math.abs(draft))} ${ticker}`;
      change("trade", what, edition, { action: "trade", ticker, shares: draft });
    },
    /** @param {Record<string, number>} holdings @param {string} edition that they were typed for */
    setHoldings: (holdings, edition) => change("holdings", "Save holdings", edition, { action: "set_holdings", holdings }),
    /** @param {Record<string, unknown>} targets @param {string} edition that they were typed for */
    setTargets: (targets, edition) => change("targets", "Save targets", edition, { action: "set_targets", ...targets }),
    /** @param {Partial<import("./state.js").Choice>} set */
    plan: (set) => dispatch({ kind: "plan", set }),
    /** @param {string} place @param {string} tab */
    tab: (place, tab) => dispatch({ kind: "tab", place, tab }),
    wake: () => dispatch({ kind: "clock" }),
    dismiss: () => dispatch({ kind: "notice", level: "info", text: "" }),
    retry() {
      if (link && state.socket.phase !== "ended") link.hurry();
      else void start(state.session || null);
    },
    startOver: () => void start(null),
    /** @param {string} token */
    useToken(token) {
      keepToken(state.session, token);
      void start(state.session);
    },
  };
  return actions;
}

/** @param {Actions} actions @returns {((state: State) => void)[]} */
function mount(actions) {
  return [
    mountStrip(actions), when(mountHoldings(actions)), when(mountTiles(actions)),
    mountTabs("work", "Trade and plan", [
      { id: "what_if", name: "What if", ...mountWhatIf(actions) }, { id: "plan", name: "Plan", ...mountPlan(actions) },
      { id: "edit", name: "Holdings", ...mountEditor(actions) },
    ], actions),
    mountTabs("side", "History and events", [
      { id: "value", name: "Value", ...mountValue() }, { id: "correlations", name: "Correlations", ...mountMatrix() },
      { id: "log", name: "Events", ...mountLog() },
    ], actions),
    mountNotice(actions), announce(),
  ];
}

/** Draw again only if more has changed than the time. @param {(state: State) => void} show @returns {(state: State) => void} */
function when(show) {
  /** @type {Record<string, unknown>} */
  let last = {};
  return (now) => {
    if (Object.entries(now).every(([name, value]) => name === "now" || value === last[name])) return;
    last = now;
    show(now);
  };
}

/** @param {Actions} actions */
function mountNotice(actions) {
  const text = el("span");
  const root = byId("notice", HTMLElement);
  root.append(text, button({ class: "quiet", click: () => actions.dismiss() }, "Dismiss"));
  return (/** @type {State} */ { notice, now }) => {
    // Successes disappear by themselves; failures stay until they are dismissed.
    root.hidden = !notice || (notice.level === "info" && now - notice.at > NOTICE);
    root.dataset.level = notice?.level ?? "";
    say(text, notice?.text ?? "");
  };
}

/** Announcements for screen readers: how runs end, and changes of the connection. */
function announce() {
  /** @type {import("./story.js").Entry | undefined} */
  let last;
  return (/** @type {State} */ { log }) => {
    const fresh = log.slice(last ? log.indexOf(last) + 1 : log.length);
    last = log.at(-1);
    for (const entry of fresh) {
      const spoken = entry.kind === "socket" || entry.kind === "fault" || /completed|cancelled/.test(entry.text);
      if (spoken) speak(entry.text);
    }
  };
}

const views = mount(makeActions());

function draw() {
  drawing = false;
  for (const show of views) show(state);
}

/** Open a session and keep it. @param {string | null} wanted */
async function start(wanted) {
  const mine = ++starts;
  link?.stop();
  link = null;
  renewal = Infinity;
  let session = wanted;
  /** @type {string[] | undefined} */
  let metrics;
  for (let attempt = 0; session === null || tokenOf(session) !== null; attempt++) {
    try {
      const opened = await openSession(session);
      if (mine !== starts) return;
      session = opened.session_id;
      metrics = opened.metrics;
      keep(session, opened.token);
      break;
    } catch (failure) {
      if (mine !== starts) return;
      if (!(failure instanceof Refusal)) throw failure;
      // With a known session, its socket reports errors better.
      if (session !== null) break;
      const pause = failure.wait && Math.max(failure.wait, backoff(attempt, Math.random));
      const phase = pause ? "waiting" : "ended";
      dispatch({ kind: "socket", phase, why: failure.message, until: Date.now() + pause });
      if (!pause) return;
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (mine !== starts) return;
    }
  }
  const opened = String(session);
  remember(opened);
  dispatch({ kind: "session", session: opened, metrics });
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  link = new Link(`${scheme}://${location.host}/ws/${opened}`, () => tokenOf(opened), dispatch);
  await link.run();
}

/** @param {string} session @param {string | undefined} token */
function keep(session, token) {
  if (!token) return;
  keepToken(session, token);
  renewal = Date.now() + halfLife(token);
}

async function renew() {
  const { session } = state;
  renewal = Date.now() + AGAIN;
  const opened = await openSession(session).catch(() => null);
  if (opened && session === state.session) keep(session, opened.token);
}

/** Once a second: ages, pauses, and whether the connection is still alive. */
let last = Date.now();
setInterval(() => {
  const now = Date.now();
  const jump = now - last - SECOND;
  last = now;
  if (link && suspicious(link.silence, jump)) link.probe();
  if (link && now > renewal) void renew();
  if (!document.hidden) dispatch({ kind: "clock" });
}, SECOND);

for (const [target, name] of /** @type {[EventTarget, string][]} */ ([[document, "visibilitychange"], [window, "online"]])) {
  target.addEventListener(name, () => {
    if (document.hidden) return;
    link?.hurry();
    link?.probe();
    dispatch({ kind: "clock" });
  });
}
window.addEventListener("hashchange", () => {
  const session = sessionIn(location.hash);
  if (session && session !== state.session) void start(session);
});

void start(sessionIn(location.hash) ?? lastSession());
// While the server answers, load the fonts, styles and code that the first numbers need.
draw();
