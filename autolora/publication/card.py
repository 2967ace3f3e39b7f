"""The card of a published index: README.md with the front matter that Hugging Face reads."""

from collections import Counter
from collections.abc import Iterable

from autolora.index.copies import Index

TEMPLATE = """---
library_name: autolora
tags: [flux, lora, autolora, search]
---

# An index of {count:,} FLUX LoRAs

A prompt finds the LoRAs that fit it, by the content of their weights.

```python
import autolora

collection = autolora.open("{repo_id}")  # the id of the repository, or a folder with its files
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
LARGEST = 8
"""licenses that are named"""


def write_card(index: Index, pipeline: str, repo_id: str, unoffered: int) -> str:
    """Return the card.

    pipeline: name of the base pipeline. repo_id: of the repository on Hugging Face. unoffered: number of adapters whose
    weights no hub offers.
    """
    columns = index.rows.columns
    return TEMPLATE.format(
        count=len(index.rows),
        digest=index.digest,
        repo_id=repo_id,
        unoffered=unoffered,
        pipeline=pipeline,
        hubs=_count(columns.column("hub").to_pylist()),
        licenses=_count(name or "unknown" for name in columns.column("license").to_pylist()),
        nsfw=sum(bool(value) for value in columns.column("nsfw").to_pylist()),
    )


def _count(names: Iterable[str]) -> str:
    """Return the most frequent names with their numbers, most frequent first."""
    counts = Counter(names).most_common()
    parts = [f"{name} {count:,}" for name, count in counts[:LARGEST]]
    rest = sum(count for _, count in counts[LARGEST:])
    return ", ".join([*parts, f"others {rest:,}"] if rest else parts)
