// The drawer with the details of an adapter; the URL names the adapter, so that Back closes it.
import { fetchPart } from "./fetching.js";

const dialog = document.getElementById("details");
const content = document.getElementById("adapter");

async function open(sha256) {
  const query = new URLSearchParams(location.search);
  const html = await fetchPart("adapter", `/parts/adapters/${sha256}?${query}`);
  if (html === null) return;
  content.innerHTML = html;
  dialog.scrollTop = 0;
  if (!dialog.open) dialog.showModal();
  content.querySelector("a, button")?.blur();
}

function visit(sha256) {
  const query = new URLSearchParams(location.search);
  query.set("adapter", sha256);
  history.pushState({ opened: true }, "", `/?${query}`);
  open(sha256);
}

function leave() {
  const query = new URLSearchParams(location.search);
  if (!query.has("adapter")) return;
  const card = document.querySelector(`a[data-adapter="${CSS.escape(query.get("adapter"))}"]`);
  query.delete("adapter");
  history.pushState(null, "", query.size ? `/?${query}` : "/");
  card?.focus();
}

export function followDetails() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-adapter]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    visit(link.dataset.adapter);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", leave);
  addEventListener("popstate", () => {
    const sha256 = new URLSearchParams(location.search).get("adapter");
    if (sha256) open(sha256);
    else if (dialog.open) dialog.close();
  });
  if ("open" in dialog.dataset) dialog.showModal();
}
