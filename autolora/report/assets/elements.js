// The data of the page, and the elements that every part of it makes.
// Texts from hubs are inserted as text nodes only, never as markup.

const { adapters: columns, images, heatmap } = JSON.parse(document.getElementById("data").textContent);
const names = Object.keys(columns);
const adapters = (columns.sha256 ?? []).map((sha256, i) => {
  const a = { key: `/${sha256}` };
  for (const name of names) a[name] = columns[name][i];
  return a;
});
const byKey = new Map(adapters.map((a) => [a.key, a]).reverse());
const byId = (id) => document.getElementById(id);
let saying;

function say(text) {
  byId("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { byId("said").textContent = ""; }, 2500);
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const hubText = (text) => make("bdi", {}, text);
const captionOf = (rendering) => (rendering.captions.length ? rendering.captions[0][1] : "rendering");
const copy = (text, label, title) => make("button", { type: "button", class: "copy", "data-copy": text, title: title ?? `Copy ${text}` }, hubText(label));
const badge = (text, variant = "") => (text ? make("span", { class: `badge ${variant}`.trim() }, hubText(text)) : null);

function image(a, rendering, alt) {
  const [src, width, height, isSmall] = images[rendering.number];
  const node = make("img", { src, width, height, alt: alt ?? `${a.id}: ${captionOf(rendering)}`, decoding: "async",
    loading: src.startsWith("data:") ? null : "lazy", class: isSmall ? "pixels" : null });
  return a.nsfw ? make("span", { class: "veil" }, node) : node;
}

function cover(a) {
  if (!a.images.length) return make("span", { class: "cover none" }, a.accepted ? "no image" : "refused");
  return make("span", { class: "cover" }, image(a, a.images[0], ""));
}

function badges(a) {
  return make("div", { class: "badges" },
    a.accepted ? null : badge(`refused: ${a.code}`, "bad"),
    a.nsfw ? badge("not safe for work", "warn") : null,
    a.person ? badge("real person", "warn") : null,
    a.commercial ? badge("may sell", "good") : a.commercial === false ? badge("no selling", "bad") : null,
    badge({ other: "license: other", unknown: "license unknown" }[a.license] ?? a.license ?? "license unknown"));
}

function card(a) {
  return make("li", { class: "card" },
    make("a", { class: "face", href: `#${a.key}` }, cover(a),
      make("span", { class: "name" }, hubText(a.name)),
      make("span", { class: "author" }, hubText(a.theme ?? a.author ?? a.hub))),
    make("div", { class: "facts" }, badges(a),
      make("div", { class: "actions" }, a.triggers.length ? copy(a.triggers[0], a.triggers[0], "Copy the trigger word") : null)));
}
