"""Does fusion work? The same prompts and seeds under every method, measured by judges, with paired differences.

Methods: `base` loads nothing; `direct` sums all updates; `selected` sums those of adapters whose relevance
to the prompt (the retriever's score, calibrated) is above one half; `gated` lets the trained gates decide.
Outcomes: `pairs` (both adapters loaded and asked for), `single` (one loaded and asked for), `base kept` (both
loaded, the prompt names neither).
"""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder, embed_texts
from autolora.experiments.cases import Subject, Trial, draw_trials, subjects
from autolora.experiments.scoring import Pictures, measure
from autolora.fusion.gate import calibrate
from autolora.fusion.install import fused
from autolora.generation import Generator, images
from autolora.metrics.bootstrap import estimate
from autolora.metrics.judges import Judges
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.params import ExperimentsParams, GenerationParams, ModelsParams, PoolParams
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.storage.files import Row, hash_value, write_atomic
from autolora.storage.incremental import read_digest, write_digest

SCHEMA = 1
METHODS = ("base", "direct", "selected", "gated")
DIFFERENCES = (("gated", "direct"), ("gated", "selected"), ("direct", "base"))
RELEVANT = 0.5
TILE_PX = 256
"""largest side of one picture in a strip"""

Floats = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
"""gets trials done, trials in all, and the outcome of the last"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """A trial that was painted: its pictures and what they measure."""

    trial: Trial
    relevance: tuple[float, ...]
    """of each loaded adapter to the prompt, 0 to 1"""
    pictures: Pictures
    values: dict[str, dict[str, Floats]]
    """method -> metric -> (seeds,), nan where the metric does not apply"""


def experiment(
    root: Path,
    params: ExperimentsParams,
    generation: GenerationParams,
    base: ModelsParams,
    bounds: PoolParams,
    themes: str | None,
    judges: Judges,
    progress: Progress,
) -> str:
    """Draw trials from the training lock, paint and measure them, write this stage's half of the report.

    themes: the file of judgments that tells objects from styles. Returns the digest.
    Raises MissingArtifact when a stage before this one has not run.
    """
    known = {s.sha256: s for s in subjects(root, read_judgments(root / themes if themes else None))}
    trials = draw_trials(list(known.values()), params.pairs, params.seed)
    generator = Generator(root, base, bounds)
    score = scorer(root, models.load_text_encoder(base), bounds)
    shown = []
    for trial in trials:
        relevance = calibrate(score(trial), generation.relevance_floor, generation.relevance_ceiling)
        pictures = paint(generator, trial, relevance, params, generation)
        values = measure(judges, trial, pictures, lambda sha256: _renderings(root, known[sha256]))
        shown.append(Shown(trial=trial, relevance=relevance, pictures=pictures, values=values))
        progress(len(shown), len(trials), trial.outcome)
    facts = {stage: read_digest(root, stage)["sha256"] for stage in ("encoder", "fusion")}
    return write(root, shown, params, facts | judges.facts | {"generation": asdict(generation)})


def scorer(root: Path, text_encoder: TextEncoder, bounds: PoolParams) -> Callable[[Trial], list[float]]:
    """Return what scores a trial's adapters as the retriever does: cosine of prompt and adapter."""
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    read = encoder_store.reader(root, encoder.config, bounds)

    @cache
    def vector(sha256: str) -> Floats:
        updates = read(sha256)
        with torch.inference_mode():
            return encoder.embed(updates.values, updates.present)[0].double().numpy()

    def score(trial: Trial) -> list[float]:
        prompt = embed_texts(encoder, text_encoder, [trial.prompt])[0]
        return [float(prompt @ vector(sha256)) for sha256 in trial.adapters]

    return score


