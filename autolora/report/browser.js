"use strict";
// The pool browser, the details of the pair under the pointer on the heat map, and the dialog that shows one adapter.
// Texts from hubs are inserted as text nodes only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const { adapters, images, heatmap } = data;
const PAGE = 12;
const byKey = new Map(adapters.map((a, i) => [adapters[i].key, a]).reverse());
const byId = (id) => document.getElementById(id);

for (const img of document.querySelectorAll("img[data-image]")) images[img.dataset.image] = img.src;

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

function image(a, rendering, alt) {
  const node = make("img", { src: images[rendering.number], alt: alt ?? `${a.id}: ${captionOf(rendering)}`, loading: "lazy" });
  if (a.nsfw) node.classList.add("nsfw");
  node.addEventListener("load", () => node.classList.toggle("pixels", node.naturalWidth <= 128));
  return node;
}

function tag(text, variant = "") {
  return text ? make("span", { class: `tag ${variant}` }, hubText(text)) : null;
}

function texts(rendering) {
  const node = make("div", { class: "words" });
  for (const [length, text] of rendering.captions)
    node.append(make("p", {}, make("small", {}, `${length} caption`), hubText(text)));
  if (rendering.prompt) node.append(make("p", {}, make("small", {}, "prompt reported by the hub"), hubText(rendering.prompt)));
  if (!node.childElementCount) node.append(make("p", { class: "soft" }, "no caption yet"));
  return node;
}

function gallery(a) {
  const left = make("div", {});
  const node = make("div", { class: "show" }, left, make("div", {}));
  const buttons = a.images.map((rendering, i) =>
    make("button", { type: "button", "aria-label": `image ${i + 1} of ${a.images.length}`, click: () => choose(i) },
      image(a, rendering, "")));
  const large = make("div", {});
  left.append(large);
  if (buttons.length > 1) left.append(make("div", { class: "thumbs" }, ...buttons));
  function choose(i) {
    large.replaceChildren(image(a, a.images[i]));
    node.lastElementChild.replaceWith(texts(a.images[i]));
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", i === j));
  }
  choose(0);
  return node;
}

function facts(a) {
  const size = a.size >= 1e6 ? `${(a.size / 1e6).toFixed(1)} MB` : `${Math.round(a.size / 1e3)} kB`;
  const rows = [
    ["trigger words", a.triggers.join(", ") || "none"],
    ["license", a.license || "not reported"],
    ["verdict", a.verdict],
    ["captions", a.check_verdict],
    ["file", `${a.file}, ${size}${a.layout ? `, ${a.layout}` : ""}${a.dtype ? `, ${a.dtype}` : ""}`],
    ["update norm", a.accepted ? `${a.norm.toPrecision(3)} (Frobenius)` : null],
    ["hub", `${a.hub}, first seen ${a.seen}`],
    ["sha256", a.sha256.slice(0, 16)],
  ].filter(([, value]) => value);
  return make("dl", { class: "facts" },
    ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, hubText(value))]));
}

function other(position, cosine) {
  const b = adapters[position];
  return make("a", { href: `#${b.key}`, title: b.id },
    b.images.length ? image(b, b.images[0], "") : make("span", { class: "none" }),
    make("span", { class: "who" }, hubText(b.id)),
    cosine === null ? null : make("span", { class: "soft" }, cosine.toFixed(2)));
}

function similar(a) {
  const titles = { index: "most similar index vectors (cosine)", "raw sketch": "most similar raw sketches (cosine)" };
  const rows = Object.entries(a.neighbors).filter(([, neighbors]) => neighbors.length);
  const node = make("div", { class: "near" }, ...rows.map(([source, neighbors]) =>
    make("div", {}, make("span", {}, titles[source] ?? source),
      make("div", { class: "others" }, ...neighbors.map(([position, cosine]) => other(position, cosine))))));
  if (a.duplicates.length)
    node.append(make("div", {}, make("span", {}, "near-duplicates"),
      make("div", { class: "others" }, ...a.duplicates.slice(0, 8).map((position) => other(position, null)))));
  return node;
}

function card(a, full) {
  const node = make("article", { class: "card", "aria-label": a.id },
    make("h3", {}, full ? hubText(a.id) : make("a", { href: `#${a.key}` }, hubText(a.id))),
    make("div", {}, a.accepted ? tag("accepted", "good") : tag(`refused: ${a.code}`, "bad"), tag(a.theme ?? a.group),
      tag(a.kind), tag(a.license), tag(a.split), a.nsfw ? tag("not safe for work", "bad") : null,
      a.check === "disagree" ? tag("captions disagree with the weights", "bad") : null));
  if (full)
    node.append(...a.images.map((rendering) => make("div", { class: "show" }, image(a, rendering), texts(rendering))));
  else if (a.images.length) node.append(gallery(a));
  node.append(facts(a), similar(a));
  return node;
}

// --- the browser ---

const fields = ["kind", "group", "license", "code", "split", "check"];
const unnamed = { kind: "no kind", group: "no group", license: "not reported", code: "", split: "not in the index", check: "not compared" };
const searchTexts = adapters.map((a) =>
  [a.id, a.hub, a.file, a.license, a.theme, a.kind, a.group, a.verdict, a.sha256, ...a.triggers,
    ...a.images.flatMap((rendering) => [rendering.prompt, ...rendering.captions.map(([, text]) => text)])]
    .filter(Boolean).join("\n").toLowerCase());
