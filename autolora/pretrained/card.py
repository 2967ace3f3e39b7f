"""The model card of a pretrained model: README.md with the front matter that Hugging Face reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.pretrained.config import PIPELINE, Kind, PretrainedConfig

Rows = Mapping[str, Mapping[str, Any]]
"""name -> row of metrics/details.json"""
METRICS: Mapping[Kind, Mapping[str, str]] = {
    "encoder": {
        "retrieval.weights_theme_r_at_1_unseen": "the first hit has the theme of the prompt; weights alone",
        "retrieval.weights_seen_theme_r_at_1_unseen": "… prompts with a theme that training adapters have",
        "retrieval.weights_absent_theme_r_at_1_unseen": "… prompts with a theme that training adapters do not have",
        "retrieval.hybrid_theme_r_at_1_unseen": "the first hit has the theme; weights and captions",
        "retrieval.weights_adapter_r_at_1_unseen": "the first hit is the adapter of the prompt; weights alone",
    },
    "gates": {
        "fusion.both_shown_gated": "the image shows the subjects of both adapters",
        "fusion.both_shown_gated_minus_direct": "… less that of the plain sum",
        "fusion.neither_shown_gated": "the image shows neither adapter for a prompt that asks for neither",
        "fusion.neither_shown_gated_minus_direct": "… less that of the plain sum",
        "fusion.pair_prompt_similarity_gated": "similarity of image and prompt, two adapters",
    },
}
"""headline numbers in a card, and what they mean"""
SUMMARY: Mapping[Kind, str] = {
    "encoder": "An encoder of AutoLoRA: it reads the weights of a FLUX LoRA and "
    "maps them into the space of text, so that a prompt finds the LoRAs that fit it, with captions or without.",
    "gates": "Fusion gates of AutoLoRA: they decide, per token and dimension, how "
    "much of the update of each of several FLUX LoRAs passes.",
}
USE = """Set {it} in `params.yaml`, then run `dvc repro {stage}`:

    {section}:
      from: {name}
      from_revision: COMMIT   # null for a folder

or load {it} in Python:

    from autolora.{section}.pretrained import load_pretrained
    pretrained = load_pretrained("{name}", revision="COMMIT")"""
USE_VALUES: Mapping[Kind, Mapping[str, str]] = {
    "encoder": {"it": "it", "stage": "index", "section": "encoder"},
    "gates": {"it": "them", "stage": "fusion", "section": "fusion"},
}
LIMITS: Mapping[Kind, Sequence[str]] = {
    "encoder": (
        "It reads LoRAs of the base model above only: the same number and width of transformer blocks.",
        "It was trained on the adapters below and their captions: LoRAs that do something else are found less often.",
        "Its relevance (the probability that a prompt asks for an adapter) was fitted to these adapters.",
        "It says what a LoRA does, not whether its use is lawful, safe, or permitted by its license.",
    ),
    "gates": (
        "They fit LoRAs of the base model above only: the same number and width of transformer blocks.",
        "They were trained with pairs of the adapters below, at one image size.",
        "With a single adapter, or two that do not interfere, the plain sum (`direct`) may be better.",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """What the publisher states about a pretrained model."""

    name: str
    """Hugging Face id, or name of the folder"""
    license: str
    """identifier as Hugging Face lists it, e.g. apache-2.0"""
    base_model: str | None
    """Hugging Face id of the base pipeline; None if it is not on Hugging Face"""
    metrics: Rows
    """headline numbers of the project"""


def write_card(config: PretrainedConfig, facts: CardFacts) -> str:
    """Return the model card of a model with this config."""
    kind = config.kind
    sections = [
        _front_matter(config, facts),
        f"# {facts.name}",
        SUMMARY[kind],
        _base_model(config, facts),
        "## Use",
        USE.format(name=facts.name, **USE_VALUES[kind]),
        "## Training set",
        _training_set(config),
        "## Metrics",
        _metrics(kind, facts.metrics),
        "## Storage",
        _storage(config),
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS[kind]),
        "## License",
        f"`{facts.license}`. The licenses of the adapters that it was trained on are listed above; the adapters "
        "themselves are not contained.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(config: PretrainedConfig, facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=facts.license,
        base_model=facts.base_model,
        library_name="autolora",
        tags=["autolora", f"autolora-{config.kind}", "lora", "flux"],
    )
    return f"---\n{data.to_yaml().strip()}\n---"


def _base_model(config: PretrainedConfig, facts: CardFacts) -> str:
    """Return the base model's name, and the fields of its config by which an encoder recognizes it."""
    fields = ", ".join(f"{name} {value}" for name, value in config.model.get("transformer", {}).items())
    return f"Base model: {facts.base_model or 'not on Hugging Face'}{f' ({fields})' if fields else ''}."


def _training_set(config: PretrainedConfig) -> str:
    training = config.training
    if not training.adapters:
        return "Unknown: the model was imported from a file of the authors' code."
    until = f", first seen up to {training.train_until}" if training.train_until else ""
    rows = [(license, str(number)) for license, number in training.licenses.items()]
    return (
        f"{training.adapters} adapters of {training.families} families (groups of adapters with similar updates)"
        f"{until}.\n\n{_table(('license of an adapter', 'adapters'), rows)}"
    )


def _metrics(kind: Kind, headlines: Rows) -> str:
    rows = []
    for name, meaning in METRICS[kind].items():
        if row := headlines.get(name):
            interval = "" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
            rows.append((meaning, f"{row['value']:.2f}", interval, str(row["n"]), str(row["date"])))
    if not rows:
        return "Not measured."
    return "Measured on adapters of families that are not in the training set.\n\n" + _table(
        (
            "share of prompts for which" if kind == "encoder" else "mean",
            "value",
            "95 % interval",
            "n",
            "date",
        ),
        rows,
    )


def _storage(config: PretrainedConfig) -> str:
    rank = f", the largest matrix as factors of rank {config.rank}" if config.rank else ""
    parts = (
        f"`{PIPELINE}/` contains text encoder, tokenizer and transformer config of the base pipeline, which a search "
        "needs."
        if config.has_pipeline
        else "The text encoder of the base pipeline is not contained."
    )
    stored = (
        f"Weights in {config.dtype}{rank}; relative error of a tensor at most {config.weights_error:.2g}."
    )
    return stored if config.kind == "gates" else f"{stored} {parts}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    """Return a text, which may be a hub's, as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
