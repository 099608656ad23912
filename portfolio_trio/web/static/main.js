// The page: one state, one socket, eight views. Messages and clicks become events; events become the next state;
// the screen is drawn from it once per frame, and due requests are sent.

import { due, suspicious } from "./asks.js";
import { budgetTrade, hedgeTrade } from "./decisions.js";
import { button, byId, el, say } from "./dom.js";
import { mountEditor } from "./editor.js";
import { shares } from "./format.js";
import { mountHoldings } from "./holdings.js";
import { mountLog } from "./log.js";
import { mountMatrix } from "./matrix.js";
import { mountPlan } from "./plan.js";
import { goesOn } from "./runs.js";
import { Refusal, keepToken, lastSession, openSession, remember, sessionIn, tokenOf } from "./session.js";
import { Link, backoff } from "./socket.js";
import { initial, reduce } from "./state.js";
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

let state = initial(Date.now());
/** @type {Link | null} */
let link = null;
let drawing = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let patience;
let changes = 0;
let starts = 0;

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

/** Send a change; its answer ends it. @param {string} kind @param {string} what @param {{version: number} & Record<string, unknown>} request */
function change(kind, what, request) {
  const id = `${kind}:${++changes}`;
  if (!link?.send({ ...request, id })) {
    dispatch({ kind: "notice", level: "bad", text: `${what}: not sent, there is no connection.` });
    return false;
  }
  dispatch({ kind: "change", id, what, version: request.version });
  return true;
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
    applyDraft() {
      const { selected: ticker, draft, portfolio } = state;
      if (!ticker || !portfolio || draft === 0) return;
      const what = `${draft < 0 ? "Sell" : "Buy"} ${shares(Math.abs(draft))} ${ticker}`;
      change("trade", what, { action: "trade", ticker, shares: draft, version: portfolio.version });
    },
    /** @param {Record<string, number>} holdings @param {number} version */
    setHoldings: (holdings, version) => change("holdings", "Save holdings", { action: "set_holdings", holdings, version }),
    /** @param {Record<string, unknown>} targets @param {number} version */
    setTargets: (targets, version) => change("targets", "Save targets", { action: "set_targets", ...targets, version }),
    /** @param {Partial<import("./state.js").Choice>} set */
    plan: (set) => dispatch({ kind: "plan", set }),
    /** @param {string} place @param {string} tab */
    tab: (place, tab) => dispatch({ kind: "tab", place, tab }),
    wake: () => dispatch({ kind: "clock" }),
    dismiss: () => dispatch({ kind: "notice", level: "info", text: "" }),
    retry() {
      if (state.socket.phase === "ended") void start(state.session || null);
      else link?.hurry();
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
  const [whatIf, plan, editor] = [mountWhatIf(actions), mountPlan(actions), mountEditor(actions)];
  const [value, matrix, log] = [mountValue(), mountMatrix(), mountLog()];
  const showWork = mountTabs(byId("work", HTMLElement), "Trade and plan", [
    { id: "what_if", name: "What if", panel: whatIf.panel }, { id: "plan", name: "Plan", panel: plan.panel },
    { id: "edit", name: "Holdings", panel: editor.panel },
  ], (tab) => actions.tab("work", tab));
  const showSide = mountTabs(byId("side", HTMLElement), "History and events", [
    { id: "value", name: "Value", panel: value.panel }, { id: "correlations", name: "Correlations", panel: matrix.panel },
    { id: "log", name: "Events", panel: log.panel },
  ], (tab) => actions.tab("side", tab));
  return [
    mountStrip(actions),
    when((now) => [now.portfolio, now.update, now.risk, now.answers.what_if, now.selected, now.draft, now.unknown, now.failures], mountHoldings(actions)),
    when((now) => [now.runs, now.pending, now.portfolio, now.update, now.socket, now.unknown, now.follow], mountTiles(actions)),
    (now) => showWork(now.open.work ?? ""), (now) => showSide(now.open.side ?? ""),
    whatIf.show, plan.show, editor.show, value.show, matrix.show, log.show, mountNotice(actions), announce(),
  ];
}

/** Draw again only if something that is shown has changed. @param {(state: State) => unknown[]} pick @param {(state: State) => void} show @returns {(state: State) => void} */
function when(pick, show) {
  /** @type {unknown[]} */
  let last = [];
  return (now) => {
    const next = pick(now);
    if (last.length && next.every((each, at) => each === last[at])) return;
    last = next;
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
  const live = byId("live", HTMLElement);
  /** @type {import("./story.js").Entry | undefined} */
  let last;
  return (/** @type {State} */ { log }) => {
    const fresh = log.slice(last ? log.indexOf(last) + 1 : log.length);
    last = log.at(-1);
    for (const entry of fresh) {
      const spoken = entry.kind === "socket" || entry.kind === "fault" || /completed|cancelled/.test(entry.text);
      if (spoken) live.append(el("p", {}, entry.text));
    }
    while (live.childElementCount > 5) live.firstElementChild?.remove();
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
  let session = wanted;
  /** @type {string[] | undefined} */
  let metrics;
  for (let attempt = 0; session === null || tokenOf(session) !== null; attempt++) {
    try {
      const opened = await openSession(session);
      if (mine !== starts) return;
      session = opened.session_id;
      metrics = opened.metrics;
      if (opened.token) keepToken(session, opened.token);
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

/** Once a second: ages, pauses, and whether the connection is still alive. */
let last = Date.now();
setInterval(() => {
  const now = Date.now();
  const jump = now - last - SECOND;
  last = now;
  if (link && suspicious(link.silence, jump)) link.probe();
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