const sorts = {
  group: (i, j) => i - j,
  id: (i, j) => adapters[i].id.localeCompare(adapters[j].id) || i - j,
  seen: (i, j) => adapters[j].seen.localeCompare(adapters[i].seen) || i - j,
  norm: (i, j) => adapters[j].norm - adapters[i].norm || i - j,
  rank: (i, j) => adapters[j].rank - adapters[i].rank || i - j,
  size: (i, j) => adapters[j].size - adapters[i].size || i - j,
};
let page = 0;

function fill(name) {
  const counts = new Map();
  for (const a of adapters) counts.set(a[name] ?? "", (counts.get(a[name] ?? "") ?? 0) + 1);
  const select = byId(name);
  select.append(make("option", { value: "*" }, `all (${adapters.length})`));
  for (const value of [...counts.keys()].sort())
    select.append(make("option", { value: `=${value}` }, `${value || unnamed[name]} (${counts.get(value)})`));
  select.parentElement.hidden = counts.size < 2;
}

function matching() {
  const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const filters = fields.map((name) => [name, byId(name).value]).filter(([, value]) => value !== "*");
  return adapters.map((_, i) => i)
    .filter((i) => words.every((word) => searchTexts[i].includes(word)))
    .filter((i) => filters.every(([name, value]) => value === `=${adapters[i][name] ?? ""}`))
    .sort(sorts[byId("sort").value]);
}

function pageButton(step, pages) {
  const button = make("button", { type: "button", click: () => { page += step; showPage(); byId("pool").scrollIntoView(); } },
    step < 0 ? "← previous" : "next →");
  button.disabled = page + step < 0 || page + step >= pages;
  return button;
}

function showPage() {
  const positions = matching();
  const pages = Math.max(1, Math.ceil(positions.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  byId("count").textContent = `${positions.length} of ${adapters.length} adapters` + (pages > 1 ? `, page ${page + 1} of ${pages}` : "");
  byId("cards").replaceChildren(...positions.slice(page * PAGE, (page + 1) * PAGE).map((i) => card(adapters[i], false)));
  byId("pages").replaceChildren(...(pages > 1 ? [pageButton(-1, pages), `page ${page + 1} of ${pages}`, pageButton(1, pages)] : []));
}

if (byId("controls")) {
  fields.forEach(fill);
  byId("controls").hidden = false;
  byId("revealing").hidden = !adapters.some((a) => a.nsfw);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", () => { page = 0; showPage(); });
  byId("reveal").addEventListener("change", (event) => document.body.classList.toggle("reveal", event.target.checked));
  showPage();
}

// --- the dialog that shows one adapter ---

function route() {
  const a = byKey.get(location.hash.slice(1));
  if (!a) return byId("detail").close();
  byId("full-card").replaceChildren(card(a, true));
  byId("detail").setAttribute("aria-label", a.id);
  if (!byId("detail").open) byId("detail").showModal();
  byId("detail").scrollTop = 0;
}

byId("detail").addEventListener("close", () => { if (byKey.has(location.hash.slice(1))) history.replaceState(null, "", "#"); });
byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
addEventListener("hashchange", route);
if (byKey.has(location.hash.slice(1))) route();

// --- the heat map ---

function showPairs(heatmap) {
  const svg = byId("map"), count = heatmap.order.length, [margin, side] = [190, 810];
  const layers = heatmap.layers.map((layer) => ({ ...layer, bytes: Uint8Array.from(atob(layer.cells), (c) => c.charCodeAt(0)) }));
  let cell = [0, 1];

  function cosine(layer, i, j) {
    if (i === j) return 1;
    const [a, b] = i < j ? [i, j] : [j, i];
    const level = layer.bytes[a * count - (a * (a + 1)) / 2 + (b - a - 1)];
    return layer.low + (level / 255) * (layer.high - layer.low);
  }

  function showPair(i, j) {
    cell = [i, j];
    byId("cross").setAttribute("visibility", "visible");
    byId("row").setAttribute("y", margin + (i * side) / count);
    byId("column").setAttribute("x", margin + (j * side) / count);
    const pair = [heatmap.order[i], heatmap.order[j]].map((position) => {
      const a = adapters[position];
      return make("div", {}, a.images.length ? image(a, a.images[0], "") : null,
        make("a", { href: `#${a.key}` }, hubText(a.id)), make("br"), make("span", { class: "soft" }, hubText(a.theme ?? a.group ?? "")));
    });
    const numbers = layers.flatMap((layer) => [make("dt", {}, `cosine (${layer.name})`), make("dd", {}, cosine(layer, i, j).toFixed(2))]);
    byId("pair").replaceChildren(make("div", { class: "both" }, ...pair), make("dl", { class: "facts" }, ...numbers));
  }

  function showPairAt(event) {
    const box = svg.getBoundingClientRect(), scale = 1000 / Math.min(box.width, box.height);
    const x = (event.clientX - box.left - (box.width - 1000 / scale) / 2) * scale;
    const y = (event.clientY - box.top - (box.height - 1000 / scale) / 2) * scale;
    const [j, i] = [x, y].map((value) => Math.floor(((value - margin) / side) * count));
    if (i >= 0 && j >= 0 && i < count && j < count) showPair(i, j);
  }

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  svg.addEventListener("pointermove", showPairAt);
  svg.addEventListener("pointerdown", showPairAt);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter") location.hash = adapters[heatmap.order[cell[0]]].key;
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    showPair(...cell.map((value, axis) => Math.min(Math.max(value + step[axis], 0), count - 1)));
  });
  byId("pair").replaceChildren(make("p", { class: "soft" }, "To see a pair of adapters, point at a cell, or focus the map and use the arrow keys."));
}

if (heatmap) showPairs(heatmap);
