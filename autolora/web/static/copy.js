// Buttons that copy a text.
import { say } from "./fetching.js";

export function followCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say(`Copied ${button.textContent.trim()}`);
    } catch {
      say("The browser does not allow copying here: open the page as http://localhost", true);
    }
  });
}
