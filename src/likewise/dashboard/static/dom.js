// Elements, tables and figures as text: what every view is made of.

/** Make an element; attributes that begin with "on" are listeners, false ones are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Put children in the place of what an element has; what is null is left out. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

/**
 * Make a table. Columns are {label, cell(row), kind}: kind "left" and "text" begin at the left,
 * others are numbers.
 */
export function table(caption, columns, rows, empty = "Nothing yet.") {
  const place = (column) => (column.kind ? (column.kind === "text" ? "text" : "left") : null);
  const head = columns.map((column) =>
    h("th", { scope: "col", class: column.kind ? "left" : null }, column.label));
  const body = rows.map((row) =>
    h("tr", {}, columns.map((column) => h("td", { class: place(column) }, column.cell(row) ?? "–"))));
  if (!rows.length) body.push(h("tr", {}, h("td", { colspan: columns.length, class: "left" }, empty)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body)));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function card(title, ...children) {
  const id = `card-${(card.count = (card.count ?? 0) + 1)}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

export function field(label, input, attributes = {}) {
  input.id = input.id || `field-${(field.count = (field.count ?? 0) + 1)}`;
  return h("div", attributes, h("label", { for: input.id }, label), input);
}

export function choices(legend, name, values, chosen, onchange) {
  return h("fieldset", {}, h("legend", {}, legend), h("div", { class: "choices" },
    values.map(([value, label]) => h("label", {}, h("input", {
      type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) }), label))));
}

/** A dialog with a title, closed by Escape or its button; gone once closed. */
export function dialog(title, ...children) {
  const box = h("dialog", { "aria-label": title },
    h("div", { class: "head" }, h("h2", {}, title),
      h("button", { type: "button", onclick: () => box.close() }, "Close")), ...children);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const some = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 2 });
const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export const number = (value) => (known(value) ? whole.format(value) : "–");
export const share = (value, digits = 1) => (known(value) ? `${(100 * value).toFixed(digits)} %` : "–");
export const cosine = (value) => (known(value) ? value.toFixed(3) : "–");
export const money = (value) =>
  known(value) ? (value && Math.abs(value) < 0.01 ? `$${some.format(value)}` : dollars.format(value)) : "–";
export const moment = (seconds) => (known(seconds) ? new Date(1000 * seconds).toLocaleString() : "–");
export function bytes(value) {
  if (!known(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < units.length - 1) { value /= 1024; place += 1; }
  return `${some.format(value)} ${units[place]}`;
}
export function duration(seconds) {
  if (!known(seconds)) return "–";
  const size = Math.abs(seconds);
  if (size < 1) return `${some.format(1000 * seconds)} ms`;
  if (size < 90) return `${some.format(seconds)} s`;
  if (size < 5400) return `${some.format(seconds / 60)} min`;
  if (size < 172800) return `${some.format(seconds / 3600)} h`;
  return `${some.format(seconds / 86400)} d`;
}
export const lifetime = (ttl) => (ttl === null ? "for ever" : typeof ttl === "number" ? duration(ttl) : String(ttl));
export const sum = (list) => (list ?? []).reduce((total, value) => total + value, 0);
