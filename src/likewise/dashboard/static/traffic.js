// Charts over time, of one category or of all.

import { get } from "./api.js";
import { chart, colour } from "./chart.js";
import { choices, cosine, duration, moment, money, number, share, sum } from "./dom.js";

const OUTCOMES = [
  ["exact_hits", "exact hits", "exact"],
  ["semantic_hits", "semantic hits", "semantic"],
  ["misses", "misses", "miss"],
  ["bypasses", "bypasses", "bypass"],
];

export const SPANS = [["1h", "hour"], ["24h", "day"], ["30d", "month"]];

export function spans(chosen, onchange) {
  return choices("Over the last", "span", SPANS, chosen, onchange);
}

/** The counters of one category over time, or of all together; lists as long as `times`. */
export function counted(history, name) {
  const zeros = history.times.map(() => 0);
  const parts = name ? [history.categories[name] ?? {}] : Object.values(history.categories);
  const total = {};
  for (const part of parts) {
    for (const [counter, list] of Object.entries(part)) {
      if (counter === "wrong") continue;
      total[counter] = total[counter] ? total[counter].map((v, i) => v + list[i]) : list;
    }
  }
  return new Proxy(total, { get: (own, counter) => own[counter] ?? zeros });
}

/** From the first step in which anything was asked or sampled. */
function used(history) {
  const first = history.times.findIndex((_, at) => history.pressure[at] !== null);
  return first < 0 ? history.times.length - 1 : Math.max(0, first - 1);
}

const dates = (history, from) => history.times.slice(from).map((t) => new Date(1000 * t));

export function trafficChart(state, name) {
  return chart("Traffic", "requests in each step, by what became of them.", () => {
    const { history } = state;
    const from = used(history), own = counted(history, name), x = dates(history, from);
    // The last step is as wide as the others.
    x.push(new Date(1000 * (history.times[history.times.length - 1] + history.step_s)));
    const steps = (list) => [...list.slice(from), list[list.length - 1]];
    return {
      data: OUTCOMES.map(([counter, label, paint]) => ({
        x, y: steps(own[counter]), name: label, type: "scatter", mode: "lines", stackgroup: "all",
        line: { width: 0.5, color: colour(paint), shape: "hv" }, fillcolor: colour(paint) })),
      layout: { yaxis: { title: { text: "requests" } } },
      columns: [{ label: "from", kind: "left", cell: (at) => moment(history.times[at]) },
        ...OUTCOMES.map(([counter, label]) => ({ label, cell: (at) => number(own[counter][at]) }))],
      rows: history.times.map((_, at) => at).slice(from).reverse(),
    };
  });
}

export function savedChart(state, name) {
  return chart("Saved", "model time and money since the span began.", () => {
    const { history } = state;
    const from = used(history), own = counted(history, name), x = dates(history, from);
    const running = (list) => { let total = 0; return list.map((value) => (total += value)); };
    const seconds = running(own.saved_s).slice(from), usd = running(own.saved_usd).slice(from);
    return {
      data: [
        { x, y: seconds, name: "model time, s", line: { color: colour("exact") }, mode: "lines" },
        { x, y: usd, name: "money, $", line: { color: colour("bypass"), dash: "dot" }, mode: "lines", yaxis: "y2" },
      ],
      layout: { margin: { l: 48, r: 52, t: 8, b: 36 }, yaxis: { title: { text: "seconds" } },
        yaxis2: { title: { text: "US dollars" }, showgrid: false } },
      columns: [{ label: "from", kind: "left", cell: (at) => moment(history.times[at + from]) },
        { label: "time", cell: (at) => duration(seconds[at]) }, { label: "money", cell: (at) => money(usd[at]) }],
      rows: x.map((_, at) => at).reverse(),
    };
  });
}

export function pressureChart(state) {
  return chart("Pressure", "load of the busiest model behind, 0 to 1, and the mean time of a lookup.", () => {
    const { history } = state;
    const from = used(history), own = counted(history), x = dates(history, from);
    const pressure = history.pressure.slice(from);
    const lookups = own.lookup_s.slice(from).map((s, at) => {
      const asked = own.requests[at + from];
      return asked ? 1000 * s / asked : null;
    });
    return {
      data: [
        { x, y: pressure, name: "pressure", line: { color: colour("bad"), shape: "hv" }, mode: "lines" },
        { x, y: lookups, name: "lookup, ms", line: { color: colour("semantic"), dash: "dot" },
          mode: "lines+markers", marker: { size: 3 }, yaxis: "y2" },
      ],
      layout: { margin: { l: 48, r: 52, t: 8, b: 36 }, yaxis: { title: { text: "pressure" }, range: [0, 1.02] },
        yaxis2: { title: { text: "ms" }, showgrid: false } },
      columns: [{ label: "from", kind: "left", cell: (at) => moment(history.times[at + from]) },
        { label: "pressure", cell: (at) => cosine(pressure[at]) },
        { label: "lookup", cell: (at) => (lookups[at] === null ? "–" : duration(lookups[at] / 1000)) }],
      rows: x.map((_, at) => at).reverse(),
    };
  });
}

export function wrongChart(state, name, budget) {
  return chart("Wrong hits", "of those audited since the span began, with the interval of 95 % and the budget.", () => {
    const { history } = state;
    const from = used(history), x = dates(history, from);
    const wrong = (history.categories[name]?.wrong ?? history.times.map(() => null)).slice(from);
    const of = (place) => wrong.map((one) => (one ? one[place] : null));
    const ends = [x[0], x[x.length - 1]];
    return {
      data: [
        { x, y: of(1), mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
        { x, y: of(2), mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: "rgba(179,38,30,.2)",
          name: "interval" },
        { x, y: of(0), mode: "lines", line: { color: colour("bad") }, name: "wrong" },
        { x: ends, y: [budget, budget], mode: "lines", line: { color: colour("good"), dash: "dash" }, name: "budget" },
      ],
      layout: { yaxis: { tickformat: ".1%" } },
      columns: [{ label: "from", kind: "left", cell: (at) => moment(history.times[at + from]) },
        { label: "wrong", cell: (at) => share(wrong[at]?.[0]) },
        { label: "at least", cell: (at) => share(wrong[at]?.[1]) },
        { label: "at most", cell: (at) => share(wrong[at]?.[2]) }],
      rows: x.map((_, at) => at).filter((at) => wrong[at]).reverse(),
    };
  });
}

/** What the span came to, of one category or of all. */
export function totals(history, name) {
  const own = counted(history, name);
  const found = Object.fromEntries(["requests", "exact_hits", "semantic_hits", "misses", "bypasses", "saved_s",
    "saved_usd", "saved_tokens", "lookup_s", "faults", "stored"].map((counter) => [counter, sum(own[counter])]));
  return { ...found, hits: found.exact_hits + found.semantic_hits };
}

export const fetchHistory = (span) => get(`/history?span=${span}`);
