// Files that are dropped onto the page or chosen: a LoRA file finds adapters like it, an image shows how it was made.
import { showDialog } from "./dialog.js";
import { fetchPart, say } from "./fetching.js";

const veil = document.getElementById("drop");

async function send(file) {
  if (file.type.startsWith("image/")) {
    say("Reading the image …", { isLasting: true });
    const html = await fetchPart("drop", "/parts/provenance", { method: "POST", body: file });
    say("");
    if (html !== null) showDialog(html);
    return;
  }
  say(`Reading ${file.name} …`, { isLasting: true });
  const name = encodeURIComponent(file.name.slice(-200));
  const text = await fetchPart("drop", `/api/files?name=${name}`, { method: "POST", body: file });
  const answer = text === null ? {} : parse(text);
  if (answer.id) location.assign(`/?file=${answer.id}`);
  else if (answer.error) say(`${file.name}: ${answer.error}`, { isBad: true });
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
  document.getElementById("file")?.addEventListener("change", (event) => {
    if (event.target.files.length) send(event.target.files[0]);
    event.target.value = "";
  });
}
