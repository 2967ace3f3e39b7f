// Adapters that are selected for an image, as the fields `use` of the form and the URL.
import { addHidden, formQuery, removeHidden, showResults } from "./search.js";

function change(sha256, isUsed) {
  removeHidden("use", sha256);
  if (isUsed) addHidden("use", sha256);
  const query = formQuery();
  const current = new URLSearchParams(location.search);
  for (const name of ["adapter", "k"]) if (current.has(name)) query.set(name, current.get(name));
  const focused = document.activeElement.closest(".card")?.dataset.sha256;
  showResults(query, { push: false }).then(() => {
    if (!document.getElementById("details").open && focused)
      document.querySelector(`.card[data-sha256="${focused}"] .face`)?.focus();
  });
}

export function followSelection() {
  document.addEventListener("change", (event) => {
    const sha256 = event.target.dataset?.use;
    if (sha256) change(sha256, event.target.checked);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-drop-use]");
    if (button) change(button.dataset.dropUse, false);
  });
}
