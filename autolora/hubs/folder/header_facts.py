"""What the header of a LoRA file states about it: untrusted text, of which few fields are kept, cleaned and short.

Trainers write paths of their machine into headers. A value that contains one is left out.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autolora.hubs.validation import clean_text, is_private

MAX_CHARS = 300
MAX_WORDS = 10
"""trigger words"""
MAX_TAGS = 10
MAX_TAG_COUNT = 10**9
DESCRIPTION = {
    "modelspec.title": "title",
    "modelspec.author": "author",
    "modelspec.description": "description",
    "modelspec.license": "license",
    "modelspec.architecture": "architecture",
    "modelspec.date": "date",
    "modelspec.usage_hint": "usage hint",
    "modelspec.tags": "tags",
    "modelspec.merged_from": "merged from",
    "ss_output_name": "name in training",
}
"""header field -> its label"""
TRAINING = {
    "ss_base_model_version": "base model",
    "ss_sd_model_name": "trained on",
    "ss_network_module": "network",
    "ss_network_dim": "rank",
    "ss_network_alpha": "alpha",
    "ss_num_train_images": "images",
    "ss_steps": "steps",
    "ss_max_train_steps": "maximum steps",
    "ss_epoch": "epoch",
    "ss_num_epochs": "epochs",
    "ss_resolution": "resolution",
    "ss_learning_rate": "learning rate",
    "ss_unet_lr": "learning rate of the transformer",
    "ss_text_encoder_lr": "learning rate of the text encoders",
    "ss_optimizer": "optimizer",
    "ss_lr_scheduler": "schedule",
    "ss_mixed_precision": "precision",
    "ss_guidance_scale": "guidance scale",
    "ss_timestep_sampling": "timestep sampling",
    "ss_discrete_flow_shift": "flow shift",
    "ss_model_prediction_type": "prediction type",
    "ss_training_finished_at": "finished",
    "modelspec.implementation": "implementation",
}
TRIGGERS = ("modelspec.trigger_phrase", "ss_trigger_words", "trigger_words", "instance_prompt")
"""header fields with trigger words, the most reliable first"""
TAGS = "ss_tag_frequency"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderFacts:
    """The facts of one header."""

    description: dict[str, str]
    """label of DESCRIPTION -> text"""
    trigger_words: tuple[str, ...]
    tags: dict[str, int]
    """the most frequent tags of the training captions -> number of captions, most frequent first"""
    training: dict[str, str]
    """label of TRAINING -> text"""
    private_fields: int
    """number of known fields that are left out because they contain a path of the author's machine"""


def read_facts(metadata: Mapping[str, str]) -> HeaderFacts:
    """Return the facts of a header's metadata; other fields are left out."""
    tags = _count_tags(metadata.get(TAGS, ""))
    known = [field for field in (*DESCRIPTION, *TRAINING, *TRIGGERS) if field in metadata]
    return HeaderFacts(
        description=_select(metadata, DESCRIPTION),
        trigger_words=_trigger_words(metadata, tags),
        tags={} if _is_placeholder(tags) else dict(tags.most_common(MAX_TAGS)),
        training=_select(metadata, TRAINING) | _ai_toolkit(metadata),
        private_fields=sum(is_private(metadata[field]) for field in known),
    )


def public_text(value: str, limit: int = MAX_CHARS) -> str | None:
    """Return a header's text on one line, printable and at most `limit` long; None if it is empty or private."""
    text = None if is_private(value) else clean_text(value)
    return text if text is None or len(text) <= limit else f"{text[: limit - 1]}…"


def _select(metadata: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    texts = {label: public_text(metadata.get(field, "")) for field, label in labels.items()}
    return {label: text for label, text in texts.items() if text and text != "None"}


def _trigger_words(metadata: Mapping[str, str], tags: Counter[str]) -> tuple[str, ...]:
    """Return the trigger words: those stated, else the only tag, which ai-toolkit writes in place of a count."""
    for field in TRIGGERS:
        if text := public_text(metadata.get(field, "")):
            words = (word.strip() for word in text.split(","))
            return tuple(dict.fromkeys(word for word in words if word))[:MAX_WORDS]
    return tuple(tags) if _is_placeholder(tags) else ()


def _is_placeholder(tags: Counter[str]) -> bool:
    """Return whether a count of tags is the one that ai-toolkit writes: a single trigger word, counted once."""
    return len(tags) == 1 and tags.total() == 1


def _count_tags(text: str) -> Counter[str]:
    """Return tag -> number of training captions, from {folder of images: {tag: number}}; empty if it is not valid."""
    tags: Counter[str] = Counter()
    for tag, count in _tag_counts(_parse_object(text)):
        if tag:
            tags[tag] += count
    return tags


def _tag_counts(content: Mapping[str, Any]) -> Iterator[tuple[str | None, int]]:
    for counts in content.values():
        for tag, count in counts.items() if isinstance(counts, Mapping) else ():
            if type(count) is int and 0 < count <= MAX_TAG_COUNT:
                yield public_text(tag, limit=60), count


def _ai_toolkit(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return step and epoch of ai-toolkit's `training_info`."""
    info = _parse_object(metadata.get("training_info", ""))
    labels = {"step": "steps", "epoch": "epoch"}
    return {label: str(info[field]) for field, label in labels.items() if type(info.get(field)) is int}


def _parse_object(text: str) -> Mapping[str, Any]:
    """Return a JSON object; empty if the text is not one."""
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}
