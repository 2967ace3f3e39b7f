"""Whether names that do not fit the weights are recognized: the playground's themes as names of its adapters.

Each adapter of the index is given the name of each theme, as the name of a file that `autolora inspect` compares with
the weights. A name is right if it is the adapter's theme. Needs the index and the encoder that `make demo` makes.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autolora.encoder import store as encoder_store
from autolora.encoder.model import caption_rule, embed_texts
from autolora.errors import MismatchError, exit_on_error
from autolora.inspection.description import check_text
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.search.retriever import open_retriever
from autolora.text_encoder.clip import load_numpy_text_encoder
from bench.timing import today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.names"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the shares of names that are judged correctly; write metrics/summary.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/summary.json")
    is_dry_run = parser.parse_args(arguments).dry_run
    rows = [
        Headline(name=f"reach.names_{kind}", value=float(np.mean(correct)), n=len(correct))
        for kind, correct in judge_names(ROOT).items()
    ]
    for row in rows:
        print(f"{row.name}: {row.value:.3f} of {row.n}")
    if not is_dry_run:
        update(ROOT, COMMAND, today(), rows)


def judge_names(root: Path) -> dict[str, list[bool]]:
    """Return whether each pair of an adapter and a name is judged correctly, by kind: right or wrong names, of adapters
    that the encoder was trained on or not.

    Raises MismatchError if the encoder takes no captions, so that it has no rule for texts.
    """
    params = load(root / "params.yaml")
    encoder, index = encoder_store.load_encoder(encoder_store.folder(root)), open_retriever(root).index
    rule, themes = caption_rule(encoder), read_judgments(root / str(params.evaluation.themes))
    if rule is None:
        raise MismatchError("the encoder takes no captions: measure names with the preset `best`")
    names = sorted({judgment.theme for judgment in themes.values()})
    vectors = embed_texts(encoder, load_numpy_text_encoder(root, params.models), names)
    correct: dict[str, list[bool]] = defaultdict(list)
    for row, weights in zip(index.rows, index.weights_vectors.astype(np.float64), strict=True):
        split = "trained" if row["split"] == "train" else "unseen"
        for name, vector in zip(names, vectors, strict=True):
            is_right = row["sha256"] in themes and themes[row["sha256"]].theme == name
            agrees = check_text(rule, "name", name, weights, vector).agrees
            correct[f"{'right' if is_right else 'wrong'}_{split}"].append(agrees == is_right)
    return dict(correct)


if __name__ == "__main__":
    with exit_on_error():
        main()
