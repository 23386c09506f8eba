// The latest decisions at another threshold, by a slider.

import { post } from "./api.js";
import { cosine, field, fill as put, h, number, share, table } from "./dom.js";

/** `found` is what /similarities says of a category. */
export function whatIf(found, say) {
  const learned = found.probability_threshold !== null;
  const kind = learned ? "probability_threshold" : "similarity_threshold";
  const word = learned ? "probability" : "similarity";
  const now = found[kind];
  const slider = h("input", { type: "range", min: "0.5", max: "1", step: "0.005", value: String(now) });
  const shown = h("output", {}, cosine(now));
  const result = h("div", { "aria-live": "polite" });
  let turn = 0;

  async function judge() {
    const mine = (turn += 1), value = Number(slider.value);
    shown.textContent = cosine(value);
    slider.setAttribute("aria-valuetext", cosine(value));
    try {
      const told = await post("/what-if", { category: found.category, [kind]: value });
      if (mine !== turn) return;
      fill(told, value);
    } catch (error) { say(error.message, true); }
  }

  function fill(told, value) {
    const more = told.hits_now - told.hits_then;
    const list = (caption, rows) => table(caption, [
      { label: word, cell: (row) => cosine(row[word]) },
      { label: "asked", kind: "text", cell: (row) => row.question },
      { label: "would be answered as", kind: "text", cell: (row) => row.candidate ?? "–" },
    ], rows, "None.");
    put(result,
      h("p", {}, h("strong", {}, `At ${cosine(value)}: ${number(told.hits_now)} hits of ${number(told.decisions)} latest decisions`),
        `, ${more === 0 ? "as many as" : more > 0 ? `${number(more)} more than` : `${number(-more)} fewer than`} there were.`,
        told.gated ? ` ${number(told.gated)} were turned away before they were compared, and stay misses here.` : ""),
      told.labels && told.labels.labels ? h("p", {}, `Of the labelled pairs from there up, ${share(told.labels.rate)} are wrong `
        + `(${share(told.labels.interval[0])} to ${share(told.labels.interval[1])}, ${number(told.labels.labels)} labels).`) : null,
      told.gained.length ? list("Would become hits", told.gained) : null,
      told.lost.length ? list("Would be hits no more", told.lost) : null);
  }

  let timer = 0;
  slider.addEventListener("input", () => {
    shown.textContent = cosine(Number(slider.value));
    clearTimeout(timer);
    timer = setTimeout(judge, 150);
  });
  const root = h("div", {}, field(`Least ${word} of a hit`, slider), h("p", {}, "At ", shown, `; in force is ${cosine(now)}.`), result);
  return { root, judge };
}
