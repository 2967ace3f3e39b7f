"use strict";
// The pool browser, the heat map's readout and the adapter's own window. Words of a hub only ever become text.

const data = JSON.parse(document.getElementById("data").textContent);
const { adapters, pictures, map } = data;
const PAGE = 12;
const byKey = new Map(adapters.map((a, i) => [adapters[i].key, a]).reverse());
const at = (id) => document.getElementById(id);

for (const img of document.querySelectorAll("img[data-p]")) pictures[img.dataset.p] = img.src;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const foreign = (text) => make("bdi", {}, text);
const captionOf = (picture) => (picture.captions.length ? picture.captions[0][1] : "rendering");

function image(a, picture, alt) {
  const node = make("img", { src: pictures[picture.p], alt: alt ?? `${a.id}: ${captionOf(picture)}`, loading: "lazy" });
  if (a.nsfw) node.classList.add("nsfw");
  node.addEventListener("load", () => node.classList.toggle("pixels", node.naturalWidth <= 128));
  return node;
}

function tag(text, sense = "") {
  return text ? make("span", { class: `tag ${sense}` }, foreign(text)) : null;
}

function words(picture) {
  const node = make("div", { class: "words" });
  for (const [length, text] of picture.captions)
    node.append(make("p", {}, make("small", {}, `${length} caption`), foreign(text)));
  if (picture.prompt) node.append(make("p", {}, make("small", {}, "the hub’s prompt"), foreign(picture.prompt)));
  if (!node.childElementCount) node.append(make("p", { class: "soft" }, "no caption yet"));
  return node;
}

function show(a) {
  const stage = make("div", {});
  const node = make("div", { class: "show" }, stage, make("div", {}));
  const buttons = a.pictures.map((picture, i) =>
    make("button", { type: "button", "aria-label": `picture ${i + 1} of ${a.pictures.length}`, click: () => choose(i) },
      image(a, picture, "")));
  const large = make("div", {});
  stage.append(large);
  if (buttons.length > 1) stage.append(make("div", { class: "thumbs" }, ...buttons));
  function choose(i) {
    large.replaceChildren(image(a, a.pictures[i]));
    node.lastElementChild.replaceWith(words(a.pictures[i]));
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", i === j));
  }
  choose(0);
  return node;
}

function facts(a) {
  const size = a.size >= 1e6 ? `${(a.size / 1e6).toFixed(1)} MB` : `${Math.round(a.size / 1e3)} kB`;
  const rows = [
    ["trigger words", a.triggers.join(", ") || "none"],
    ["license", a.license || "not stated"],
    ["verdict", a.verdict],
    ["file", `${a.file}, ${size}${a.layout ? `, ${a.layout}` : ""}${a.dtype ? `, ${a.dtype}` : ""}`],
    ["update", a.accepted ? `Frobenius norm ${a.norm.toPrecision(3)}` : null],
    ["hub", `${a.hub}, first seen ${a.seen}`],
    ["sha256", a.sha256.slice(0, 16)],
  ].filter(([, value]) => value);
  return make("dl", { class: "facts" },
    ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, foreign(value))]));
}

function other(place, cosine) {
  const b = adapters[place];
  return make("a", { href: `#${b.key}`, title: b.id },
    b.pictures.length ? image(b, b.pictures[0], "") : make("span", { class: "none" }),
    make("span", { class: "who" }, foreign(b.id)),
    cosine === null ? null : make("span", { class: "soft" }, cosine.toFixed(2)));
}

function near(a) {
  const titles = { index: "nearest in the index (cosine)", "raw sketch": "nearest by raw sketch (cosine)" };
  const rows = Object.entries(a.near).filter(([, found]) => found.length);
  const node = make("div", { class: "near" }, ...rows.map(([source, found]) =>
    make("div", {}, make("span", {}, titles[source] ?? source),
      make("div", { class: "others" }, ...found.map(([place, cosine]) => other(place, cosine))))));
  if (a.copies.length)
    node.append(make("div", {}, make("span", {}, "near-duplicates of it"),
      make("div", { class: "others" }, ...a.copies.slice(0, 8).map((place) => other(place, null)))));
  return node;
}

function card(a, whole) {
  const node = make("article", { class: "card", "aria-label": a.id },
    make("h3", {}, whole ? foreign(a.id) : make("a", { href: `#${a.key}` }, foreign(a.id))),
    make("div", {}, a.accepted ? tag("accepted", "good") : tag(`refused: ${a.code}`, "bad"), tag(a.theme ?? a.group),
      tag(a.kind), tag(a.license), tag(a.side), a.nsfw ? tag("nsfw", "bad") : null));
  if (whole)
    node.append(...a.pictures.map((picture) => make("div", { class: "show" }, image(a, picture), words(picture))));
  else if (a.pictures.length) node.append(show(a));
  node.append(facts(a), near(a));
  return node;
}

// --- the browser ---

