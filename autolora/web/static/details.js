// The details of an adapter in the drawer; the URL names the adapter, so that Back closes it.
import { dialog, showDialog } from "./dialog.js";
import { cancelPart, fetchPart } from "./fetching.js";

const BY_HISTORY = "history"; // why the drawer was closed: Back or Forward

async function open(sha256) {
  const html = await fetchPart("adapter", `/parts/adapters/${sha256}${location.search}`);
  if (html !== null) showDialog(html);
}

function visit(sha256) {
  const query = new URLSearchParams(location.search);
  query.set("adapter", sha256);
  if (dialog.open) history.replaceState(history.state, "", `/?${query}`);
  else history.pushState({ isDrawer: true }, "", `/?${query}`);
  open(sha256);
}

/** Remove the adapter from the URL after its details were closed on the page, and give the focus back to its card.
 * The event of a closing comes one frame after it: by then the history can have opened the details again. */
function leave() {
  if (dialog.open || dialog.returnValue === BY_HISTORY) return;
  const query = new URLSearchParams(location.search);
  if (!query.has("adapter")) return;
  const card = document.querySelector(`.card a[data-adapter="${CSS.escape(query.get("adapter"))}"]`);
  query.delete("adapter");
  if (history.state?.isDrawer) history.back();
  else history.replaceState(null, "", query.size ? `/?${query}` : "/");
  if (document.activeElement === document.body) card?.focus(); // the page was opened with the drawer
}

export function followDetails() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-adapter]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    visit(link.dataset.adapter);
  });
  dialog.addEventListener("close", leave);
  addEventListener("popstate", () => {
    const sha256 = new URLSearchParams(location.search).get("adapter");
    if (sha256) {
      open(sha256);
      return;
    }
    cancelPart("adapter"); // its details may still be on their way
    if (dialog.open) dialog.close(BY_HISTORY);
  });
}
