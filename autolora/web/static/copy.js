// Buttons that copy a text: every button with data-copy, also one that is added later.
// say(text, isBad) shows what happened.

export function followCopies(say) {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say(`Copied ${button.dataset.copy}`);
    } catch {
      say("The browser does not allow copying here: open the page as a file or as http://localhost", true);
    }
  });
}
