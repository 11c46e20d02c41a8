/** Bubbles, ticks and avatars. Text goes in as text nodes only, so nothing that people write becomes markup. */

import { make } from "./api.js";
import { after, before, icon, inWords, words } from "./kinds.js";

const SVG = "http://www.w3.org/2000/svg";
const MARKS = { "*": "strong", _: "em", "~": "s", "`": "code" };
const MARKED = /```([\s\S]+?)```|(?<![\p{L}\p{N}])([*_~`])(?=\S)([^\n]*?\S)\2(?![\p{L}\p{N}])/gu;

export const timeOf = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export function dayOf(seconds) {
  const day = new Date(seconds * 1000);
  return day.toDateString() === new Date().toDateString()
    ? "Today"
    : day.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

export const initials = (name) => (name.match(/[\p{L}\p{N}]/gu) ? name.trim().split(/\s+/).slice(0, 2).map((word) => [...word][0]).join("") : "#").toUpperCase();

export const hueOf = (text) => `hue-${[...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 997, 7) % 6}`;

/** WhatsApp's formatting as elements. */
export function formatted(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(MARKED)) {
    parts.push(text.slice(from, match.index));
    parts.push(match[1] === undefined
      ? make(MARKS[match[2]], {}, ...(match[2] === "`" ? [match[3]] : formatted(match[3])))
      : make("code", { textContent: match[1] }));
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== "");
}

/** What the ticks of a message say: [how many, class, words]. */
export function ticksOf(message) {
  if (message.direction === "inbound") {
    if (message.read_at) return [2, "read", "read"];
    if (message.acknowledged) return [2, "", "delivered"];
    if (message.webhook_statuses.length) {
      const status = message.webhook_statuses.at(-1);
      return [0, "failed", status ? `webhook answered ${status}` : "webhook could not be reached"];
    }
    return [1, "", "sent"];
  }
  switch (message.status) {
    case "read": return [2, "read", "read"];
    case "delivered": return [2, "", "delivered"];
    case "sent": return [1, "", "sent"];
    case "failed": case "undelivered": case "canceled":
      return [0, "failed", message.error_code ? `${message.status} ${message.error_code}` : message.status];
    default: return [-1, "", message.status];
  }
}

function svgPath(d) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", d);
  return path;
}

export function ticks(message) {
  const [count, kind, words] = ticksOf(message);
  const place = make("span", { className: `ticks ${kind}`, title: words });
  place.dataset.ticks = words;
  if (count === 0) {
    place.append(make("b", { textContent: "!", ariaHidden: "true" }));
  } else {
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", "0 0 20 12");
    drawing.setAttribute("aria-hidden", "true");
    if (count < 0) drawing.append(svgPath("M10 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10 3.5V6l1.7 1.2"));
    else drawing.append(svgPath(count === 2 ? "M2 6.5 5.5 10 13 2" : "M5 6.5 8.5 10 16 2"));
    if (count === 2) drawing.append(svgPath("M8.8 9 9.8 10 17.3 2"));
    place.append(drawing);
  }
  place.append(make("span", { className: "hidden", textContent: words }));
  return place;
}

/** One bubble; the contact's own are on the right, as on their phone. `acts` has again, quote, tap and find. */
export function bubble(message, acts) {
  const mine = message.direction === "inbound";
  const item = make("li", { className: mine ? "bubble mine" : "bubble theirs" });
  item.dataset.sid = message.sid;
  item.dataset.seq = message.seq;
  item.append(make("span", { className: "hidden", textContent: mine ? "You: " : "Business: " }));
  const shown = before(message, acts.find);
  item.append(...shown);
  const said = words(message);
  if (said) item.append(make("p", {}, ...formatted(said)));
  else if (!shown.length) item.append(make("p", {}, make("em", { className: "quiet", textContent: inWords(message) })));
  const foot = make("div", { className: "foot" });
  const reply = make("button", { type: "button", className: "again", title: "Answer this message" }, icon("reply", 14));
  reply.setAttribute("aria-label", "Answer this message");
  reply.addEventListener("click", () => acts.quote(message));
  foot.append(reply);
  if (mine) {
    const again = make("button", { type: "button", className: "again", title: "Send this webhook again", textContent: "↻ again" });
    again.setAttribute("aria-label", "Send this webhook again");
    again.addEventListener("click", () => acts.again(message));
    foot.append(again);
    const posts = message.webhook_statuses.length;
    if (posts > 1) foot.append(make("span", { className: "posts", title: `Answers: ${message.webhook_statuses.map((status) => status ?? "none").join(", ")}`, textContent: `×${posts}` }));
  }
  const [, kind, why] = ticksOf(message);
  if (kind === "failed") foot.append(make("span", { className: "why", ariaHidden: "true", textContent: why }));
  const time = make("time", { textContent: timeOf(message.created_at), dateTime: new Date(message.created_at * 1000).toISOString() });
  foot.append(time, ticks(message));
  item.append(foot);
  const choices = after(message, acts.tap);
  if (choices) item.append(choices);
  return item;
}
