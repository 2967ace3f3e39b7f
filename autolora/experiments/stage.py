"""Measure fusion: the same prompts and seeds under every method, scored by judges, with paired differences.

Methods: those of `autolora.experiments.methods`.
Scenarios: `pair` (two adapters loaded, the prompt asks for both), `single` (one loaded, the prompt asks for it),
`unrelated` (two loaded, the prompt asks for neither).
"""

import datetime
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.experiments.cases import CandidateAdapter, PromptCase, candidates, draw_cases
from autolora.experiments.methods import DIFFERENCES, METHODS, generate_by_method
from autolora.experiments.relevance import relevance_scorer
from autolora.experiments.results import ExperimentResult, keep, read_kept
from autolora.experiments.scoring import Scores, score_images
from autolora.experiments.store import metrics_path, report_path
from autolora.fusion import store as fusion_store
from autolora.generation.images import Generator
from autolora.metrics.bootstrap import estimate
from autolora.metrics.judges import Judges
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline, update
from autolora.params import ExperimentsParams, GenerationParams, ModelsParams, PoolParams
from autolora.pool import store as pool
from autolora.storage.files import Row, read_json, write_atomic
from autolora.storage.hashes import hash_folder, hash_value
from autolora.storage.images import open_image
from autolora.storage.incremental import read_digest, write_digest
from autolora.storage.inputs import read_state
from autolora.text_encoder.sentences import SentenceEncoder

SCHEMA = 2
COMMAND = "python -m flows.experiments"
HEADLINES = {
    "both_shown": ("pair", "both shown"),
    "pair_prompt_similarity": ("pair", "prompt similarity"),
    "single_prompt_similarity": ("single", "prompt similarity"),
    "base_similarity": ("unrelated", "base similarity"),
    "neither_shown": ("unrelated", "neither shown"),
}
"""name in metrics/details.json -> scenario and metric"""
KEPT = Path("cache", "experiments")
"""the results of the finished cases of an unfinished run"""

Progress = Callable[[int, int, str], None]
"""gets the number of finished cases, of all cases, and the scenario of the last one"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The parameters that an experiment depends on."""

    params: ExperimentsParams
    generation: GenerationParams
    base: ModelsParams
    bounds: PoolParams
    sentences: SentenceEncoder | None
    """of the encoder's language"""
    themes: str | None
    """file of judgments, which distinguishes objects from styles, relative to the root; None: no judgments"""
    preset: str
    """of the gates, for the rows of metrics/details.json"""


def experiment(
    root: Path, settings: Settings, judges: Judges, progress: Progress, today: datetime.date
) -> str:
    """Draw prompt cases, generate and score their images, write this stage's part of the report; return the digest.

    Each finished case is kept in cache/experiments, from which a later run with the same inputs continues.
    Raises MissingArtifact when an earlier stage has not run.
    """
    judgments = read_judgments(root / settings.themes if settings.themes else None)
    adapters = {candidate.sha256: candidate for candidate in candidates(root, judgments)}
    cases = draw_cases(list(adapters.values()), settings.params.pairs, settings.params.seed)
    digests = {stage: read_digest(root, stage)["sha256"] for stage in ("encoder", "fusion")}
    inputs = digests | judges.facts | {"generation": asdict(settings.generation)}
    paths = _paths(root, settings, judges, cases, adapters)
    _remove_others(root, paths)
    measure = _measurement(root, settings, judges, adapters)
    results: list[ExperimentResult] = []
    for path, case in zip(paths, cases, strict=True):
        result = read_kept(path, case)
        if result is None:
            result = measure(case)
            keep(path, result)
        results.append(result)
        progress(len(results), len(cases), case.scenario)
    digest = write(root, results, settings.params, inputs, settings.preset, today)
    _remove_others(root, ())
    return digest


def _measurement(
    root: Path, settings: Settings, judges: Judges, adapters: Mapping[str, CandidateAdapter]
) -> Callable[[PromptCase], ExperimentResult]:
    """Return a function that generates and scores the images of a case."""
    params, generation = settings.params, settings.generation
    generator = Generator(root, settings.base, settings.bounds)
    text_encoder = models.load_text_encoder(settings.base)
    relevance_of = relevance_scorer(root, adapters, text_encoder, settings.sentences, settings.bounds)

    def measure(case: PromptCase) -> ExperimentResult:
        relevance = relevance_of(case)
        images = generate_by_method(generator, case, relevance, params, generation)
        scores = score_images(judges, case, images, lambda sha256: _renderings(root, adapters[sha256]))
        return ExperimentResult(
            case=case,
            relevance=list(relevance),
            scores={name: {key: row.tolist() for key, row in rows.items()} for name, rows in scores.items()},
        )

    return measure


