// The entries: look them up by text or by meaning, see one in full, judge it, drop it.

import { api, get, post } from "./api.js";
import { bytes, card, choices, cosine, dialog, duration, facts, field, h, moment, money, number, table } from "./dom.js";

/** The text of an answer in the shape of OpenAI's, else its JSON. */
function answerText(answer) {
  const message = answer?.choices?.[0]?.message?.content;
  return typeof message === "string" ? message : typeof answer === "string" ? answer : JSON.stringify(answer, null, 2);
}

export async function entries(_, query, say) {
  const state = { by: "text", found: null };
  const policies = await get("/policies");
  const text = h("input", { type: "search", value: query.get("text") ?? "", placeholder: "leave empty for the newest" });
  const kinds = h("select", {}, h("option", { value: "" }, "all categories"),
    Object.keys(policies).map((name) => h("option", { value: name, selected: name === query.get("category") }, name)));
  const list = h("div", { "aria-live": "polite" });

  async function search() {
    const category = kinds.value;
    if (state.by === "meaning" && text.value.trim()) {
      state.found = await post("/entries/search", { question: text.value, category, limit: 50 });
    } else {
      state.found = await get(`/entries?${new URLSearchParams({ text: text.value, category, limit: "100" })}`);
    }
    fill();
  }

  function fill() {
    const { total, entries: rows } = state.found;
    list.replaceChildren(table(`${number(rows.length)} of ${number(total)} entries`, [
      ...(rows.some((row) => row.similarity !== null) ? [{ label: "similarity", cell: (row) => cosine(row.similarity) }] : []),
      { label: "question", kind: "text", cell: (row) => h("button", { type: "button", class: "link", onclick: () => open(row) },
        row.question || "(no text kept)") },
      { label: "category", kind: "left", cell: (row) => row.category },
      { label: "stored", kind: "left", cell: (row) => moment(row.created_at) },
      { label: "expires", kind: "left", cell: (row) => (row.expires_at === null ? "never" : moment(row.expires_at)) },
      { label: "size", cell: (row) => bytes(row.bytes) },
    ], rows, "No entry has this."));
  }

  const attempt = (act) => async () => { try { await act(); } catch (error) { say(error.message, true); } };

  async function open(row) {
    let entry;
    try { entry = await get(`/entries/${encodeURIComponent(row.id)}`); } catch (error) { say(error.message, true); return; }
    const made = entry.provenance;
    const note = h("p", { role: "status" });
    const near = h("input", { type: "range", min: "0.7", max: "1", step: "0.005", value: "0.9" });
    const at = h("output", {}, "0.900");
    const nearby = h("div");
    const wrongFor = h("input", { type: "text", placeholder: "the question it was given to; empty for its own" });
    const tell = (words) => { note.textContent = words; say(words); };
    const after = attempt(async () => { await search(); });
    const guard = (act) => async () => {
      try { await act(); } catch (error) { note.textContent = error.message; }
    };
    const look = guard(async () => {
      const found = await post("/drop-near", { entry_id: entry.id, similarity: Number(near.value), dry_run: true });
      nearby.replaceChildren(table(`${number(found.near)} near it, itself among them`, [
        { label: "similarity", cell: (one) => cosine(one.similarity) },
        { label: "question", kind: "text", cell: (one) => one.question },
      ], found.entries), h("button", { type: "button", class: "danger", onclick: guard(async () => {
        const gone = await post("/drop-near", { entry_id: entry.id, similarity: Number(near.value) });
        nearby.replaceChildren();
        tell(`${number(gone.dropped)} entries were dropped.`);
        after();
      }) }, `Drop these ${number(found.near)}`));
    });
    near.addEventListener("input", () => { at.textContent = cosine(Number(near.value)); });
    dialog("Entry", note,
      h("h3", {}, "Question"), h("pre", {}, entry.question || "(no text kept)"),
      h("h3", {}, "Answer"), h("pre", {}, answerText(entry.answer)),
      h("h3", {}, "Where it came from"),
      facts([
        ["identifier", h("code", {}, entry.id)], ["category", entry.category], ["model", made.model],
        ["stored", moment(entry.created_at)], ["expires", entry.expires_at === null ? "never" : moment(entry.expires_at)],
        ["took the model", duration(made.latency_s)], ["cost", money(made.cost_usd)],
        ["tokens", made.prompt_tokens === null ? null : `${number(made.prompt_tokens)} in, ${number(made.completion_tokens)} out`],
        ["tenant", h("code", {}, entry.tenant || "none")], ["namespace", entry.namespace],
        ["scope", h("code", {}, entry.scope)], ["epoch", number(entry.epoch)],
        ["embedder", entry.embedder || "none: served to equal questions only"], ["sources", entry.sources],
        ["size", bytes(entry.bytes)],
      ]),
      h("h3", {}, "Judge or drop"),
      h("div", { class: "form" }, field("Wrong for", wrongFor, { class: "wide" })),
      h("p", { class: "row" },
        h("button", { type: "button", class: "danger", onclick: guard(async () => {
          await post(`/entries/${encodeURIComponent(entry.id)}/feedback`,
            { correct: false, question: wrongFor.value.trim() || entry.question || null });
          tell("Marked wrong: this question is not answered with it again.");
          after();
        }) }, "Mark wrong"),
        h("button", { type: "button", class: "danger", onclick: guard(async () => {
          const gone = await api("DELETE", `/entries/${encodeURIComponent(entry.id)}`);
          tell(gone.dropped ? "The entry was dropped." : "The entry was gone already.");
          after();
        }) }, "Drop this entry"),
        h("a", { class: "button", href: `#/playground?${new URLSearchParams({ question: entry.question, category: entry.category, model: made.model })}`,
          onclick: (event) => event.target.closest("dialog").close() }, "Ask it in the playground")),
      h("h3", {}, "Drop everything near this"),
      field("Least similarity", near), h("p", { class: "row" }, at,
        h("button", { type: "button", onclick: look }, "Show what is near")), nearby);
  }

  const form = h("form", { class: "form", onsubmit: (event) => { event.preventDefault(); attempt(search)(); } },
    field("Search", text, { class: "wide" }),
    choices("By", "by", [["text", "text"], ["meaning", "meaning"]], state.by, (by) => { state.by = by; }),
    field("Category", kinds),
    h("div", {}, h("button", { class: "main", type: "submit" }, "Search")));
  await search();
  return { root: h("div", {}, h("h1", {}, "Entries"), card("Look up", form), card("Found", list)) };
}