const fields = ["kind", "group", "license", "code", "side"];
const unnamed = { kind: "no kind", group: "no group", license: "not stated", code: "", side: "not in the index" };
const haystacks = adapters.map((a) =>
  [a.id, a.hub, a.file, a.license, a.theme, a.kind, a.group, a.verdict, a.sha256, ...a.triggers,
    ...a.pictures.flatMap((p) => [p.prompt, ...p.captions.map(([, text]) => text)])]
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
  const select = at(name);
  select.append(make("option", { value: "*" }, `all (${adapters.length})`));
  for (const value of [...counts.keys()].sort())
    select.append(make("option", { value: `=${value}` }, `${value || unnamed[name]} (${counts.get(value)})`));
  select.parentElement.hidden = counts.size < 2;
}

function found() {
  const wanted = at("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = fields.map((name) => [name, at(name).value]).filter(([, value]) => value !== "*");
  return adapters.map((_, i) => i)
    .filter((i) => wanted.every((word) => haystacks[i].includes(word)))
    .filter((i) => chosen.every(([name, value]) => value === `=${adapters[i][name] ?? ""}`))
    .sort(sorts[at("sort").value]);
}

function turn(by, pages) {
  const button = make("button", { type: "button", click: () => { page += by; draw(); at("pool").scrollIntoView(); } },
    by < 0 ? "← previous" : "next →");
  button.disabled = page + by < 0 || page + by >= pages;
  return button;
}

function draw() {
  const places = found();
  const pages = Math.max(1, Math.ceil(places.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  at("count").textContent = `${places.length} of ${adapters.length} adapters` + (pages > 1 ? `, page ${page + 1} of ${pages}` : "");
  at("cards").replaceChildren(...places.slice(page * PAGE, (page + 1) * PAGE).map((i) => card(adapters[i], false)));
  at("pages").replaceChildren(...(pages > 1 ? [turn(-1, pages), `page ${page + 1} of ${pages}`, turn(1, pages)] : []));
}

if (at("controls")) {
  fields.forEach(fill);
  at("controls").hidden = false;
  at("revealing").hidden = !adapters.some((a) => a.nsfw);
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("controls").addEventListener("input", () => { page = 0; draw(); });
  at("reveal").addEventListener("change", (event) => document.body.classList.toggle("reveal", event.target.checked));
  draw();
}

// --- one adapter in a window of its own ---

function route() {
  const a = byKey.get(location.hash.slice(1));
  if (!a) return at("one").close();
  at("whole").replaceChildren(card(a, true));
  at("one").setAttribute("aria-label", a.id);
  if (!at("one").open) at("one").showModal();
  at("one").scrollTop = 0;
}

at("one").addEventListener("close", () => { if (byKey.has(location.hash.slice(1))) history.replaceState(null, "", "#"); });
at("one").addEventListener("click", (event) => { if (event.target === at("one")) at("one").close(); });
addEventListener("hashchange", route);
if (byKey.has(location.hash.slice(1))) route();

// --- the heat map ---

function pointAt(map) {
  const svg = at("map"), count = map.order.length, [margin, side] = [190, 810];
  const layers = map.layers.map((layer) => ({ ...layer, bytes: Uint8Array.from(atob(layer.cells), (c) => c.charCodeAt(0)) }));
  let cell = [0, 1];

  function cosine(layer, i, j) {
    if (i === j) return 1;
    const [a, b] = i < j ? [i, j] : [j, i];
    const level = layer.bytes[a * count - (a * (a + 1)) / 2 + (b - a - 1)];
    return layer.low + (level / 255) * (layer.high - layer.low);
  }

  function tell(i, j) {
    cell = [i, j];
    at("cross").setAttribute("visibility", "visible");
    at("row").setAttribute("y", margin + (i * side) / count);
    at("column").setAttribute("x", margin + (j * side) / count);
    const pair = [map.order[i], map.order[j]].map((place) => {
      const a = adapters[place];
      return make("div", {}, a.pictures.length ? image(a, a.pictures[0], "") : null,
        make("a", { href: `#${a.key}` }, foreign(a.id)), make("br"), make("span", { class: "soft" }, foreign(a.theme ?? a.group ?? "")));
    });
    const numbers = layers.flatMap((layer) => [make("dt", {}, layer.name), make("dd", {}, cosine(layer, i, j).toFixed(2))]);
    at("pair").replaceChildren(make("div", { class: "both" }, ...pair), make("dl", { class: "facts" }, ...numbers));
  }

  function under(event) {
    const box = svg.getBoundingClientRect(), scale = 1000 / Math.min(box.width, box.height);
    const x = (event.clientX - box.left - (box.width - 1000 / scale) / 2) * scale;
    const y = (event.clientY - box.top - (box.height - 1000 / scale) / 2) * scale;
    const [j, i] = [x, y].map((value) => Math.floor(((value - margin) / side) * count));
    if (i >= 0 && j >= 0 && i < count && j < count) tell(i, j);
  }

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  svg.addEventListener("pointermove", under);
  svg.addEventListener("pointerdown", under);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter") location.hash = adapters[map.order[cell[0]]].key;
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    tell(...cell.map((value, axis) => Math.min(Math.max(value + step[axis], 0), count - 1)));
  });
  at("pair").replaceChildren(make("p", { class: "soft" }, "Point at a cell, or focus the map and use the arrow keys, to see the pair."));
}

if (map) pointAt(map);
