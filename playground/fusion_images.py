"""The image of docs/fusion.md: images that `autolora generate` draws, beside the base model and other methods.

    python -m playground.fusion_images

needs an index and gates. It selects adapters for each of PROMPTS as `generate` does without options, draws all images
of a prompt from the same seed, and prints which adapters were selected. Each image is what

    autolora generate PROMPT --seed SEED --method METHOD

draws; the first row is that of `-k 0`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from autolora.generation.images import Generator, generate
from autolora.params import Method, Params, load
from autolora.records import Hit
from autolora.search.retriever import Retriever, open_retriever
from playground.contact_sheets import sheet

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "images" / "fusion.png"
PROMPTS: Mapping[str, int] = {
    "a drawing of a green clock on stripes, blueprint": 0,
    "a drawing of a brown cat on a grass field, pixel art in square blocks": 0,
    "purple rocket, on a grass field, sticker style": 0,
    "a picture of an orange duck at sunset, rough crayon strokes": 0,
    "a drawing of a purple rocket on stripes, glitch style": 0,
    "brown heart at sunset, watercolour style": 0,
}
"""prompt -> seed; a column each: prompts of the pairs of the stage `experiments`, with the first seed"""
METHODS: Sequence[Method] = ("direct", "gated")
"""the rows below the base model"""
MAX_BYTES = 300_000
SCALE = 2


def draw_rows(
    root: Path, params: Params, retriever: Retriever, prompts: Mapping[str, int]
) -> list[tuple[str, list[Image.Image]]]:
    """Return label and images of each row, a column per prompt; print the adapters of each column."""
    generator = Generator(root, params.models, params.pool)
    rows: dict[str, list[Image.Image]] = {label: [] for label in ("base", *METHODS)}
    for prompt, seed in prompts.items():
        hits = retriever.select(prompt)
        print(f"{prompt}; seed {seed}: {', '.join(hit.id for hit in hits) or 'no adapter'}", flush=True)
        choices: dict[str, tuple[Sequence[Hit], Method]] = {"base": ((), "direct")}
        choices |= {method: (hits, method) for method in METHODS}
        for label, (chosen, method) in choices.items():
            generated = generate(
                generator, prompt, chosen, method=method, seed=seed, params=params.generation
            )
            rows[label].append(generated.image)
    return list(rows.items())


def save_page(rows: Sequence[tuple[str, Sequence[Image.Image]]], path: Path) -> None:
    """Save the rows as one PNG; raise ValueError if it is too large for the repository."""
    page = sheet(rows, SCALE)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}: draw fewer prompts")


def main() -> None:
    """Draw the image of docs/fusion.md."""
    params = load(ROOT / "params.yaml")
    save_page(draw_rows(ROOT, params, open_retriever(ROOT), PROMPTS), PAGE)
    print(PAGE)


if __name__ == "__main__":
    main()
