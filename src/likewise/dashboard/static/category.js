// One category: its traffic, its labels, its policy, and what if it were another.

import { get } from "./api.js";
import { chart, colour } from "./chart.js";
import { card, cosine, duration, facts, h, lifetime, money, number, share } from "./dom.js";
import { wrongText } from "./overview.js";
import { fetchHistory, savedChart, spans, totals, trafficChart, wrongChart, pressureChart } from "./traffic.js";
import { whatIf } from "./whatif.js";

const BARS = [["right", "labelled right", "good"], ["wrong", "labelled wrong", "bad"],
  ["hits", "recent hits", "exact"], ["misses", "recent misses", "miss"]];

function histogram(state) {
  return chart("Similarity", "of labelled pairs, and of recent requests to their nearest entry; the line is the threshold in force. What is less similar counts in the first bin.", () => {
    const { found } = state;
    const middles = found.edges.slice(1).map((edge, at) => (edge + found.edges[at]) / 2);
    const learned = found.probability_threshold !== null;
    return {
      data: BARS.map(([name, label, paint]) => ({ type: "bar", x: middles, y: found[name], name: label,
        marker: { color: colour(paint) }, opacity: 0.75 })),
      layout: { barmode: "overlay", xaxis: { title: { text: "cosine" }, range: [found.edges[0], 1] }, yaxis: { title: { text: "pairs" }, type: "log", rangemode: "normal" },
        shapes: [{ type: "line", x0: found.similarity_threshold, x1: found.similarity_threshold, y0: 0, y1: 1, yref: "paper",
          line: { color: colour("ink"), width: 2, dash: learned ? "dot" : "solid" } }] },
      columns: [{ label: "from", cell: (at) => cosine(found.edges[at]) },
        ...BARS.map(([name, label]) => ({ label, cell: (at) => number(found[name][at]) }))],
      rows: middles.map((_, at) => at).filter((at) => BARS.some(([name]) => found[name][at])),
    };
  });
}

export async function category([name], _, say) {
  const state = { span: "1h" };
  const fetchAll = async () => {
    const place = encodeURIComponent(name);
    const [stats, history, found, policies] = await Promise.all([
      get("/stats"), fetchHistory(state.span), get(`/similarities/${place}`), get("/policies")]);
    Object.assign(state, { own: stats.categories[name], history, found, policy: (policies[name] ?? policies.default) });
  };
  await fetchAll();
  const summary = h("div");
  const charts = [trafficChart(state, name), savedChart(state, name),
    wrongChart(state, name, state.found.wrong_rate.budget), histogram(state), pressureChart(state)];
  const slider = whatIf(state.found, say);

  function fill() {
    const { own, found, policy, history } = state;
    const total = totals(history, name);
    const learned = found.probability_threshold !== null;
    summary.replaceChildren(facts([
      ["requests", `${number(total.requests)}, of which ${share(total.requests ? total.hits / total.requests : null)} hits`],
      ["wrong hits", wrongText(found.wrong_rate)],
      ["error budget", share(found.wrong_rate.budget)],
      ["in force", learned
        ? (found.probability_threshold >= 1 ? "exact only: no threshold is certified yet" : `probability of ${cosine(found.probability_threshold)} or more (by ${found.wrong_rate.by})`)
        : `similarity of ${cosine(found.similarity_threshold)} or more`],
      ["time to live", lifetime(policy.policy.ttl)],
      ["entries", own ? `${number(own.entries)} (${number(own.guaranteed_entries)} guaranteed)` : "0"],
      ["saved", `${duration(total.saved_s)}, ${money(total.saved_usd)}`],
      ["ledger", own?.ledger ? `${own.ledger.verdict}; hit rate ${share(own.ledger.hit_rate)}, break-even ${share(own.ledger.break_even)}` : null],
    ]));
    charts.forEach((one) => one.update());
  }
  fill();
  const root = h("div", {},
    h("div", { class: "head" }, h("h1", {}, `Category ${name}`), spans(state.span, async (span) => {
      state.span = span;
      await fetchAll();
      fill();
    })),
    card("How it stands", summary, h("p", { class: "row" },
      h("a", { href: `#/entries?category=${encodeURIComponent(name)}` }, "Its entries"),
      h("a", { href: "#/policies" }, "All policies"))),
    h("div", { class: "pair" }, card("Traffic", charts[0]), card("Right and wrong", charts[3])),
    card("What if the threshold were another?", slider.root),
    h("div", { class: "pair" }, card("Wrong hits", charts[2]), card("Saved", charts[1])),
    card("Load of the models", charts[4]));
  return { root, ready: slider.judge, refresh: async () => { await fetchAll(); fill(); } };
}
