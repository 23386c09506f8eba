// The policies in force, and putting others in force wherever the store is used.

import { api, get, post } from "./api.js";
import { card, cosine, dialog, field, h, lifetime, number, share, table } from "./dom.js";
import { categoryLink } from "./overview.js";

export async function policies(_, __, say) {
  const state = {};
  const fetchAll = async () => { state.policies = await get("/policies"); };
  await fetchAll();
  const list = h("div");

  function edit(name) {
    const { policy, override, version } = state.policies[name];
    const text = h("textarea", { rows: "8", class: "mono", spellcheck: "false" }, JSON.stringify(override ?? {}, null, 2));
    const note = h("p", { role: "status" });
    const guard = (act) => async () => {
      try { await act(); await fetchAll(); fill(); } catch (error) { note.textContent = error.message; }
    };
    dialog(`Policy of ${name}`, note,
      h("p", {}, "In force now, version ", h("code", {}, version), ":"), h("pre", {}, JSON.stringify(policy, null, 2)),
      field("Over the configuration, wherever the store is used (JSON)", text),
      h("p", { class: "row" },
        h("button", { type: "button", class: "main", onclick: guard(async () => {
          await api("PUT", `/policies/${encodeURIComponent(name)}`, JSON.parse(text.value));
          note.textContent = "In force.";
          say(`The policy of ${name} was changed.`);
        }) }, "Put in force"),
        h("button", { type: "button", onclick: guard(async () => {
          await api("DELETE", `/policies/${encodeURIComponent(name)}`);
          text.value = "{}";
          note.textContent = "Back to the configuration.";
        }) }, "Back to the configuration"),
        h("button", { type: "button", class: "danger", onclick: guard(async () => {
          const found = await post("/revoke", { category: name });
          note.textContent = `${number(found.dropped)} entries are void.`;
        }) }, "Revoke all of its answers")));
  }

  function fill() {
    list.replaceChildren(table("Policies in force", [
      { label: "category", kind: "left", cell: ([name]) => categoryLink(name) },
      { label: "similarity", cell: ([, { policy }]) => cosine(policy.similarity_threshold) },
      { label: "probability", cell: ([, { policy }]) => cosine(policy.probability_threshold) },
      { label: "time to live", cell: ([, { policy }]) => lifetime(policy.ttl) },
      { label: "quota", cell: ([, { policy }]) => (policy.quota === null || policy.quota === undefined ? "–" : String(policy.quota)) },
      { label: "error budget", cell: ([, { policy }]) => share(policy.error_budget) },
      { label: "guards", kind: "left", cell: ([, { policy }]) => (policy.guards.length
        ? h("details", {}, h("summary", {}, number(policy.guards.length)), policy.guards.join(", ")) : "none") },
      { label: "served", kind: "left", cell: ([, { policy }]) => (!policy.cacheable ? "never" : policy.exact_only ? "equal questions" : "equal and similar") },
      { label: "from", kind: "left", cell: ([, one]) => (one.override ? "the store" : "configuration") },
      { label: "change", kind: "left", cell: ([name]) => h("button", { type: "button", onclick: () => edit(name), "aria-label": `Change ${name}` }, "Change") },
    ], Object.entries(state.policies)));
  }
  fill();
  return { root: h("div", {}, h("h1", {}, "Policies"), h("p", { class: "note" },
    "Open a category to see its labels and to try another threshold on its latest decisions."), card("In force", list)),
  refresh: async () => { await fetchAll(); fill(); } };
}
