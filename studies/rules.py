"""All methods of fusion on pairs of unseen adapters of the playground: `python -m studies.rules` (after `make demo`).

Each pair is an object and a style of the test split, with the prompts of the stage `experiments`: both are requested,
and the choice of the adapters is right. The judges are those of params.yaml; `both shown` is the share of images in
which the classifier finds object and style. Every method gets the same prompts and seeds; differences to `direct` are
paired, with intervals from resampling whole pairs. Times are CPU seconds, since other work on the machine affects these
little; those of the methods of a pair are taken one after the other.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from autolora.errors import exit_on_error
from autolora.experiments.cases import PromptCase, candidates, draw_cases
from autolora.fusion.rules import Adapter
from autolora.generation.images import Generator, generate_images
from autolora.metrics.bootstrap import Estimate, estimate
from autolora.metrics.clip import image_features, similarity, text_features
from autolora.metrics.judges import Judges, detect, load_judges
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import GenerationParams, load
from autolora.storage.arrays import Float64Array
from bench.timing import cpu_timed, today
from studies.paper.methods import EQUAL_RANKS, METHODS, Method, attach

COMMAND = "python -m studies.rules"
PAIRS, IMAGES = 48, 4
ANY_RANKS = [method for method in METHODS if method not in EQUAL_RANKS]
"""methods that combine adapters of unequal ranks, as the playground's are"""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one method did on all pairs."""

    both_shown: Float64Array
    """(pairs · images,), as is the next"""
    prompt_similarity: Float64Array
    draw_seconds: float
    """per image, in the median over pairs"""
    attach_seconds: float
    """per pair, in the median"""


def main() -> None:
    """Generate and score all images, print the table, and write the rows of metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--images", type=int, default=IMAGES, help="per pair and method")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs, and the first of the images")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=ANY_RANKS)
    options = parser.parse_args()
    root = Path(".").absolute()
    params = load(root / "params.yaml")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    cases = [
        case
        for case in draw_cases(candidates(root, judgments), options.pairs, options.seed)
        if case.scenario == "pair" and case.unseen == 2
    ]
    judges = load_judges(params.judges, params.models)
    if judges.classifier is None:
        raise SystemExit("judges.classifier in params.yaml is null: `both shown` needs a classifier")
    generator = Generator(root, params.models, params.pool)
    seeds = [options.seed + number for number in range(options.images)]
    methods = list(dict.fromkeys(["direct", *options.methods]))
    measured = measure(generator, judges, cases, methods, seeds, params.generation)
    clusters = [case.cluster for case in cases for _ in seeds]
    print(
        f"{len(cases)} pairs of unseen adapters, {len(seeds)} images each\n\n{to_markdown(measured, clusters)}"
    )
    if (options.pairs, options.images, options.seed) == (PAIRS, IMAGES, 0) and methods == ANY_RANKS:
        update(root, COMMAND, today(), headlines(measured, clusters, params.fusion.preset))


def measure(
    generator: Generator,
    judges: Judges,
    cases: Sequence[PromptCase],
    methods: Sequence[Method],
    seeds: Sequence[int],
    params: GenerationParams,
) -> dict[Method, Measured]:
    """Return method -> what it did."""
    classifier = judges.classifier
    assert classifier is not None
    shown: dict[Method, list[float]] = {method: [] for method in methods}
    similar: dict[Method, list[float]] = {method: [] for method in methods}
    seconds: dict[Method, list[tuple[float, float]]] = {method: [] for method in methods}
    for case in track(cases, "generating"):
        adapters = [Adapter(sha256, generator.load_lora(sha256), 1.0) for sha256 in case.adapters]
        text = text_features(judges.clip, [case.prompt])
        for method in methods:
            attaching, drawing, images = draw(generator, case, adapters, method, seeds, params)
            seconds[method].append((attaching, drawing / len(seeds)))
            shown[method] += np.prod(detect(classifier, images, case.themes), axis=0).tolist()
            similar[method] += similarity(image_features(judges.clip, images), text).tolist()
    return {
        method: Measured(
            both_shown=np.array(shown[method]),
            prompt_similarity=np.array(similar[method]),
            attach_seconds=float(np.median([attaching for attaching, _ in seconds[method]])),
            draw_seconds=float(np.median([drawing for _, drawing in seconds[method]])),
        )
        for method in methods
    }


def draw(
    generator: Generator,
    case: PromptCase,
    adapters: Sequence[Adapter],
    method: Method,
    seeds: Sequence[int],
    params: GenerationParams,
) -> tuple[float, float, list[Image.Image]]:
    """Return the CPU seconds of attaching the adapters and of drawing the images, and these."""
    pipeline, prompts = generator.pipeline, [case.prompt] * len(seeds)
    attaching, attachment = cpu_timed(lambda: attach(pipeline, adapters, method, lambda: generator.gates))
    with attachment:
        drawing, images = cpu_timed(lambda: generate_images(pipeline, prompts, seeds, params))
    return attaching, drawing, images


def estimates_of(
    measured: dict[Method, Measured], clusters: Sequence[str]
) -> dict[Method, tuple[Estimate, Estimate, Estimate]]:
    """Return method -> both shown, its difference to direct, and prompt similarity."""
    direct = measured["direct"].both_shown
    return {
        method: (
            estimate(row.both_shown, clusters, RESAMPLES, 0),
            estimate(row.both_shown - direct, clusters, RESAMPLES, 0),
            estimate(row.prompt_similarity, clusters, RESAMPLES, 0),
        )
        for method, row in measured.items()
    }


def headlines(measured: dict[Method, Measured], clusters: Sequence[str], preset: str) -> list[Headline]:
    """Return the rows of metrics/details.json, e.g. fusion.rules_both_shown_velocity."""
    rows = []
    for method, (shown, difference, _) in estimates_of(measured, clusters).items():
        for name, row in ((method, shown), (f"{method}_minus_direct", difference)):
            numbers = {key: value for key, value in asdict(row).items() if key != "clusters"}
            rows.append(Headline(name=f"fusion.rules_both_shown_{name}", preset=preset, **numbers))
    return rows


def to_markdown(measured: dict[Method, Measured], clusters: Sequence[str]) -> str:
    """Return a table: a line per method."""
    lines = [
        "| method | both shown | less direct | prompt similarity | CPU s per image | to direct | to attach, s |",
        "|---|---|---|---|---|---|---|",
    ]
    direct = measured["direct"].draw_seconds
    for method, values in estimates_of(measured, clusters).items():
        row = measured[method]
        cells = [f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in values]
        cells += [
            f"{row.draw_seconds:.3f}", f"{row.draw_seconds / direct:.2f}", f"{row.attach_seconds:.2f}",
        ]  # fmt: skip
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
