// The page that generates images: requests, progress and cancellation.
import { fetchPart, say } from "./fetching.js";

const POLL_MS = 350;
const form = document.getElementById("generate");
const images = document.getElementById("images");

/** Return what the form asks for, as POST /api/images takes it. */
function wantedImage() {
  const chosen = [...form.querySelectorAll(".chosen")].map((row) => ({
    sha256: row.dataset.sha256,
    strength: Number(row.querySelector("[data-strength]").value),
  }));
  const isAutomatic = form.elements.adapters?.value === "auto";
  return {
    prompt: form.elements.q.value,
    adapters: chosen.length || !isAutomatic ? chosen : null,
    seed: Number(form.elements.seed.value || 0),
    method: form.elements.method.value,
    trigger_words: form.elements.trigger_words.checked,
  };
}

async function remove(figure) {
  const response = await fetch(`/api/images/${figure.dataset.job}`, { method: "DELETE" });
  if (!response.ok) return;
  const next = figure.nextElementSibling?.querySelector("button, a") ?? form.elements.q;
  figure.remove();
  document.getElementById("no-images").hidden = images.querySelector("figure") !== null;
  next.focus();
}

async function request() {
  const response = await fetch("/api/images", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(wantedImage()),
  });
  const answer = await response.json();
  if (!response.ok) {
    say(answer.error, { isBad: true });
    return;
  }
  document.getElementById("no-images").hidden = true;
  const slot = document.createElement("figure");
  slot.id = `image-${answer.id}`;
  images.prepend(slot);
  follow(answer.id);
}

/** Ask for the state of an image until nothing changes any more. */
async function follow(id) {
  const html = await fetchPart(id, `/parts/images/${id}`);
  const figure = document.getElementById(`image-${id}`);
  if (html === null || !figure) return;
  const focused = figure.contains(document.activeElement);
  figure.outerHTML = html;
  const current = document.getElementById(`image-${id}`);
  if (!current) return;
  if (focused) current.querySelector("button, a")?.focus();
  if (["waiting", "running"].includes(current.dataset.state)) setTimeout(() => follow(id), POLL_MS);
  else if (current.dataset.state === "done") say("The image is ready");
}

export function followGeneration() {
  form.querySelector("[type=submit]").disabled = false; // without this script, there is no queue
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    request();
  });
  const prompt = form.elements.q;
  prompt.setSelectionRange(prompt.value.length, prompt.value.length);
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("input", (event) => {
    if ("strength" in event.target.dataset) {
      event.target.closest(".chosen").querySelector("output").value = Number(event.target.value).toFixed(2);
    }
  });
  images.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cancel]");
    if (button) fetch(`/api/images/${button.dataset.cancel}`, { method: "DELETE" });
    if (event.target.closest("[data-remove]")) remove(event.target.closest("figure"));
  });
  for (const figure of images.querySelectorAll("[data-job]")) {
    if (["waiting", "running"].includes(figure.dataset.state)) follow(figure.dataset.job);
  }
}