def paint(
    generator: Generator,
    trial: Trial,
    relevance: Sequence[float],
    params: ExperimentsParams,
    generation: GenerationParams,
) -> Pictures:
    """Paint a trial by every method, from the same seeds; equal sums are painted once."""
    loras = [
        load_lora(generator.root, sha256, generator.slots, generator.bounds) for sha256 in trial.adapters
    ]
    chosen = tuple(i for i, score in enumerate(relevance) if score > RELEVANT)
    sums = {"base": (), "direct": tuple(range(len(loras))), "selected": chosen}
    seeds = [params.seed + i for i in range(params.images)]

    def drawn() -> list[Image.Image]:
        return images(generator.pipeline, [trial.prompt] * len(seeds), seeds, generation)

    painted: dict[tuple[int, ...], list[Image.Image]] = {}
    for parts in dict.fromkeys(sums.values()):
        with fused(generator.pipeline.transformer, [loras[i] for i in parts]):
            painted[parts] = drawn()
    with fused(generator.pipeline.transformer, loras, gates=generator.gates, relevance=relevance):
        gated = drawn()
    return {name: painted[parts] for name, parts in sums.items()} | {"gated": gated}


def compare(shown: Sequence[Shown], params: ExperimentsParams) -> dict[str, Any]:
    """Return by outcome each method's metrics and paired differences, with intervals clustered by pair."""
    tables: dict[str, Any] = {}
    for outcome in dict.fromkeys(one.trial.outcome for one in shown):
        members = [one for one in shown if one.trial.outcome == outcome]
        methods = {method: _joined(members, method) for method in METHODS}
        minus = {f"{a} − {b}": {m: v - methods[b][m] for m, v in methods[a].items()} for a, b in DIFFERENCES}
        clusters = [one.trial.cluster for one in members for _ in range(params.images)]
        tables[outcome] = {
            "methods": {name: _estimates(values, clusters, params) for name, values in methods.items()},
            "differences": {name: _estimates(values, clusters, params) for name, values in minus.items()},
        }
    return tables


def write(root: Path, shown: Sequence[Shown], params: ExperimentsParams, facts: Mapping[str, Any]) -> str:
    """Write strips of pictures, report.json, the metrics and, last, the digest; return the digest.

    facts: what the pictures were made and measured with.
    """
    folder = root / "data" / "experiments"
    trials = []
    for number, one in enumerate(shown):
        strips = {method: f"grids/{number:02d}-{method}.png" for method in one.pictures}
        for method, name in strips.items():
            write_atomic(folder / name, strip(one.pictures[method]))
        trials.append(asdict(one.trial) | {"relevance": one.relevance, "strips": strips})
    numbers = {"outcomes": compare(shown, params), "images": params.images, "trials": len(shown)}
    settings = {"methods": METHODS, "bootstrap": params.bootstrap, "seed": params.seed, "of": dict(facts)}
    report = rounded(numbers | settings | {"shown": trials})
    write_atomic(folder / "report.json", to_json(report))
    write_atomic(root / "metrics" / "experiments.json", to_json(rounded(numbers)))
    return write_digest(
        root, "experiments", {key: hash_value(value) for key, value in report.items()}, SCHEMA
    )


def strip(pictures: Sequence[Image.Image]) -> bytes:
    """Return pictures side by side as one PNG, each at most 256 px a side."""
    tiles = [picture.convert("RGB") for picture in pictures]
    for tile in tiles:
        tile.thumbnail((TILE_PX, TILE_PX))
    gap = max(1, tiles[0].width // 32)
    width = sum(tile.width for tile in tiles) + gap * (len(tiles) - 1)
    sheet = Image.new("RGBA", (width, tiles[0].height), (0, 0, 0, 0))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number * (tile.width + gap), 0))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    return stream.getvalue()


def _renderings(root: Path, subject: Subject) -> list[Image.Image]:
    """Open an adapter's renderings; an open file is closed once it is decoded."""
    pictures = []
    for image in subject.renderings:
        with Image.open(pool.rendering_path(root, image)) as picture:
            pictures.append(picture.convert("RGB"))
    return pictures


def _joined(members: Sequence[Shown], method: str) -> dict[str, Floats]:
    """Return a method's values of all trials, end to end: metric -> (trials · seeds,)."""
    metrics = members[0].values[method]
    return {metric: np.concatenate([one.values[method][metric] for one in members]) for metric in metrics}


def _estimates(values: Mapping[str, Floats], clusters: Sequence[str], params: ExperimentsParams) -> Row:
    """Estimate each metric where it applies; leave out those that never do."""
    table = {}
    for metric, value in values.items():
        counts = ~np.isnan(value)
        if counts.any():
            of = [cluster for cluster, count in zip(clusters, counts, strict=True) if count]
            table[metric] = asdict(estimate(value[counts], of, params.bootstrap, params.seed))
    return table
