// Ask without being served: the decision, step by step; and the receipts of recent ones.

import { get, post } from "./api.js";
import { card, cosine, facts, field, h, moment, number, share, table } from "./dom.js";

const step = (title, kind, ...children) => h("li", { class: kind }, h("strong", {}, title), ...children);
const words = (...parts) => h("div", {}, ...parts);

function decisionText(decision, reason, detail) {
  const paint = { hit: "good", miss: "warn", bypass: "warn" }[decision];
  return h("p", {}, h("span", { class: `verdict ${paint}` }, decision), ` (${reason}${detail ? `: ${detail}` : ""})`);
}

/** The steps of an explanation, in the order in which a request goes through them. */
function stepsOf(told) {
  const { asked, policy } = told;
  const bypass = told.decision === "bypass";
  const exact = told.tier === "exact";
  const list = [
    step("Request", "", facts([["question", asked.question], ["model", asked.model], ["turns", number(asked.turns)],
      ["temperature", asked.temperature === null ? null : String(asked.temperature)]])),
    step("Scope", "", words("Only what shares all of this can answer: tenant ", h("code", {}, asked.tenant || "none"),
      ", scope ", h("code", {}, asked.scope), ". ", told.in_scope.length ? `It holds entries of ${told.in_scope.join(", ")}.` : "It holds nothing yet.")),
    step("Category", "", words(`${policy.name}, named by ${told.category_by}. `,
      Object.keys(told.likely).length ? `Likely: ${Object.entries(told.likely).map(([n, p]) => `${n} ${share(p, 0)}`).join(", ")}.` : "")),
    step("May the cache be read?", bypass ? "end" : "", words(bypass ? `No: ${told.reason}.` : told.exact_only ? `For equal questions only: ${told.exact_only}.` : "Yes.")),
  ];
  if (!bypass) {
    list.push(step("Equal question", exact ? "end" : "", words(exact ? "Found, to the letter." : "None that is fresh.")));
    list.push(step("Gate", exact ? "skipped" : "", words(told.gate
      ? `Coarse similarity ${cosine(told.gate.cosine)}; below ${cosine(told.gate.bound)} a question is not embedded in service${told.gate.closed ? ": this one would be turned away" : ""}.`
      : "It would say nothing, so the question is embedded.")));
    list.push(step("Nearest in meaning", exact ? "skipped" : "", table("The nearest entries of the scope", [
      { label: "similarity", cell: (one) => cosine(one.similarity) },
      { label: "probability", cell: (one) => cosine(one.probability) },
      { label: "question", kind: "text", cell: (one) => one.question },
      { label: "a guard objects", kind: "left", cell: (one) => one.veto ?? "no" },
    ], told.candidates, "Nothing to compare with.")));
    list.push(step("Threshold", exact ? "skipped" : "", words(policy.probability_threshold !== null
      ? (policy.probability_threshold >= 1 ? "No probability is certified for this category yet." : `A probability of ${cosine(policy.probability_threshold)} or more.`)
      : `A similarity of ${cosine(told.threshold)} or more.`)));
  }
  list.push(step("Decision", "end", decisionText(told.decision, told.reason, told.detail)));
  return h("ol", { class: "steps" }, list);
}

