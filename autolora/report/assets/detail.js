// The panel that shows one adapter: its images with captions, what to copy, facts, and similar adapters.

function words(rendering) {
  const lines = rendering.captions.map(([length, text]) => [`${length} caption`, text]);
  if (rendering.prompt) lines.push(["prompt reported by the hub", rendering.prompt]);
  return make("div", { class: "words" },
    ...lines.map(([label, text]) => make("p", {}, make("small", {}, label), hubText(text))),
    lines.length ? null : make("p", { class: "soft" }, "no caption yet"));
}

function copies(a) {
  const trigger = a.triggers.length ? ` ${a.triggers[0]}` : "";
  return make("div", { class: "copies" },
    copy(a.full_name, "id"),
    a.triggers.length ? copy(a.triggers.join(", "), "trigger words") : null,
    copy(`<lora:${a.stem}:1>${trigger}`, `<lora:${a.stem}:1>`, "Copy for A1111 and Forge"),
    copy(`autolora show ${a.sha256.slice(0, 12)}`, "autolora show"),
    copy(a.sha256, "sha256"),
    a.page ? copy(a.page, "link") : null);
}

function list(rows, name = "facts-list") {
  return make("dl", { class: name }, ...rows.filter(([, value]) => value)
    .flatMap(([label, value]) => [make("dt", {}, label), make("dd", {}, hubText(value))]));
}

function about(a) {
  const permitted = (flag) => (flag === null ? "not reported" : flag ? "permitted" : "not permitted");
  return list([
    ["verdict", a.verdict],
    ["what to do", a.remedy],
    ["tags by the weights", a.tags],
    ["captions", a.check_verdict],
    ["trigger words", a.triggers.join(", ") || "none"],
    ["license", a.license || "not reported"],
    ["commercial use", permitted(a.commercial)],
    ["changed versions", permitted(a.derivatives)],
    ["group", a.theme ?? a.group],
    ["split", a.split],
    ["file", `${a.file}, ${a.size}${a.layout ? `, ${a.layout}` : ""}${a.dtype ? `, ${a.dtype}` : ""}`],
    ["update norm", a.accepted ? `${a.norm.toPrecision(3)} (Frobenius)` : null],
    ["first seen", a.seen],
    ["sha256", a.sha256],
  ]);
}

function other(position, cosine) {
  const b = adapters[position];
  return make("li", {}, make("a", { href: `#${b.key}` }, cover(b), hubText(b.name),
    cosine === null ? null : make("span", { class: "soft" }, cosine.toFixed(2))));
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}

function similar(a) {
  const titles = { index: "Most similar by the index (cosine)", "raw sketch": "Most similar by raw sketch (cosine)" };
  const rows = Object.entries(a.neighbors).filter(([, neighbors]) => neighbors.length)
    .map(([source, neighbors]) => [titles[source] ?? source, neighbors]);
  if (a.duplicates.length) rows.push(["Near-duplicates", a.duplicates.slice(0, 8).map((position) => [position, null])]);
  return rows.map(([title, neighbors]) => section(title,
    make("ul", { class: "others" }, ...neighbors.map(([position, cosine]) => other(position, cosine)))));
}

function unveil() {
  byId("reveal").checked = true;
  document.body.classList.add("reveal");
}

function fillDetail(a) {
  const link = a.page ? make("a", { href: a.page, rel: "noopener noreferrer", target: "_blank" }, "open on the hub ↗") : null;
  const parts = [
    make("div", { class: "head" },
      make("div", {}, make("h2", { id: "detail-name" }, hubText(a.name)),
        make("p", { class: "soft" }, hubText(a.author ? `${a.author} · ${a.hub}` : a.hub), link ? " · " : null, link)),
      make("form", { method: "dialog" }, make("button", { class: "close", "aria-label": "Close" }, "×"))),
    badges(a), copies(a),
    a.nsfw && a.images.length ? make("button", { type: "button", class: "unveil", click: unveil }, "Show the images") : null,
    ...a.images.map((rendering) => make("div", { class: "show" }, image(a, rendering), words(rendering))),
    section("About the file", about(a)),
    ...similar(a),
  ];
  byId("detail").replaceChildren(...parts.filter(Boolean));
}

function route() {
  const target = location.hash.slice(1), a = byKey.get(target), dialog = byId("detail");
  if (!a) {
    dialog.close();
    for (let fold = byId(target)?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    return;
  }
  fillDetail(a);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

byId("detail").addEventListener("close", () => { if (byKey.has(location.hash.slice(1))) history.replaceState(null, "", "#"); });
byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
addEventListener("hashchange", route);
followCopies(say);
