// A client's view: the types tell messages, metrics and details apart.
import type { ClientMessage, ServerMessage } from "./ours";

export const ask: ClientMessage = { action: "analyze", ticker: "AAPL", id: 1 };
// @ts-expect-error - an action has the fields it needs
export const wrong: ClientMessage = { action: "analyze" };

export function show(message: ServerMessage): string {
  switch (message.type) {
    case "analysis_result":
      return message.metric === "concentration" ? `${message.detail.hhi}` : `${message.value}`;
    case "results":
      return message.results.map((each) => (each.metric === "momentum" ? each.detail.volatility : each.value)).join();
    case "analysis_cancelled":
      // @ts-expect-error - there is no such reason
      return message.reason === "bored" ? "" : message.reason;
    case "error":
      return message.code === "not_held" ? message.detail : "";
    default:
      return message.type;
  }
}
