// Everything at a glance.

import { get } from "./api.js";
import { bytes, card, cosine, duration, h, money, number, share, table } from "./dom.js";
import { fetchHistory, pressureChart, savedChart, spans, totals, trafficChart } from "./traffic.js";

export const categoryLink = (name) => h("a", { href: `#/category/${encodeURIComponent(name)}` }, name);

/** How often hits were wrong, with its interval, against the budget; in words, not by colour alone. */
export function wrongText(found) {
  if (!found || found.rate === null) return h("span", { class: "note" }, found?.by === "nothing learns" ? "no labels" : "not certified");
  const [low, high] = found.interval;
  const verdict = low > found.budget ? ["bad", "over budget"] : high <= found.budget ? ["good", "within budget"] : ["warn", "not sure yet"];
  return h("span", {}, `${share(found.rate)} (${share(low)} to ${share(high)}) `,
    h("span", { class: verdict[0] }, verdict[1]));
}

export async function overview() {
  const state = { span: "1h" };
  const fetchAll = async () => {
    const [stats, load, history, wrong] = await Promise.all([
      get("/stats"), get("/load"), fetchHistory(state.span), get("/wrong")]);
    Object.assign(state, { stats, load, history, wrong });
  };
  await fetchAll();
  const tiles = h("dl", { class: "tiles" });
  const list = h("div");
  const charts = [trafficChart(state), savedChart(state), pressureChart(state)];

  function fill() {
    const { stats, load, history } = state;
    const total = totals(history);
    const pressure = Math.max(0, ...Object.values(load.models).map((one) => one.pressure));
    const tile = (name, value, more) =>
      h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null));
    tiles.replaceChildren(
      tile("Requests", number(total.requests), `${number(total.misses)} misses`),
      tile("Hit rate", share(total.requests ? total.hits / total.requests : null),
        `${number(total.exact_hits)} exact, ${number(total.semantic_hits)} semantic`),
      tile("Model time saved", duration(total.saved_s), `${number(total.saved_tokens)} tokens`),
      tile("Money saved", money(total.saved_usd)),
      tile("Lookup, mean", duration(total.requests ? total.lookup_s / total.requests : null)),
      tile("Pressure now", cosine(pressure), `${number(load.waiting)} waiting`),
      tile("Entries", number(stats.entries), bytes(stats.bytes)),
      tile("Faults of the cache", number(total.faults), total.faults ? "see the log" : "none"));
    const rows = Object.entries(stats.categories).map(([name, own]) => ({ name, own, ...totals(history, name) }));
    rows.sort((a, b) => b.requests - a.requests || a.name.localeCompare(b.name));
    list.replaceChildren(table("Categories, over the span", [
      { label: "category", kind: "left", cell: (row) => categoryLink(row.name) },
      { label: "requests", cell: (row) => number(row.requests) },
      { label: "hit rate", cell: (row) => share(row.requests ? row.hits / row.requests : null) },
      { label: "exact", cell: (row) => number(row.exact_hits) },
      { label: "semantic", cell: (row) => number(row.semantic_hits) },
      { label: "wrong hits", kind: "left", cell: (row) => wrongText(state.wrong[row.name]) },
      { label: "saved", cell: (row) => duration(row.saved_s) },
      { label: "money", cell: (row) => money(row.saved_usd) },
      { label: "entries", cell: (row) => number(row.own.entries) },
    ], rows, "Nothing was asked yet. Point an application at the gateway, or try the playground."));
    charts.forEach((one) => one.update());
  }
  fill();
  const root = h("div", {},
    h("div", { class: "head" }, h("h1", {}, "Overview"), spans(state.span, async (span) => {
      state.span = span;
      await fetchAll();
      fill();
    })),
    tiles,
    card("Traffic", charts[0]),
    h("div", { class: "pair" }, card("Saved", charts[1]), card("Load", charts[2])),
    card("Categories", list));
  return { root, refresh: async () => { await fetchAll(); fill(); } };
}
