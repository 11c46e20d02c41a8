/** Calls of the control API and the live events. */

export async function call(method, path, body) {
  const answer = await fetch(`/sim${path}`, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(typeof said.detail === "string" ? said.detail : `The simulator answered ${answer.status}`);
  }
  return answer.status === 204 ? null : answer.json();
}

/** Hand over a file that is about to be sent; a recording becomes what WhatsApp sends. */
export async function upload(file, { account_sid, recording }) {
  const query = new URLSearchParams({ account_sid, file_name: recording ? "" : file.name });
  if (recording) query.set("recording", "true");
  const answer = await fetch(`/sim/files?${query}`, { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof said.detail === "string" ? said.detail : `The simulator answered ${answer.status}`);
  return said;
}

/** Calls `onEvent` for each event and `onState` with true or false as the stream comes and goes. */
export function listen(onEvent, onState) {
  const source = new EventSource("/sim/events");
  source.onopen = () => onState(true);
  source.onerror = () => onState(false);
  source.onmessage = (message) => onEvent(JSON.parse(message.data));
}

export const keyOf = (thread) => `${thread.account_sid} ${thread.number} ${thread.contact}`;
export const byId = (id) => document.getElementById(id);

export function make(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

let toastTimer;
export function toast(words) {
  const place = byId("toast");
  place.textContent = words;
  place.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { place.hidden = true; }, 4000);
}
