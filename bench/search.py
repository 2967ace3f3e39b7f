"""A search in Python, encoder resident, against the text encoder alone."""

from itertools import cycle
from pathlib import Path

from autolora import models
from autolora.params import load
from autolora.retrieval import open_retriever
from bench.timing import paired

ROOT = Path(__file__).parents[1]
PROMPTS = [
    f"a {colour} {thing}" for colour in ("red", "green", "blue", "pink") for thing in ("cat", "boat", "key")
]


def main() -> None:
    """Print milliseconds a search, and its ratio to encoding the prompt."""
    retriever = open_retriever(ROOT)
    encoder = models.load_text_encoder(load(ROOT / "params.yaml").models)
    queries, texts = cycle(PROMPTS), cycle(PROMPTS)
    ours, peer, ratio = paired(
        lambda: retriever.search(next(queries), k=3), lambda: encoder.encode([next(texts)]), 100
    )
    print(f"search: {ours * 1e3:.1f} ms; text encoder alone {peer * 1e3:.1f} ms; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
