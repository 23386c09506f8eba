// Charts by plotly.js, which is loaded when the first one is drawn; each has its data as a table.

import { h, table } from "./dom.js";

let library = null;

function load() {
  library ??= new Promise((resolve) => {
    const script = h("script", { src: "plotly.min.js" });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => resolve(null);
    document.head.append(script);
  });
  return library;
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const figures = new Set();

/**
 * Return a figure, which is drawn by `redraw` or `update` once it is on the page. `draw()`
 * gives {data, layout, columns, rows}: plotly's traces and layout, and the
 * same as a table. `update()` of the figure draws it again, with what `draw` says then.
 */
export function chart(title, note, draw) {
  const plot = h("div", { class: "plot", role: "img", "aria-label": `${title}. The data follow as a table.` });
  const shown = h("details", {}, h("summary", {}, "Data as a table"));
  const missing = h("p", { class: "note", hidden: true },
    "No charts here: the gateway lacks plotly, which pip install 'likewise[ui]' brings.");
  const figure = h("figure", {}, plot, missing,
    h("figcaption", {}, h("strong", {}, title), note ? ` ${note}` : ""), shown);
  const fill = () => {
    const { columns, rows } = draw();
    shown.replaceChildren(shown.firstChild, table(title, columns, rows));
  };
  shown.addEventListener("toggle", () => { if (shown.open) fill(); });
  figure.update = async () => {
    if (shown.open) fill();
    const plotly = await load();
    if (!plot.isConnected) return;
    if (!plotly) { missing.hidden = false; plot.hidden = true; shown.open = true; return; }
    const { data, layout } = draw();
    plotly.react(plot, data, themed(layout), { displayModeBar: false, responsive: true });
  };
  figures.add(figure);
  return figure;
}

/** Draw all figures that are on the page again, as after a change of the theme. */
export function redraw() {
  for (const figure of figures) {
    if (figure.isConnected) figure.update(); else figures.delete(figure);
  }
}

function themed(layout) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  return {
    height: 270,
    margin: { l: 48, r: 12, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    legend: { orientation: "h", y: -0.3 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("paper"), font: { color: colour("ink") } },
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...layout.yaxis },
    ...(layout.yaxis2 ? { yaxis2: { ...axis, rangemode: "tozero", overlaying: "y", side: "right", tickmode: "auto", ...layout.yaxis2 } } : {}),
  };
}