def _paths(
    root: Path,
    settings: Settings,
    judges: Judges,
    cases: Sequence[PromptCase],
    adapters: Mapping[str, CandidateAdapter],
) -> list[Path]:
    """Return the file that keeps each case's result, named by the hash of all that decides it, code included.

    As for captions, the engine of the judge is not part of it: both engines run the same model.
    """
    params, base = settings.params, settings.base
    shared = [
        read_json(root / "digests" / "code" / "experiments.json"),
        hash_folder(encoder_store.folder(root)), hash_folder(fusion_store.folder(root)),
        base.pipeline, base.pipeline_revision, base.dtype, read_state(root, base.pipeline).sha256, judges.facts,
        asdict(settings.generation), params.images, params.seed,
    ]  # fmt: skip
    own = [[asdict(case), [asdict(adapters[sha256]) for sha256 in case.adapters]] for case in cases]
    return [root / KEPT / f"{hash_value([*shared, *parts])}.json" for parts in own]


def _remove_others(root: Path, paths: Collection[Path]) -> None:
    """Delete all kept results but these, and what killed writers left."""
    for path in {*(root / KEPT).glob("*")} - {*paths}:
        path.unlink()


def compare_methods(results: Sequence[ExperimentResult], params: ExperimentsParams) -> dict[str, Any]:
    """Return scenario -> each method's metrics and paired differences, with intervals clustered by pair."""
    tables: dict[str, Any] = {}
    for scenario in dict.fromkeys(result.case.scenario for result in results):
        members = [result for result in results if result.case.scenario == scenario]
        methods = {method: _concatenated(members, method) for method in METHODS}
        paired = {
            f"{a} − {b}": {metric: values - methods[b][metric] for metric, values in methods[a].items()}
            for a, b in DIFFERENCES
        }
        clusters = [result.case.cluster for result in members for _ in range(params.images)]
        tables[scenario] = {
            "methods": {name: _estimates(scores, clusters, params) for name, scores in methods.items()},
            "differences": {name: _estimates(scores, clusters, params) for name, scores in paired.items()},
        }
    return tables


def headlines(scenarios: Mapping[str, Any], preset: str) -> list[Headline]:
    """Return the rows of metrics/details.json; metrics without values are left out.

    For example fusion.both_shown_direct and fusion.both_shown_gated_minus_direct.
    """
    rows = []
    for name, (scenario, metric) in HEADLINES.items():
        tables = scenarios.get(scenario, {})
        estimates = dict(tables.get("methods", {}))
        estimates["gated_minus_direct"] = tables.get("differences", {}).get("gated − direct", {})
        for method, metrics in estimates.items():
            if estimated := metrics.get(metric):
                rows.append(
                    Headline(
                        name=f"fusion.{name}_{method}",
                        value=estimated["value"],
                        low=estimated["low"],
                        high=estimated["high"],
                        n=estimated["n"],
                        preset=preset,
                    )
                )
    return rows


def write(
    root: Path,
    results: Sequence[ExperimentResult],
    params: ExperimentsParams,
    inputs: Mapping[str, Any],
    preset: str,
    today: datetime.date,
) -> str:
    """Write report.json, the metrics and, last, the digest; return the digest.

    inputs: what the images were generated and scored with. The digest excludes the results, which differ between
    processors.
    """
    scenarios = compare_methods(results, params)
    numbers = {"scenarios": scenarios, "images": params.images, "prompts": len(results)}
    cases = [asdict(result.case) | {"relevance": result.relevance} for result in results]
    report = rounded(numbers | {"cases": cases, "inputs": dict(inputs)})
    write_atomic(report_path(root), to_json(report))
    write_atomic(metrics_path(root), to_json(rounded(numbers)))
    update(root, COMMAND, today, headlines(scenarios, preset))
    exact = {"inputs": inputs, "params": asdict(params), "cases": [asdict(result.case) for result in results]}
    hashes = {name: hash_value(value) for name, value in exact.items()}
    return write_digest(root, "experiments", hashes, SCHEMA)


def _renderings(root: Path, adapter: CandidateAdapter) -> list[Image.Image]:
    """Return an adapter's renderings, decoded."""
    renderings = []
    for sha256 in adapter.renderings:
        with open_image(pool.rendering_path(root, sha256)) as image:
            renderings.append(image.convert("RGB"))
    return renderings


def _concatenated(members: Sequence[ExperimentResult], method: str) -> Scores:
    """Return a method's scores of all cases, concatenated: metric -> (cases · seeds,)."""
    metrics = members[0].scores[method]
    return {
        metric: np.concatenate([result.scores[method][metric] for result in members]) for metric in metrics
    }


def _estimates(scores: Scores, clusters: Sequence[str], params: ExperimentsParams) -> Row:
    """Return the estimate of each metric over the images to which it applies; metrics without any are left out."""
    table = {}
    for metric, values in scores.items():
        applies = ~np.isnan(values)
        if applies.any():
            labels = [cluster for cluster, wanted in zip(clusters, applies, strict=True) if wanted]
            table[metric] = asdict(estimate(values[applies], labels, params.bootstrap, params.seed))
    return table
