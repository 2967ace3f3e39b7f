"""The card of a publication: README.md with the front matter that Hugging Face reads."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from autolora.index.copies import Index
from autolora.publication.manifest import TrainingSet

Rows = Mapping[str, Mapping[str, Any]]
"""name -> row of metrics/details.json"""
METRICS: Mapping[str, str] = {
    "retrieval.weights_theme_r_at_1_unseen": "the first hit has the theme of the prompt; weights alone",
    "retrieval.weights_seen_theme_r_at_1_unseen": "… prompts with a theme that training adapters have",
    "retrieval.weights_absent_theme_r_at_1_unseen": "… prompts with a theme that training adapters do not have",
    "retrieval.theme_r_at_1_unseen": "the first hit of a search has the theme",
    "retrieval.weights_adapter_r_at_1_unseen": "the first hit is the adapter of the prompt; weights alone",
}
"""headline numbers in a card, and what they mean"""
INDEX = """# An index of {count:,} FLUX LoRAs

A prompt finds the LoRAs that fit it, by the content of their weights.

```python
import autolora

collection = autolora.open("{name}")  # the id of the repository, or a folder with its files
hits = collection.search("a cat in mosaic style", k=3)
with collection.fuse(pipe, hits):  # any loaded FLUX pipeline of diffusers
    image = pipe("a cat in mosaic style").images[0]
```

Weights are not part of it: those of a hit are downloaded from the hub that it was found on, verified by their sha256,
and kept in the cache of `huggingface_hub`. No access token is sent, so files that need one cannot be fetched.

| | |
|---|---|
| index | `{digest}` |
| base pipeline | {pipeline} |
| hubs | {hubs} |
| licenses | {licenses} |
| not safe for work | {nsfw:,} |
| adapters whose weights no hub offers | {unoffered:,} |

Each adapter has the license of its author, which `Hit.license` names as its hub reports it.
"""
ENCODER = """# An encoder of FLUX LoRAs

It reads the weights of a LoRA for {pipeline} and maps them into the space of text, so that a prompt finds the LoRAs
that fit it, with captions or without. For your own files:

    autolora index FOLDER --encoder {name}

In a pipeline, set it in `params.yaml`, then run `dvc repro index`:

    encoder:
      from: {name}
      from_revision: COMMIT   # null for a folder

It reads LoRAs of this base model only: the same number and width of transformer blocks. It was trained on the adapters
below and their captions, and its relevance (the probability that a prompt asks for an adapter) was fitted to them, so
LoRAs that do something else are found less often. It says what a LoRA does, not whether its use is lawful, safe, or
permitted by its license.

## Training set of the encoder

{training}

## Quality of the encoder

{metrics}
"""
LARGEST = 8
"""licenses that are named"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """What the publisher states."""

    name: str
    """Hugging Face id, or what the card calls the folder"""
    license: str | None
    """of index and encoder, as Hugging Face names it, e.g. apache-2.0"""
    pipeline: str
    """name of the base pipeline"""
    base_model: str | None
    """its Hugging Face id; None if it is not on Hugging Face"""
    metrics: Rows
    """headline numbers of the project"""


def write_card(facts: CardFacts, index: Index | None, unoffered: int, encoder: TrainingSet | None) -> str:
    """Return the card. unoffered: number of adapters whose weights no hub offers."""
    front = {
        "library_name": "autolora",
        "license": facts.license,
        "base_model": facts.base_model,
        "tags": ["autolora", "lora", "flux", *(["search"] if index else [])],
    }
    stated = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False)
    parts = [f"---\n{stated}---\n"]
    if index:
        columns = index.rows.columns
        parts.append(
            INDEX.format(
                name=facts.name,
                pipeline=facts.pipeline,
                count=len(index.rows),
                digest=index.digest,
                unoffered=unoffered,
                hubs=_count(columns.column("hub").to_pylist()),
                licenses=_count(name or "unknown" for name in columns.column("license").to_pylist()),
                nsfw=sum(bool(value) for value in columns.column("nsfw").to_pylist()),
            )
        )
    if encoder:
        training, metrics = _training_set(encoder), _metrics(facts.metrics)
        parts.append(
            ENCODER.format(name=facts.name, pipeline=facts.pipeline, training=training, metrics=metrics)
        )
    return "\n".join(parts)


def _count(names: Iterable[str]) -> str:
    """Return the most frequent names with their numbers, most frequent first."""
    counts = Counter(names).most_common()
    parts = [f"{name} {count:,}" for name, count in counts[:LARGEST]]
    rest = sum(count for _, count in counts[LARGEST:])
    return ", ".join([*parts, f"others {rest:,}"] if rest else parts)


def _training_set(training: TrainingSet) -> str:
    if not training.adapters:
        return "Unknown: the encoder was imported from a file of the authors' code."
    until = f", first seen up to {training.train_until}" if training.train_until else ""
    rows = [(license, str(number)) for license, number in training.licenses.items()]
    return (
        f"{training.adapters} adapters of {training.families} families (groups of adapters with similar updates)"
        f"{until}.\n\n{_table(('license of an adapter', 'adapters'), rows)}"
    )


def _metrics(headlines: Rows) -> str:
    rows = []
    for name, meaning in METRICS.items():
        if row := headlines.get(name):
            interval = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
            rows.append((meaning, f"{row['value']:.2f}", interval, str(row["n"]), str(row["date"])))
    if not rows:
        return "Not measured."
    head = ("share of prompts for which", "value", "95 % interval", "n", "date")
    return f"Measured on adapters of families that are not in the training set.\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    """Return a text, which may be a hub's, as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
