// The page works without this script; it adds answers while typing, keys, the drawer, dropped files and images.
import { followCopies } from "./copy.js";
import { followDetails } from "./details.js";
import { followDialog } from "./dialog.js";
import { followDrops } from "./drop.js";
import { say } from "./fetching.js";
import { followGeneration } from "./generate.js";
import { followKeys } from "./keys.js";
import { followSearch } from "./search.js";
import { followSelection } from "./selection.js";

/** Let the links to Search and Generate keep the prompt that is typed and what the URL states, as `View.tab` does. */
function followTabs(prompt) {
  document.querySelector("nav").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!["/", "/generate"].includes(link?.pathname)) return;
    const query = new URLSearchParams(location.search);
    for (const name of ["q", "adapter", "like", "file", "k"]) query.delete(name);
    if (prompt.value) query.set("q", prompt.value);
    link.search = query;
  });
}

followDialog();
followDrops();
followCopies((message, isBad) => say(message, { isBad }));
const form = document.getElementById("search") ?? document.getElementById("generate");
if (form) followTabs(form.elements.q);
if (form?.id === "search") {
  followDetails();
  followSearch();
  followSelection();
  followKeys();
}
if (form?.id === "generate") followGeneration();
