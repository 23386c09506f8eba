// Who is in, which view is on, light or dark.

import { dropKey, get, hasKey, setKey, whenDenied } from "./api.js";
import { redraw } from "./chart.js";
import { field, h } from "./dom.js";
import { category } from "./category.js";
import { entries } from "./entries.js";
import { ledger } from "./ledger.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { policies } from "./policies.js";

const VIEWS = [
  ["", "Overview", overview],
  ["ledger", "Ledger", ledger],
  ["entries", "Entries", entries],
  ["playground", "Playground", playground],
  ["policies", "Policies", policies],
  ["category", null, category],
];
const EVERY_MS = 10000;

const view = document.getElementById("view");
const nav = document.getElementById("nav");
const status = document.getElementById("status");
const live = document.getElementById("live");
const themes = document.getElementById("theme");
const leave = document.getElementById("leave");
let shown = null;
let turn = 0;

/** Say something to everybody, those who do not see it too; errors stay until the next one. */
export function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

async function show(focus) {
  const mine = (turn += 1);
  shown = null;
  nav.hidden = leave.hidden = live.hidden = !hasKey();
  if (!hasKey()) { enter(); return; }
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  const found = VIEWS.find(([key]) => key === name) ?? VIEWS[0];
  nav.replaceChildren(h("ul", {}, VIEWS.filter(([, label]) => label).map(([key, label]) =>
    h("li", {}, h("a", { href: `#/${key}`, "aria-current": key === found[0] ? "page" : null }, label)))));
  document.title = `${found[1] ?? rest[0] ?? "Likewise"} · Likewise`;
  try {
    const made = await found[2](rest, new URLSearchParams(query ?? ""), say);
    if (mine !== turn) return;
    shown = made;
    view.replaceChildren(made.root);
    redraw(); // figures draw only once they are on the page
    say("");
    made.ready?.();
  } catch (error) {
    if (mine === turn && hasKey()) { say(error.message, true); view.replaceChildren(); }
  }
  if (focus) view.focus();
}

function enter(why) {
  const key = h("input", { type: "password", autocomplete: "current-password", required: true });
  const form = h("form", { class: "card enter", onsubmit: async (event) => {
    event.preventDefault();
    setKey(key.value);
    try { await get("/load"); show(true); } catch (error) {
      if (hasKey()) { dropKey(); say(error.message, true); }
    }
  } }, h("h1", {}, "Likewise"), h("p", {}, "Enter with a key of the admin API. It stays in this tab."),
  field("Key", key), h("p", {}, h("button", { class: "main", type: "submit" }, "Enter")));
  view.replaceChildren(form);
  if (why) say(why, true);
  key.focus();
}

whenDenied((why) => {
  dropKey();
  shown = null;
  nav.hidden = leave.hidden = live.hidden = true;
  enter(why);
});

leave.addEventListener("click", () => { dropKey(); show(true); });
live.addEventListener("click", () => {
  const on = live.getAttribute("aria-pressed") !== "true";
  live.setAttribute("aria-pressed", String(on));
  say(on ? "Figures follow the gateway." : "Figures stand still.");
});
setInterval(async () => {
  if (!shown?.refresh || document.hidden || live.getAttribute("aria-pressed") !== "true") return;
  try { await shown.refresh(); if (status.classList.contains("bad")) say(""); } catch (error) {
    if (hasKey()) say(error.message, true);
  }
}, EVERY_MS);

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const chosen = localStorage.getItem("likewise-theme") ?? "auto";
  document.documentElement.dataset.theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
  themes.textContent = `Theme: ${chosen}`;
  redraw();
}
themes.addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  const chosen = localStorage.getItem("likewise-theme") ?? "auto";
  localStorage.setItem("likewise-theme", order[(order.indexOf(chosen) + 1) % order.length]);
  paint();
});
dark.addEventListener("change", paint);
paint();
addEventListener("hashchange", () => show(true));
show(false);
