// Requests for parts of the page. A request of a kind aborts the former one of this kind.

const running = new Map();

/** Return the text of a part; null if a later request of the same kind has replaced this one. */
export async function fetchPart(kind, url, options = {}) {
  running.get(kind)?.abort();
  const controller = new AbortController();
  running.set(kind, controller);
  try {
    const response = await fetch(url, { ...options, signal: controller.signal });
    return await response.text();
  } catch (error) {
    if (error.name === "AbortError") return null;
    return problem("The server does not answer: is `autolora serve` still running?");
  }
}

/** Abort the request of a kind that is running, if one is. */
export function cancelPart(kind) {
  running.get(kind)?.abort();
}

/** Return a message as the server's parts show problems. */
export function problem(message) {
  const box = document.createElement("div");
  box.className = "problem";
  box.role = "alert";
  box.textContent = message;
  return box.outerHTML;
}

/** Show a short message at the bottom of the page, which screen readers read. */
export function say(message, { isBad = false, isLasting = false } = {}) {
  const said = document.getElementById("said");
  said.textContent = message;
  said.classList.toggle("bad", isBad);
  clearTimeout(say.timer);
  if (!isLasting) say.timer = setTimeout(() => { said.textContent = ""; }, isBad ? 9000 : 2200);
}