/** A receipt, which holds no text, in the same order. */
function receiptSteps(receipt) {
  return h("ol", { class: "steps" },
    step("Request", "", facts([["identifier", h("code", {}, receipt.id)], ["asked", moment(receipt.at)]])),
    step("Category", "", words(`${receipt.category}, named by ${receipt.category_by}; policy `, h("code", {}, receipt.policy_version), ".")),
    step("Pressure", "", words(receipt.pressure ? `${cosine(receipt.pressure)}: thresholds and lives may have moved.` : "None: the policy as it is.")),
    step("Candidates", "", table("What was compared", [
      { label: "tier", kind: "left", cell: (one) => one.tier },
      { label: "similarity", cell: (one) => cosine(one.similarity) },
      { label: "probability", cell: (one) => cosine(one.probability) },
      { label: "entry", kind: "left", cell: (one) => (one.entry_id ? h("code", {}, one.entry_id) : "–") },
      { label: "stood against it", kind: "left", cell: (one) => one.objection ?? (one.gate ? `the gate at ${cosine(one.gate)}` : "–") },
    ], receipt.candidates, "Nothing was compared.")),
    step("Threshold", "", words(receipt.probability_threshold !== null
      ? `Probability ${cosine(receipt.probability_threshold)}, by ${receipt.threshold_by}.` : `Similarity ${cosine(receipt.similarity_threshold)}.`)),
    step("Decision", "end", decisionText(receipt.decision, receipt.reason, receipt.detail),
      words(receipt.replays ? "Decided again on the same ground it comes out the same." : "Decided again it comes out otherwise.")));
}

export async function playground(_, query, say) {
  const policies = await get("/policies");
  const question = h("textarea", { rows: "3", required: true }, query.get("question") ?? "");
  const model = h("input", { type: "text", value: query.get("model") || "gpt-4o-mini", required: true });
  const system = h("textarea", { rows: "2" });
  const key = h("input", { type: "password", autocomplete: "off", placeholder: "of the application whose answers are meant" });
  const kinds = h("select", {}, h("option", { value: "" }, "find it out"),
    Object.keys(policies).map((name) => h("option", { value: name, selected: name === query.get("category") }, name)));
  const result = h("div", { "aria-live": "polite" });
  const recent = h("div");

  async function ask() {
    const messages = [{ role: "user", content: question.value }];
    if (system.value) messages.unshift({ role: "system", content: system.value });
    const headers = {};
    if (key.value) headers.authorization = `Bearer ${key.value}`;
    if (kinds.value) headers["x-likewise-category"] = kinds.value;
    const told = await post("/explain", { request: { model: model.value, messages }, headers });
    result.replaceChildren(card("Step by step", stepsOf(told),
      h("details", {}, h("summary", {}, "All of it as JSON"), h("pre", {}, JSON.stringify(told, null, 2)))));
    say(`Decision: ${told.decision}, ${told.reason}.`);
  }

  async function latest() {
    const found = await get("/decisions?limit=25");
    recent.replaceChildren(table("The latest decisions", [
      { label: "request", kind: "left", cell: (one) => h("button", { type: "button", class: "link", onclick: async () => {
        try {
          const receipt = await get(`/decisions/${encodeURIComponent(one.id)}`);
          result.replaceChildren(card("Receipt", receiptSteps(receipt),
            h("details", {}, h("summary", {}, "All of it as JSON"), h("pre", {}, JSON.stringify(receipt, null, 2)))));
          result.scrollIntoView({ block: "start" });
        } catch (error) { say(error.message, true); }
      } }, one.id) },
      { label: "when", kind: "left", cell: (one) => moment(one.at) },
      { label: "category", kind: "left", cell: (one) => one.category },
      { label: "decision", kind: "left", cell: (one) => `${one.decision}, ${one.reason}` },
      { label: "similarity", cell: (one) => cosine(one.similarity) },
    ], found.decisions));
  }

  await latest();
  const form = h("form", { class: "form", onsubmit: async (event) => {
    event.preventDefault();
    try { await ask(); } catch (error) { say(error.message, true); }
  } }, field("Question", question, { class: "wide" }), field("System prompt", system, { class: "wide" }),
  field("Model", model), field("Category", kinds), field("API key", key),
  h("div", {}, h("button", { class: "main", type: "submit" }, "Decide")));
  return { root: h("div", {}, h("h1", {}, "Playground"),
    h("p", { class: "note" }, "Nothing is served, counted or stored here; it shows what would be decided, and why."),
    card("Ask", form), result, card("Recent", recent)), refresh: latest };
}
