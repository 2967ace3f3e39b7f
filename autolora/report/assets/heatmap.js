// The details of the pair of adapters under the pointer on the similarity map.

function showPairs(heatmap) {
  const svg = byId("map"), count = heatmap.order.length, [margin, side] = [190, 810];
  const layers = heatmap.layers.map((layer) => ({ ...layer, bytes: Uint8Array.from(atob(layer.cells), (c) => c.charCodeAt(0)) }));
  let cell = [0, 1];

  function cosine(layer, i, j) {
    if (i === j) return 1;
    const [a, b] = i < j ? [i, j] : [j, i];
    const level = layer.bytes[a * count - (a * (a + 1)) / 2 + (b - a - 1)];
    return layer.low + (level / 255) * (layer.high - layer.low);
  }

  function showPair(i, j) {
    cell = [i, j];
    byId("cross").setAttribute("visibility", "visible");
    byId("row").setAttribute("y", margin + (i * side) / count);
    byId("column").setAttribute("x", margin + (j * side) / count);
    const pair = [heatmap.order[i], heatmap.order[j]].map((position) => {
      const a = adapters[position];
      return make("div", {}, a.images.length ? image(a, a.images[0], "") : null,
        make("a", { href: `#${a.key}` }, hubText(a.id)), make("br"), make("span", { class: "soft" }, hubText(a.theme ?? a.group ?? "")));
    });
    const numbers = layers.flatMap((layer) => [make("dt", {}, `cosine (${layer.name})`), make("dd", {}, cosine(layer, i, j).toFixed(2))]);
    byId("pair").replaceChildren(make("div", { class: "both" }, ...pair), make("dl", { class: "facts" }, ...numbers));
  }

  function showPairAt(event) {
    const box = svg.getBoundingClientRect(), scale = 1000 / Math.min(box.width, box.height);
    const x = (event.clientX - box.left - (box.width - 1000 / scale) / 2) * scale;
    const y = (event.clientY - box.top - (box.height - 1000 / scale) / 2) * scale;
    const [j, i] = [x, y].map((value) => Math.floor(((value - margin) / side) * count));
    if (i >= 0 && j >= 0 && i < count && j < count) showPair(i, j);
  }

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  svg.addEventListener("pointermove", showPairAt);
  svg.addEventListener("pointerdown", showPairAt);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter") location.hash = adapters[heatmap.order[cell[0]]].key;
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    showPair(...cell.map((value, axis) => Math.min(Math.max(value + step[axis], 0), count - 1)));
  });
  byId("pair").replaceChildren(make("p", { class: "soft" }, "To see a pair of adapters, point at a cell, or focus the map and use the arrow keys."));
}

if (heatmap) showPairs(heatmap);
