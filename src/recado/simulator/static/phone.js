/** The phone: contacts, the open conversation, the composer, live by server-sent events. */

import { byId, call, keyOf, listen, make, toast } from "./api.js";
import { bubble, dayOf, hueOf, initials, ticks, timeOf } from "./bubbles.js";
import * as composer from "./composer.js";
import { inWords } from "./kinds.js";
import * as switchboard from "./switchboard.js";

const SHOWN = 300;
const threads = new Map();
let open = null;
let typingTimer;
let loads = 0;

const nameOf = (thread) => thread.name || thread.contact.replace("whatsapp:", "");
const plain = (address) => address.replace("whatsapp:", "");

function paintAvatar(place, thread) {
  place.textContent = initials(nameOf(thread));
  place.className = `avatar ${hueOf(thread.contact)}`;
}

function contactItem(thread) {
  const avatar = make("span", { ariaHidden: "true" });
  paintAvatar(avatar, thread);
  const last = make("span", { className: "last" });
  if (thread.typing_s > 0) last.append(make("em", { textContent: "typing…" }));
  else if (thread.last) last.append(ticks(thread.last), make("span", { className: "text", textContent: inWords(thread.last).slice(0, 120) }));
  else last.append(make("em", { className: "quiet", textContent: `writes to ${plain(thread.number)}` }));
  const button = make("button", { type: "button", className: "contact" },
    avatar,
    make("span", { className: "name", textContent: nameOf(thread) }),
    make("time", { textContent: thread.last ? timeOf(thread.last.created_at) : "" }),
    last);
  if (thread.unread) button.append(make("span", { className: "unread", textContent: thread.unread, ariaLabel: `${thread.unread} unread` }));
  if (keyOf(thread) === open) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => choose(keyOf(thread)));
  const item = make("li", {}, button);
  item.dataset.key = keyOf(thread);
  return item;
}

let painting = false;
/** Paint the contact list once a frame at most, keeping the focus where it was. */
function paintContacts() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    const focused = document.activeElement?.closest?.("#contact-list li")?.dataset.key;
    const sorted = [...threads.values()].sort((one, two) => (two.last?.seq ?? Infinity) - (one.last?.seq ?? Infinity));
    const items = sorted.map(contactItem);
    byId("contact-list").replaceChildren(...items);
    byId("no-contacts").hidden = sorted.length > 0;
    if (focused) items.find((item) => item.dataset.key === focused)?.firstElementChild.focus();
  });
}

function paintHeader() {
  const thread = threads.get(open);
  if (!thread) return;
  byId("chat-name").textContent = nameOf(thread);
  byId("chat-state").textContent = thread.typing_s > 0 ? "typing…" : `${plain(thread.contact)} writes to ${plain(thread.number)}`;
  byId("window").textContent = windowOf(thread);
  byId("window").classList.toggle("shut", !(thread.window_s > 0));
  paintAvatar(byId("chat-avatar"), thread);
  const atEnd = nearEnd();
  byId("typing").hidden = !(thread.typing_s > 0);
  if (atEnd) toEnd();
  clearTimeout(typingTimer);
  if (thread.typing_s > 0) {
    typingTimer = setTimeout(() => { thread.typing_s = 0; paintHeader(); paintContacts(); }, thread.typing_s * 1000);
  }
}

/** For how long the business may still write what it likes. */
function windowOf({ window_s }) {
  if (!(window_s > 0)) return "window closed";
  const minutes = Math.ceil(window_s / 60);
  return minutes >= 60 ? `${Math.floor(minutes / 60)} h left` : `${minutes} min left`;
}

const log = byId("log");
const nearEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 120;
const toEnd = () => { log.scrollTop = log.scrollHeight; };

function separators() {
  let day = "";
  for (const item of [...byId("bubbles").children]) {
    if (item.classList.contains("day")) { item.remove(); continue; }
    const own = dayOf(Date.parse(item.querySelector("time").dateTime) / 1000);
    if (own !== day) item.before(make("li", { className: "day", textContent: own }));
    day = own;
  }
}

const shown = new Map();
const acts = { again: sendAgain, quote: composer.quote, tap: composer.tap, find: (sid) => shown.get(sid) };

function put(message) {
  const list = byId("bubbles");
  const before = shown.get(message.sid);
  shown.set(message.sid, message);
  const item = bubble(message, acts);
  const old = list.querySelector(`[data-sid="${CSS.escape(message.sid)}"]`);
  if (old) { renew(old, item, before, message); return; }
  const atEnd = nearEnd() || message.direction === "inbound";
  list.append(item);
  separators();
  if (atEnd) toEnd();
}

/** Replace a bubble; what plays in it goes on playing, since only its status moved. */
function renew(old, item, before, message) {
  const same = before && before.files.length === message.files.length;
  if (same) {
    const [fresh, playing] = [item.querySelectorAll("audio, video, img"), old.querySelectorAll("audio, video, img")];
    fresh.forEach((element, index) => { if (playing[index]) element.replaceWith(playing[index]); });
  }
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("button, a")].indexOf(document.activeElement) : -1;
  old.replaceWith(item);
  item.querySelectorAll("button, a")[focused]?.focus();
}

