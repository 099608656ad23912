// Which session this tab has, and the token that opens it. Tokens stay in this tab's storage, never in an address.

const LAST = "portfolio-trio:session";
const TOKEN = "portfolio-trio:token:";

/** The session in the address, or null. @param {string} hash */
export function sessionIn(hash) {
  return /^#session=([A-Za-z0-9._~-]{1,128})$/.exec(hash)?.[1] ?? null;
}

/** @param {string} session @returns {string | null} */
export function tokenOf(session) {
  return sessionStorage.getItem(TOKEN + session);
}

/** @param {string} session @param {string} token */
export function keepToken(session, token) {
  sessionStorage.setItem(TOKEN + session, token);
}

/** Milliseconds until half of a token's life is over; never, if it does not say how long it lives. @param {string} token */
export function halfLife(token) {
  try {
    const { iat, exp } = JSON.parse(atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")));
    return (exp - iat) * 500 || Infinity;
  } catch {
    return Infinity;
  }
}

/** @returns {string | null} */
export function lastSession() {
  return sessionStorage.getItem(LAST);
}

/** Put the session into the address, so that a reload and another tab find it. @param {string} session */
export function remember(session) {
  sessionStorage.setItem(LAST, session);
  const hash = `#session=${session}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

export class Refusal extends Error {
  /** @param {string} message @param {number} wait milliseconds after which it may work; 0 means never */
  constructor(message, wait) {
    super(message);
    this.wait = wait;
  }
}

/** Create a session, or get a fresh token for one with the present token. @param {string | null} session @returns {Promise<{session_id: string, token?: string, metrics: string[]}>} */
export async function openSession(session) {
  const token = session ? tokenOf(session) : null;
  let answer;
  try {
    answer = await fetch("/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(session ? { session_id: session, token } : {}),
    });
  } catch {
    throw new Refusal("The server cannot be reached.", 1_000);
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const wait = Number(answer.headers.get("retry-after")) * 1000;
  throw new Refusal(body.detail ?? `The server answered ${answer.status}.`, wait || (answer.status >= 500 ? 2_000 : 0));
}
