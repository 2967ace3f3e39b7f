"""From prompt to image as users do it, on the playground: `python -m bench.end_to_end` (after `make demo`).

Prompts name an object and a style and no trigger word. For each, images are made by the base model, by the first three
hits through the gates (the default until 2026-11-26), by the selection as a plain sum, without and with trigger words,
and by one adapter of each requested theme, which knows what is right. One way selects by the prompt inside a request, a
scene or quality tags (bench/language), and draws the prompt alone. The judges are those of params.yaml; `both shown`
is the share of images in which the classifier finds object and style. Intervals come from resampling whole prompts.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from autolora.errors import exit_on_error
from autolora.generation.images import Generator, generate
from autolora.metrics.bootstrap import Estimate, estimates
from autolora.metrics.clip import image_features, similarity, text_features
from autolora.metrics.judges import Judges, detect, load_judges, vqa_score
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import GenerationParams, Params, load
from autolora.records import Hit
from autolora.search.retriever import Retriever, open_retriever
from bench.language.prompts import WRAPPED, read_contexts
from bench.selection_cases import COMPOSITES, Case, make_cases
from bench.timing import today

COMMAND = "python -m bench.end_to_end"
PROMPTS, IMAGES = 100, 2


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make images: which adapters, and how."""

    choose: Callable[[Case], list[Hit]]
    generation: GenerationParams


def main() -> None:
    """Generate and score all images, print the table, and write the rows of metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--images", type=int, default=IMAGES, help="per prompt and way")
    options = parser.parse_args()
    root = Path(".").absolute()
    params = load(root / "params.yaml")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    retriever = open_retriever(root)
    indexed = [judgments[row["sha256"]] for row in retriever.index.rows if row["sha256"] in judgments]
    cases = draw_cases(make_cases(indexed), options.prompts)
    judges = load_judges(params.judges, params.models)
    generator = Generator(root, params.models, params.pool)
    columns: dict[tuple[str, str], list[float]] = {}
    for case in track(cases, "generating"):
        scored: dict[tuple[Any, ...], dict[str, list[float]]] = {}
        for name, way in ways(retriever, params, judgments).items():
            hits = way.choose(case)
            key = (tuple(sorted(hit.sha256 for hit in hits)), way.generation)  # equal inputs, equal images
            if key not in scored:
                scored[key] = score(generator, judges, case, hits, way.generation, options.images)
            for metric, values in scored[key].items():
                columns.setdefault((name, metric), []).extend(values)
    clusters = [case.prompt for case in cases for _ in range(options.images)]
    arrays = {key: np.array(column) for key, column in columns.items()}
    results = estimates(arrays, clusters, resamples=2000, seed=0)
    print(to_markdown(results))
    if (options.prompts, options.images) == (PROMPTS, IMAGES):
        update(root, COMMAND, today(), headlines(results, params.encoder.preset))


def draw_cases(cases: Sequence[Case], count: int) -> list[Case]:
    """Return `count` of the prompts about an object and a style in the first phrasing, drawn with seed 0."""
    composites = [case for case in cases if case.kind == "composite"]
    first = composites[: len(composites) // len(COMPOSITES)]
    order = np.random.default_rng(0).permutation(len(first))[:count]
    return [first[row] for row in sorted(order.tolist())]


def ways(retriever: Retriever, params: Params, judgments: dict[str, Judgment]) -> dict[str, Way]:
    """Return name -> way; the first is the base model alone."""
    summed = replace(params.generation, method="direct", trigger_words=False)

    def select(case: Case) -> list[Hit]:
        return retriever.select(case.prompt)

    def right(case: Case) -> list[Hit]:
        hits = retriever.search(case.prompt, len(retriever.index.rows))
        by_theme = {judgments[hit.sha256].theme: hit for hit in reversed(hits) if hit.sha256 in judgments}
        return [by_theme[theme] for theme in sorted(case.themes)]

    def select_wrapped(case: Case) -> list[Hit]:
        return retriever.select(around(case.prompt))

    around = read_contexts()[WRAPPED]
    gated = replace(summed, method="gated")
    worded = replace(summed, trigger_words=True)
    return {
        "base": Way(lambda case: [], summed),
        "first hits, gates": Way(lambda case: retriever.search(case.prompt, 3), gated),
        "selection": Way(select, summed),
        "selection, trigger words": Way(select, worded),
        "selection by a wrapped prompt, trigger words": Way(select_wrapped, worded),
        "right adapters": Way(right, summed),
        "right adapters, trigger words": Way(right, worded),
    }


def score(
    generator: Generator,
    judges: Judges,
    case: Case,
    hits: Sequence[Hit],
    generation: GenerationParams,
    images: int,
) -> dict[str, list[float]]:
    """Return metric -> its value for each image of a prompt."""
    batch = [
        generate(generator, case.prompt, hits, method=generation.method, seed=seed, params=generation).image
        for seed in range(images)
    ]
    scores = {
        "prompt similarity": similarity(
            image_features(judges.clip, batch), text_features(judges.clip, [case.prompt])
        ),
        "VQAScore": vqa_score(judges, batch, case.prompt),
    }
    if judges.classifier:
        scores["both shown"] = np.prod(detect(judges.classifier, batch, sorted(case.themes)), axis=0)
    return {metric: values.tolist() for metric, values in scores.items()}


def headlines(results: dict[tuple[str, str], Estimate], preset: str) -> list[Headline]:
    """Return the rows of metrics/details.json, e.g. fusion.end_to_end_selection_both_shown."""
    rows = []
    for (way, metric), estimate in results.items():
        numbers = {name: value for name, value in asdict(estimate).items() if name != "clusters"}
        slug = f"{way} {metric}".lower().replace(",", "").replace(" ", "_")
        rows.append(Headline(name=f"fusion.end_to_end_{slug}", preset=preset, **numbers))
    return rows


def to_markdown(results: dict[tuple[str, str], Estimate]) -> str:
    """Return a table: a line per way, a column per metric."""
    metrics = list(dict.fromkeys(metric for _, metric in results))
    lines = [f"| way | {' | '.join(metrics)} |", f"|---{'|---' * len(metrics)}|"]
    for way in dict.fromkeys(way for way, _ in results):
        cells = [results[way, metric] for metric in metrics]
        lines.append(f"| {way} | {' | '.join(f'{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]' for e in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