async function choose(key) {
  if (key !== open) composer.quote(null);
  open = key;
  const thread = threads.get(key);
  document.body.dataset.view = "chat";
  byId("no-chat").hidden = true;
  composer.enable(true);
  byId("bubbles").replaceChildren();
  paintHeader();
  paintContacts();
  await loadThread(thread);
  if (matchMedia("(hover: hover)").matches) byId("composer-text").focus();
}

async function loadThread(thread) {
  const load = ++loads;
  const query = new URLSearchParams({ account_sid: thread.account_sid, number: thread.number, limit: SHOWN });
  const { messages } = await call("GET", `/threads/${encodeURIComponent(thread.contact)}?${query}`);
  if (load !== loads || keyOf(thread) !== open) return;
  shown.clear();
  for (const message of messages) shown.set(message.sid, message);
  byId("bubbles").replaceChildren(...messages.map((message) => bubble(message, acts)));
  separators();
  toEnd();
  read();
}

/** Tell the simulator that the contact looks at what was delivered, if that is how this phone behaves. */
function read() {
  const thread = threads.get(open);
  if (!thread || document.hidden || !byId("reads").checked) return;
  const { account_sid, number, contact } = thread;
  call("POST", "/read", { account_sid, number, contact }).catch(() => {});
}

async function sendAgain(message) {
  try {
    const { attempts } = await call("POST", `/messages/${message.sid}/resend`, {});
    toast(attempts.length ? `Sent again: ${attempts.map((attempt) => attempt.status ?? "no answer").join(", ")}` : "Sent again: nothing was posted");
  } catch (error) {
    toast(error.message);
  }
}

async function send(fields) {
  const { account_sid, number, contact, name } = threads.get(open);
  await call("POST", "/messages", { account_sid, from: contact, to: number, profile_name: name, wait: false, ...fields });
}

async function resync() {
  const { threads: all } = await call("GET", "/threads?limit=200");
  threads.clear();
  for (const thread of all) threads.set(keyOf(thread), thread);
  paintContacts();
  switchboard.refresh();
  const thread = threads.get(open);
  if (thread) { paintHeader(); await loadThread(thread); } else close();
}

function close() {
  open = null;
  document.body.dataset.view = "contacts";
  byId("bubbles").replaceChildren();
  byId("typing").hidden = true;
  byId("no-chat").hidden = false;
  byId("chat-name").textContent = "No conversation";
  byId("chat-state").textContent = byId("chat-avatar").textContent = "";
  byId("chat-avatar").className = "avatar";
  byId("window").textContent = "";
  composer.enable(false);
}

let counting;
function onEvent(event) {
  if (event.type === "resync") resync().catch((error) => toast(error.message));
  if (event.type === "faults") switchboard.refresh();
  if (event.type === "thread") {
    threads.set(keyOf(event.thread), event.thread);
    paintContacts();
    if (keyOf(event.thread) === open) paintHeader();
  }
  if (event.type === "message") {
    if (keyOf(event.message) === open) {
      put(event.message);
      if (event.message.status === "delivered") read();
    }
    // Faults strike unannounced; where messages move, their counts may have moved too.
    clearTimeout(counting);
    counting = setTimeout(switchboard.refresh, 300);
  }
}

function startDialog() {
  const dialog = byId("contact-dialog");
  const form = byId("contact-form");
  const complain = (words) => { byId("contact-error").textContent = words; byId("contact-error").hidden = !words; };
  byId("add-contact").addEventListener("click", async () => {
    const { accounts } = await call("GET", "/accounts");
    const options = accounts.flatMap(({ account_sid, numbers }) => numbers.map(({ address }) =>
      make("option", { value: JSON.stringify([account_sid, address]), textContent: plain(address) })));
    form.elements.number.replaceChildren(...options);
    complain(options.length ? "" : "The simulator has no number yet: POST one to /sim/numbers.");
    dialog.showModal();
  });
  byId("contact-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [account_sid, number] = JSON.parse(form.elements.number.value);
    const prefix = number.startsWith("whatsapp:") ? "whatsapp:" : "";
    try {
      const thread = await call("POST", "/contacts", { account_sid, number, contact: prefix + form.elements.phone.value.trim(), name: form.elements.name.value.trim() });
      threads.set(keyOf(thread), thread);
      dialog.close();
      form.reset();
      await choose(keyOf(thread));
    } catch (error) {
      complain(error.message);
    }
  });
}

composer.start({ thread: () => threads.get(open), send });
startDialog();
switchboard.start();
byId("close-window").addEventListener("click", async () => {
  const thread = threads.get(open);
  if (!thread) { toast("Choose a contact first"); return; }
  const { account_sid, number, contact } = thread;
  await call("POST", "/window", { account_sid, number, contact, left_s: 0 }).catch((error) => toast(error.message));
});
byId("back").addEventListener("click", () => {
  document.body.dataset.view = "contacts";
  byId("contact-list").querySelector("[aria-current]")?.focus();
});
document.addEventListener("visibilitychange", read);
byId("reads").addEventListener("change", read);
listen(onEvent, (up) => {
  byId("live").classList.toggle("up", up);
  byId("live-words").textContent = up ? "live" : "reconnecting";
});
