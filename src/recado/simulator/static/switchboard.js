/** The switchboard: presets as switches, other faults as a list, and how often each struck. */

import { byId, call, make, toast } from "./api.js";

const EFFECTS = ["latency_ms", "http_status", "code", "drop", "hold_s", "when", "callback_first", "delivery_status", "error_code", "lose", "copies", "delay_ms", "disorder", "redirect_to", "content_type", "instead", "endless", "chunk_ms", "cut_at", "probability", "to", "body"];

let loading = false;
let again = false;

/** Load what is in force and show it; calls made meanwhile are served by one more load. */
export async function refresh() {
  if (loading) { again = true; return; }
  loading = true;
  try {
    show(await call("GET", "/faults"));
  } finally {
    loading = false;
    if (again) { again = false; refresh(); }
  }
}

function hits(faults) {
  const struck = faults.reduce((sum, fault) => sum + fault.hits, 0);
  const left = faults.reduce((sum, fault) => sum + (fault.count ? fault.count - fault.hits : 0), 0);
  return `struck ${struck}×${left ? `, ${left} to go` : ""}`;
}

function show({ faults, presets }) {
  const live = faults.filter((fault) => !fault.spent);
  byId("faults-on").textContent = live.length;
  byId("faults-on").hidden = live.length === 0;
  const list = byId("presets");
  for (const preset of presets) {
    const own = faults.filter((fault) => fault.name === preset.name);
    let item = list.querySelector(`[data-preset="${preset.name}"]`);
    if (!item) {
      item = row(preset);
      list.append(item);
    }
    const on = own.some((fault) => !fault.spent);
    item.querySelector("input").checked = on;
    item.querySelector(".hits").textContent = own.length ? hits(own) : "";
    item.classList.toggle("on", on);
  }
  const known = new Set(presets.map((preset) => preset.name));
  const others = faults.filter((fault) => !known.has(fault.name));
  byId("others-title").hidden = others.length === 0;
  byId("others").replaceChildren(...others.map(other));
}

function row(preset) {
  const box = make("input", { type: "checkbox" });
  box.setAttribute("role", "switch");
  box.addEventListener("change", () => turn(preset.name, box.checked));
  const words = make("span", {}, make("b", { textContent: preset.title }), make("small", { textContent: preset.says }), make("small", { className: "hits" }));
  const item = make("li", {}, make("label", { className: "switch" }, words, box));
  item.dataset.preset = preset.name;
  return item;
}

function other(fault) {
  const says = EFFECTS.filter((name) => name in fault).map((name) => `${name} ${fault[name]}`).join(", ");
  const end = make("button", { type: "button", className: "ghost", textContent: "End" });
  end.addEventListener("click", () => act(() => call("DELETE", `/faults/${fault.id}`)));
  const words = make("span", {}, make("b", { textContent: fault.name || fault.operation || "any call" }), make("small", { textContent: says }), make("small", { className: "hits", textContent: hits([fault]) }));
  return make("li", { className: "switch" }, words, end);
}

async function act(work) {
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
  await refresh();
}

async function turn(name, on) {
  await act(async () => {
    const { faults } = await call("GET", "/faults");
    for (const fault of faults.filter((each) => each.name === name)) await call("DELETE", `/faults/${fault.id}`);
    const strikes = Number(byId("strikes").value);
    if (on) await call("POST", `/faults/${name}`, strikes ? { count: strikes } : {});
  });
}

export function start() {
  byId("clear-faults").addEventListener("click", () => act(() => call("DELETE", "/faults")));
  const open = (visible) => {
    document.body.toggleAttribute("data-switchboard", visible);
    byId("open-faults").setAttribute("aria-expanded", String(visible));
    (visible ? byId("close-faults") : byId("open-faults")).focus();
    if (visible) refresh();
  };
  byId("open-faults").addEventListener("click", () => open(!document.body.hasAttribute("data-switchboard")));
  byId("open-faults-list").addEventListener("click", () => open(true));
  byId("close-faults").addEventListener("click", () => open(false));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.hasAttribute("data-switchboard") && !document.querySelector("dialog[open]")) open(false);
  });
}
