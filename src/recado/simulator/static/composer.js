/** The composer: words, quotes, files, voice notes, places, cards, and what else a phone can send. */

import { byId, call, toast, upload } from "./api.js";
import { inWords } from "./kinds.js";

let phone; // what the page gives: thread() and send(fields)
let quoted = null;

const box = () => byId("composer-text");

function grow() {
  box().style.height = "auto";
  box().style.height = `${Math.min(box().scrollHeight, 160)}px`;
  byId("composer").classList.toggle("writing", box().value.trim() !== "");
}

/** Quote a message with the next words; null quotes none. */
export function quote(message) {
  quoted = message;
  byId("quoting").hidden = !message;
  byId("quoting-text").textContent = message ? inWords(message).slice(0, 140) : "";
  if (message) box().focus();
}

export function enable(open) {
  for (const field of byId("composer").querySelectorAll("textarea, button, input")) field.disabled = !open;
  if (!open) { quote(null); closeMenu(); }
}

async function send(fields) {
  try {
    await phone.send({ ...fields, ...(quoted ? { quotes: quoted.sid } : {}) });
    quote(null);
    return true;
  } catch (error) {
    toast(error.message);
    return false;
  }
}

async function sendFiles(files, fields = {}, { recording = false } = {}) {
  const { account_sid } = phone.thread();
  try {
    const kept = [];
    for (const file of files) kept.push((await upload(file, { account_sid, recording })).sid);
    return await send({ ...fields, files: kept });
  } catch (error) {
    toast(error.message);
    return false;
  }
}

/** Take the words out of the box; they come back when sending fails. */
function taken() {
  const text = box().value;
  box().value = "";
  grow();
  return text;
}

function giveBack(text, sent) {
  if (sent || box().value) return;
  box().value = text;
  grow();
}

const menu = () => byId("attach-menu");
function openMenu() {
  menu().hidden = false;
  byId("attach").setAttribute("aria-expanded", "true");
  menu().querySelector("button").focus();
}
function closeMenu() {
  menu().hidden = true;
  byId("attach").setAttribute("aria-expanded", "false");
}

function startMenu() {
  byId("attach").addEventListener("click", () => (menu().hidden ? openMenu() : closeMenu()));
  menu().addEventListener("keydown", (event) => {
    const items = [...menu().querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    }
    if (event.key === "Escape") { closeMenu(); byId("attach").focus(); }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".attaching")) closeMenu(); });
  for (const [button, input] of [["attach-picture", "file-picture"], ["attach-document", "file-document"], ["attach-voice", "file-voice"]]) {
    byId(button).addEventListener("click", () => { closeMenu(); byId(input).click(); });
  }
  onFiles("file-picture", (files, text) => sendFiles(files, { body: text }), true);
  onFiles("file-document", (files) => sendFiles(files, { kind: "document" }));
  onFiles("file-voice", (files) => sendFiles(files, { kind: "audio" }, { recording: files[0].type !== "audio/ogg" }));
}

function onFiles(id, act, withWords = false) {
  byId(id).addEventListener("change", async () => {
    const files = [...byId(id).files];
    byId(id).value = "";
    if (!files.length || !phone.thread()) return;
    const text = withWords ? taken() : "";
    giveBack(text, await act(files, text));
  });
}

function startDialog(name, button, fieldsOf) {
  const dialog = byId(`${name}-dialog`);
  const form = dialog.querySelector("form");
  byId(button).addEventListener("click", () => { closeMenu(); dialog.showModal(); });
  form.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const sent = await fieldsOf(given);
    if (sent) { dialog.close(); form.reset(); }
  });
}

const escaped = (text) => text.replace(/[\\;,]/g, "\\$&").replace(/\r?\n/g, " ");
function cardFile({ name, phone: number }) {
  const lines = ["BEGIN:VCARD", "VERSION:3.0", `N:;${escaped(name)};;;`, `FN:${escaped(name)}`, `TEL;TYPE=CELL:${escaped(number)}`, "END:VCARD", ""];
  return new File([lines.join("\r\n")], `${name}.vcf`, { type: "text/vcard" });
}

const OTHERS = {
  forwarded: (text) => ({ body: text, forwarded: "once" }),
  often: (text) => ({ body: text, forwarded: "often" }),
  ad: (text) => ({ body: text, referral: { headline: "Advertisement", body: "Tap to write to us" } }),
  "call-yes": () => ({ call_permission: "ACCEPTED" }),
  "call-no": () => ({ call_permission: "REJECTED" }),
  unknown: () => ({ kind: "unsupported" }),
};

function startVoice() {
  let recorder = null;
  let ticking;
  const show = (on) => {
    byId("composer").classList.toggle("is-recording", on);
    byId("recording").hidden = !on;
    clearInterval(ticking);
    if (!on) return;
    const began = Date.now();
    const tell = () => {
      const seconds = Math.floor((Date.now() - began) / 1000);
      byId("recording-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    };
    tell();
    ticking = setInterval(tell, 250);
  };
  const stop = (keep) => { if (recorder) { recorder.keep = keep; recorder.stop(); } };
  byId("record").addEventListener("click", async () => {
    if (!navigator.mediaDevices || !window.MediaRecorder) { toast("This browser records no sound: send a file instead"); return; }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const chunks = [];
      recorder = new MediaRecorder(stream);
      recorder.keep = false;
      recorder.ondataavailable = (event) => chunks.push(event.data);
      recorder.onstop = async () => {
        const { keep, mimeType } = recorder;
        recorder = null;
        for (const track of stream.getTracks()) track.stop();
        show(false);
        byId("record").focus();
        if (keep) await sendFiles([new File(chunks, "voice-note", { type: mimeType || "audio/webm" })], { kind: "audio" }, { recording: true });
      };
      recorder.start();
      show(true);
      byId("recording-send").focus();
    } catch {
      toast("The microphone can't be used");
    }
  });
  byId("recording-send").addEventListener("click", () => stop(true));
  byId("recording-cancel").addEventListener("click", () => stop(false));
}

export function start(given) {
  phone = given;
  box().addEventListener("input", grow);
  box().addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("composer").requestSubmit();
    }
  });
  byId("composer").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!box().value.trim() || !phone.thread()) return;
    const text = taken();
    giveBack(text, await send({ body: text }));
  });
  byId("quoting-end").addEventListener("click", () => { quote(null); box().focus(); });
  startMenu();
  startVoice();
  startDialog("place", "attach-place", ({ latitude, longitude, label, address }) =>
    send({ place: { latitude: Number(latitude), longitude: Number(longitude), label, address } }));
  startDialog("card", "attach-card", (fields) => sendFiles([cardFile(fields)]));
  startDialog("other", "attach-other", ({ what, text }) => send(OTHERS[what](text)));
}

/** Tap a button or choose an item of a list. */
export async function tap(message, choice) {
  try {
    await call("POST", `/messages/${message.sid}/tap`, { choice: choice.id, wait: false });
  } catch (error) {
    toast(error.message);
  }
}
