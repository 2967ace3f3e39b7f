// The newest adapters, and the filters and pages of all.

const PAGE = matchMedia("(max-width: 34rem)").matches ? 12 : 24, NEWEST = 6;
const fields = ["kind", "group", "license", "code", "split", "check"];
const unnamed = { kind: "no kind", group: "no group", license: "not reported", code: "", split: "not in the index", check: "not compared" };
const sorts = {
  group: (i, j) => i - j,
  id: (i, j) => adapters[i].id.localeCompare(adapters[j].id) || i - j,
  seen: (i, j) => adapters[j].seen.localeCompare(adapters[i].seen) || i - j,
  norm: (i, j) => adapters[j].norm - adapters[i].norm || i - j,
  rank: (i, j) => adapters[j].rank - adapters[i].rank || i - j,
  bytes: (i, j) => adapters[j].bytes - adapters[i].bytes || i - j,
};
let page = 0, texts = null;

function searchTexts() {
  texts ??= adapters.map((a) =>
    [a.id, a.hub, a.file, a.license, a.theme, a.kind, a.group, a.verdict, a.tags, a.sha256, ...a.triggers,
      ...a.images.flatMap((rendering) => [rendering.prompt, ...rendering.captions.map(([, text]) => text)])]
      .filter(Boolean).join("\n").toLowerCase());
  return texts;
}

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
    .filter((i) => words.every((word) => searchTexts()[i].includes(word)))
    .filter((i) => filters.every(([name, value]) => value === `=${adapters[i][name] ?? ""}`))
    .sort(sorts[byId("sort").value]);
}

function pageButton(step, pages) {
  const turn = () => { page += step; showPage(); byId("count").scrollIntoView(); };
  const button = make("button", { type: "button", click: turn }, step < 0 ? "← previous" : "next →");
  button.disabled = page + step < 0 || page + step >= pages;
  return button;
}

function showPage() {
  const positions = matching();
  const pages = Math.max(1, Math.ceil(positions.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  byId("count").textContent = positions.length
    ? `${positions.length} of ${adapters.length} files` + (pages > 1 ? `, page ${page + 1} of ${pages}` : "")
    : "No name, caption or trigger word contains all of these words. A search by prompt needs no shared words: autolora search.";
  byId("cards").replaceChildren(...positions.slice(page * PAGE, (page + 1) * PAGE).map((i) => card(adapters[i])));
  byId("pages").replaceChildren(...(pages > 1 ? [pageButton(-1, pages), `page ${page + 1} of ${pages}`, pageButton(1, pages)] : []));
}

if (byId("newest")) {
  const newest = adapters.map((_, i) => i).filter((i) => adapters[i].accepted).sort(sorts.seen).slice(0, NEWEST);
  byId("newest").append(...newest.map((i) => card(adapters[i])));
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
route();
