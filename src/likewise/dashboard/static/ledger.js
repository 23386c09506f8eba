// What each category costs and earns, and from which hit rate on it pays.

import { get } from "./api.js";
import { chart, colour } from "./chart.js";
import { card, duration, h, money, number, share, table } from "./dom.js";
import { categoryLink } from "./overview.js";

const VERDICTS = { earns: ["good", "earns"], loses: ["bad", "loses"], unknown: ["warn", "too little to tell"] };
const milli = (value) => (value === null || value === undefined ? "–" : duration(value / 1000));

export async function ledger() {
  const state = {};
  const fetchAll = async () => { state.stats = await get("/stats"); };
  await fetchAll();
  const rows = () => Object.entries(state.stats.categories)
    .map(([name, own]) => ({ name, ...own.ledger })).sort((a, b) => b.lookups - a.lookups);
  const list = h("div");
  const picture = chart("Hit rate and break-even", "a category earns when its hit rate is above the mark.", () => {
    const all = rows();
    return {
      data: [
        { type: "bar", x: all.map((row) => row.name), y: all.map((row) => row.hit_rate), name: "hit rate",
          marker: { color: colour("exact") } },
        { type: "scatter", mode: "markers", x: all.map((row) => row.name), y: all.map((row) => row.break_even),
          name: "break-even", marker: { color: colour("bad"), size: 12, symbol: "line-ew-open", line: { width: 3 } } },
      ],
      layout: { yaxis: { tickformat: ".0%" } },
      columns: [{ label: "category", kind: "left", cell: (row) => row.name },
        { label: "hit rate", cell: (row) => share(row.hit_rate) },
        { label: "break-even", cell: (row) => share(row.break_even, 2) }],
      rows: all,
    };
  });

  function fill() {
    const all = rows();
    list.replaceChildren(
      table("Since the start, by category", [
        { label: "category", kind: "left", cell: (row) => categoryLink(row.name) },
        { label: "verdict", kind: "left", cell: (row) => {
          const [paint, text] = VERDICTS[row.verdict] ?? ["", row.verdict];
          return h("span", { class: paint }, row.resting ? `${text}, resting` : row.proposal ? `${text}, try ${row.proposal}` : text);
        } },
        { label: "lookups", cell: (row) => number(row.lookups) },
        { label: "hit rate", cell: (row) => share(row.hit_rate) },
        { label: "break-even", cell: (row) => share(row.break_even, 2) },
        { label: "a miss costs", cell: (row) => milli(row.lookup_ms) },
        { label: "a hit costs", cell: (row) => milli(row.hit_ms) },
        { label: "a model call", cell: (row) => duration(row.model_s) },
        { label: "model, $", cell: (row) => money(row.model_usd) },
        { label: "net time", cell: (row) => duration(row.saved_s) },
        { label: "net money", cell: (row) => money(row.saved_usd) },
      ], all),
      ...all.filter((row) => Object.keys(row.tenants ?? {}).length > 1).map((row) => h("details", {},
        h("summary", {}, `Tenants of ${row.name}`),
        table(`Tenants of ${row.name}`, [
          { label: "tenant", kind: "left", cell: ([tenant]) => h("code", {}, tenant) },
          { label: "lookups", cell: ([, own]) => number(own.lookups) },
          { label: "hit rate", cell: ([, own]) => share(own.hit_rate) },
          { label: "time saved, net", cell: ([, own]) => duration(own.saved_s) },
          { label: "money saved, net", cell: ([, own]) => money(own.saved_usd) },
        ], Object.entries(row.tenants).sort((a, b) => b[1].lookups - a[1].lookups).slice(0, 50)))));
    picture.update();
  }
  fill();
  const root = h("div", {}, h("h1", {}, "Ledger"), h("p", { class: "note" },
    "The break-even hit rate is what a lookup costs, over what a hit saves: below it a category costs more than it earns."),
  card("Hit rate against break-even", picture), card("Accounts", list));
  return { root, refresh: async () => { await fetchAll(); fill(); } };
}
