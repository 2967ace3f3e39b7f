// Keys: / goes to the prompt, arrows move between adapters, X selects one, Escape leaves.

const INPUTS = "input:not([type=checkbox]), select, textarea";

/** Return the card an arrow leads to: the neighbor in reading order, or the nearest one in the next row. */
function neighbor(cards, current, key) {
  if (current < 0) return cards[0];
  if (key === "ArrowRight") return cards[current + 1];
  if (key === "ArrowLeft") return cards[current - 1];
  const { left, top } = cards[current].getBoundingClientRect();
  const rows = cards.map((card) => ({ card, box: card.getBoundingClientRect() }));
  const beyond = rows.filter(({ box }) => (key === "ArrowDown" ? box.top > top + 4 : box.top < top - 4));
  if (!beyond.length) return undefined;
  const next = key === "ArrowDown" ? Math.min(...beyond.map(({ box }) => box.top)) : Math.max(...beyond.map(({ box }) => box.top));
  const row = beyond.filter(({ box }) => Math.abs(box.top - next) < 4);
  row.sort((one, other) => Math.abs(one.box.left - left) - Math.abs(other.box.left - left));
  return row[0].card;
}

function move(event) {
  const cards = [...document.querySelectorAll(".card .face")];
  const current = cards.findIndex((card) => card.closest(".card").contains(document.activeElement));
  const next = neighbor(cards, current, event.key);
  if (next) {
    event.preventDefault();
    next.focus();
  } else if (event.key === "ArrowUp") {
    event.preventDefault();
    document.getElementById("q").focus();
  }
}

export function followKeys() {
  const prompt = document.getElementById("q");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("details").open) return;
    const typing = event.target.matches(INPUTS);
    if (event.key === "/" && (!typing || (event.target === prompt && !prompt.value))) {
      event.preventDefault();
      prompt.focus();
      prompt.select();
    } else if (event.key === "Escape" && typing) {
      event.target.blur();
    } else if (event.key === "ArrowDown" && event.target === prompt) {
      move(event);
    } else if (event.key.startsWith("Arrow") && !typing) {
      move(event);
    } else if (event.key.toLowerCase() === "x" && !typing) {
      document.activeElement.closest(".card")?.querySelector("[data-use]").click();
    }
  });
}
