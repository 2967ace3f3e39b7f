// Files that are dropped onto the page or chosen: a LoRA file finds adapters like it, an image shows how it was made,
// or finds adapters for what it shows.
import { dialog, showDialog } from "./dialog.js";
import { cancelPart, fetchPart, problem, say } from "./fetching.js";

const veil = document.getElementById("drop");
let image = null; // the one in the drawer

async function send(file) {
  cancelPart("describe"); // of an image that was dropped before
  if (file.type.startsWith("image/")) {
    say("Reading the image …", { isLasting: true });
    const html = await fetchPart("drop", "/parts/provenance", { method: "POST", body: file });
    say("");
    if (html === null) return;
    image = file;
    showDialog(html);
    return;
  }
  say(`Reading ${file.name} …`, { isLasting: true });
  const name = encodeURIComponent(file.name.slice(-200));
  const answer = await ask("drop", `/api/files?name=${name}`, file);
  if (answer.id) location.assign(`/?file=${answer.id}`);
  else if (answer.error) say(`${file.name}: ${answer.error}`, { isBad: true });
}

/** Search for the words by which a model describes the image in the drawer. */
async function searchByImage(button) {
  button.parentElement.textContent = "Describing the image …";
  const answer = await ask("describe", "/api/captions", image);
  if (answer.caption) location.assign(`/?${new URLSearchParams({ q: answer.caption })}`);
  else if (answer.error) showDialog(problem(answer.error));
}

/** Return the answer of the API to a file; empty if the request was replaced or canceled meanwhile. */
async function ask(kind, url, file) {
  const text = await fetchPart(kind, url, { method: "POST", body: file });
  return text === null ? {} : parse(text);
}

/** Return an answer of the API; one that is not JSON is a message of the server. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { error: new DOMParser().parseFromString(text, "text/html").body.textContent.trim() };
  }
}

export function followDrops() {
  let depth = 0;
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (hasFile(event)) veil.hidden = ++depth === 0;
  });
  addEventListener("dragleave", (event) => {
    if (hasFile(event)) veil.hidden = --depth <= 0;
  });
  addEventListener("dragover", (event) => {
    if (hasFile(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    send(event.dataTransfer.files[0]);
  });
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("[data-describe]");
    if (button) searchByImage(button);
  });
  dialog.addEventListener("close", () => cancelPart("describe"));
  document.getElementById("file")?.addEventListener("change", (event) => {
    if (event.target.files.length) send(event.target.files[0]);
    event.target.value = "";
  });
}
