/** What a bubble shows besides words: pictures, sounds, documents, places, cards, quotes, buttons and lists. */

import { byId, make } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const NAMES = {
  image: "Photo", sticker: "Sticker", audio: "Voice note", video: "Video", document: "Document", location: "Place",
  contacts: "Contact card", interactive: "List", button: "Button",
};
const PATHS = {
  pin: "M12 2a7 7 0 0 0-7 7c0 5.2 7 13 7 13s7-7.8 7-13a7 7 0 0 0-7-7m0 9.5a2.5 2.5 0 1 1 0-5 2.5 2.5 0 0 1 0 5",
  page: "M6 2h8l5 5v13a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2m7 1.5V8h4.5",
  person: "M12 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10m-9 9c0-4 4-6.5 9-6.5s9 2.5 9 6.5z",
  list: "M4 6h2M4 12h2M4 18h2M9 6h11M9 12h11M9 18h11",
  reply: "M10 5 3 11.5l7 6.5v-4c5 0 8 1.5 10 5 0-6-3.500-10-10-10.5z",
};

export function icon(name, size = 20) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("width", size);
  drawing.setAttribute("height", size);
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", `icon-${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  drawing.append(path);
  return drawing;
}

/** A message in a few words, for the contact list and for quotes. */
export function inWords(message) {
  const name = NAMES[message.kind];
  if (message.kind === "document" && message.files.length) return message.files[0].file_name || name;
  if (message.body) return message.body;
  if (message.kind === "location") return message.place?.label || name;
  if (message.kind === "contacts") return message.files[0]?.card?.name || name;
  return name || (message.kind === "text" ? "No text" : `Unknown kind: ${message.kind}`);
}

const sizeOf = (bytes) => bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${Math.round(bytes / 1024)} KB` : `${(bytes / 1048576).toFixed(1)} MB`;

function picture(file, message) {
  const sticker = message.kind === "sticker";
  const image = make("img", { src: file.url, alt: message.body || NAMES[message.kind] || "Picture", loading: "lazy" });
  const link = make("a", { href: file.url, target: "_blank", rel: "noreferrer", className: sticker ? "sticker" : "picture" }, image);
  image.addEventListener("error", () => link.replaceWith(plainFile(file, "Picture that can't be shown")), { once: true });
  return link;
}

function plainFile(file, fallback = "Document") {
  const name = file.file_name || fallback;
  const link = make("a", { className: "file", href: file.url, download: name }, icon("page", 28),
    make("span", {}, make("b", { textContent: name }), make("small", { textContent: `${file.content_type} · ${sizeOf(file.size_bytes)}` })));
  return link;
}

function card(file) {
  const { name, phones } = file.card;
  return make("div", { className: "file person" }, icon("person", 28),
    make("span", {}, make("b", { textContent: name || "Contact" }), make("small", { textContent: phones.join(", ") || "no number" })));
}

function fileOf(file, message) {
  const major = file.content_type.split("/")[0];
  if (file.card) return card(file);
  if (major === "image") return picture(file, message);
  if (major === "audio") {
    const sound = make("audio", { src: file.url, controls: true, preload: "metadata" });
    sound.setAttribute("aria-label", "Voice note");
    return sound;
  }
  if (major === "video") {
    const film = make("video", { src: file.url, controls: true, preload: "metadata" });
    film.setAttribute("aria-label", message.body || "Video");
    return film;
  }
  return plainFile(file);
}

function place({ latitude, longitude, label, address }) {
  const lines = [make("b", { textContent: label || "Place" })];
  if (address) lines.push(make("small", { textContent: address }));
  lines.push(make("small", { textContent: `${latitude}, ${longitude}` }));
  return make("a", { className: "file place", href: `geo:${latitude},${longitude}` }, icon("pin", 28), make("span", {}, ...lines));
}

function quote(message, find) {
  const quoted = find(message.quotes);
  const who = quoted ? (quoted.direction === "inbound" ? "You" : "Business") : "A message";
  const words = quoted ? inWords(quoted).slice(0, 140) : "that is not here any more";
  return make("blockquote", { className: "quote" }, make("b", { textContent: who }), make("span", { textContent: words }));
}

/** What comes before the words. */
export function before(message, find) {
  const parts = [];
  if (message.forwarded) parts.push(make("small", { className: "mark", textContent: message.forwarded === "often" ? "Forwarded many times" : "Forwarded" }));
  if (message.headline !== null && message.headline !== undefined) parts.push(make("small", { className: "mark", textContent: `From an advertisement: ${message.headline}` }));
  if (message.quotes) parts.push(quote(message, find));
  for (const file of message.files) parts.push(fileOf(file, message));
  if (message.place) parts.push(place(message.place));
  const waits = message.media_urls.length > message.files.length;
  if (waits && message.direction !== "inbound" && !message.error_code) parts.push(make("small", { className: "mark", textContent: "Attachment on its way" }));
  return parts;
}

/** The words, or none where what is shown says it all. */
export function words(message) {
  const file = message.files[0];
  if (file && file.file_name === message.body) return "";
  return message.body;
}

/** What comes after the words: buttons to tap and the button that opens a list. */
export function after(message, onTap) {
  const face = message.face;
  if (!face || !face.choices.length) return null;
  const group = make("div", { className: "choices", role: "group" });
  group.setAttribute("aria-label", "Answers to tap");
  if (face.opener) {
    const opener = make("button", { type: "button", className: "choice" }, icon("list", 16), face.opener);
    opener.addEventListener("click", () => openList(message, onTap));
    group.append(opener);
    return group;
  }
  for (const choice of face.choices) {
    if (choice.does === "url" && /^https?:/.test(choice.target)) {
      group.append(make("a", { className: "choice", href: choice.target, target: "_blank", rel: "noreferrer noopener", textContent: `${choice.title} ↗` }));
      continue;
    }
    const button = make("button", { type: "button", className: "choice", textContent: choice.title });
    if (choice.does === "reply" || choice.does === "title") button.addEventListener("click", () => onTap(message, choice));
    else { button.disabled = true; button.title = choice.target; }
    group.append(button);
  }
  return group;
}

function openList(message, onTap) {
  const dialog = byId("list-dialog");
  byId("list-title").textContent = message.face.opener;
  byId("list-items").replaceChildren(...message.face.choices.map((choice) => {
    const button = make("button", { type: "button", className: "item" }, make("b", { textContent: choice.title }));
    if (choice.description) button.append(make("small", { textContent: choice.description }));
    button.addEventListener("click", () => { dialog.close(); onTap(message, choice); });
    return make("li", {}, button);
  }));
  dialog.showModal();
}
