"""Whether tags say what adapters do that the encoder was not trained on: `python -m bench.tags` (after `make demo`).

A tag is right if most of the adapter's captions contain it. Of right, first tags the share that names the playground's
theme is stated too. The adapters' own captions play no part in their tags.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from autolora.captions.store import read_captions
from autolora.dataset import store as dataset
from autolora.encoder.tag_fitting import contains
from autolora.encoder.tags import LIKELY
from autolora.errors import MissingArtifact, exit_on_error
from autolora.index.tags import read_tags
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import load
from bench.timing import today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.tags"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the measurements; write metrics/summary.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/summary.json")
    is_dry_run = parser.parse_args(arguments).dry_run
    rows = list(measure(ROOT))
    for row in rows:
        print(f"{row.name}: {row.value:.3f} of {row.n}")
    if not is_dry_run:
        update(ROOT, COMMAND, today(), rows)


def measure(root: Path) -> Iterator[Headline]:
    """Yield the measurements on the adapters of the index that are not in the training split.

    Raises MissingArtifact if they have no tags.
    """
    trained = {row.sha256 for row in dataset.training_lock(root).in_split("train")}
    captions, tags = captions_by_adapter(root), read_tags(root)
    unseen = [sha256 for sha256 in sorted(tags) if sha256 not in trained and captions.get(sha256)]
    if not unseen:
        raise MissingArtifact(
            "no adapter outside of the training split has tags: run `dvc repro encoder index`"
        )
    path = load(root / "params.yaml").evaluation.themes
    themes = read_judgments(root / path if path else None)
    pairs = [(tag, contains(captions[sha256], tag.text)) for sha256 in unseen for tag in tags[sha256]]
    stated, right = (
        np.array([tag.probability for tag, _ in pairs]),
        np.array([is_right for _, is_right in pairs]),
    )
    first = [tags[sha256][0].text in themes[sha256].theme.split() for sha256 in unseen if sha256 in themes]
    yield Headline(name="tags.first_names_theme_unseen", value=float(np.mean(first)), n=len(first))
    yield Headline(name="tags.stated_probability_unseen", value=float(stated.mean()), n=len(pairs))
    yield Headline(name="tags.right_unseen", value=float(right.mean()), n=len(pairs))
    for name, chosen in (("likely", stated >= LIKELY), ("unlikely", stated < LIKELY)):
        if chosen.any():
            yield Headline(
                name=f"tags.{name}_right_unseen", value=float(right[chosen].mean()), n=int(chosen.sum())
            )


def captions_by_adapter(root: Path) -> dict[str, list[str]]:
    """Return adapter -> all captions of its renderings."""
    by_image: dict[str, list[str]] = {}
    for caption in read_captions(root):
        by_image.setdefault(caption.image, []).append(caption.text)
    return {
        row["sha256"]: [text for image in row["renderings"] for text in by_image.get(image, ())]
        for row in dataset.rows(root, "adapters")
    }


if __name__ == "__main__":
    with exit_on_error():
        main()
