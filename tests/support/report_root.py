"""A repository for the report: real rows and images, and texts from a hub that try to break out of the page."""

import datetime
from dataclasses import asdict
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from PIL import Image

from autolora.catalog import store as catalog
from autolora.encoder.tags import TagTable, save_tags
from autolora.evaluation import stage as evaluation
from autolora.evaluation.store import SEARCH
from autolora.experiments import stage as experiments
from autolora.experiments.cases import PromptCase
from autolora.experiments.methods import METHODS
from autolora.experiments.results import ExperimentResult
from autolora.metrics.benchmark import relevant_by_level
from autolora.metrics.comparison import ranks_by_level
from autolora.metrics.methods import weights_scores
from autolora.params import EvaluationParams, ExperimentsParams
from autolora.pool import store as pool
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.files import write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest
from tests.support.synthetic_benchmark import THEMES, synthetic_benchmark

HOSTILE = (
    "</style></script></noscript><!--<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    "{{ 7 * 7 }}\u202e\u2028&lt;"
)
DAY = datetime.date(2026, 1, 1)
ENCODER_WEIGHTS = "e" * 64
RETRIEVAL = EvaluationParams(split="test", ks=(1, 3), bootstrap=300, seed=0, themes=None)
FUSION = ExperimentsParams(pairs=2, images=3, bootstrap=100, seed=0)
METRICS = {
    "pair": ("adapter 1 similarity", "adapter 2 similarity", "prompt similarity"),
    "single": ("adapter similarity", "prompt similarity"),
    "unrelated": ("base similarity", "prompt similarity"),
}


def save_image(path: Path, color: tuple[int, int, int], side: int = 64) -> None:
    """Save a square image of one color with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(color)).integers(0, 60, (side, side, 3)) + np.array(color) // 2
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")


def write_pool(root: Path, adapters: int = 12) -> list[str]:
    """Write adapters numbered as in `synthetic_benchmark`, each with 2 images, and 2 refused files; return sha256."""
    listings, rows, renderings, captions, lock = [], [], [], [], []
    for number in range(adapters + 2):
        sha256 = f"{number:064x}"
        images = [f"{number:04x}{rendering}".ljust(64, "0") for rendering in range(2)]
        for image in images:
            color = (number * 17 % 255, 40 * (number % 4), 200)
            save_image(pool.rendering_path(root, image), color, 400 if number == 0 else 64)
            renderings.append(PooledRendering(key=image, sha256=image, width=64, height=64))
            text = f"a {THEMES[number % 4]} thing {HOSTILE}"
            captions += [
                Caption(image=image, prompt=length, vlm="v", length=length, text=f"{length}: {text}")
                for length in ("short", "medium", "long")
            ]
        listings.append(make_listing(number, sha256, images))
        rows.append(make_adapter(listings[-1].key, sha256, accepted=number < adapters))
        if number < 8:
            split = "test" if number % 2 == 0 else "train"
            lock.append({"sha256": sha256, "family": sha256, "split": split, "renderings": images})
    catalog.write(root, listings)
    write_rows(root / "data" / "pool" / "adapters.jsonl", [row.to_row() for row in rows])
    write_rows(root / "data" / "pool" / "renderings.jsonl", map(asdict, renderings))
    write_rows(root / "data" / "captions" / "captions.jsonl", map(asdict, captions))
    write_rows(root / "data" / "training.jsonl", [{"train_until": "2026-01-01"}, *lock])
    write_digest(root, "pool", {"a": hash_value(1)}, 1)
    return [f"{number:064x}" for number in range(adapters)]


def make_listing(number: int, sha256: str, images: list[str]) -> Listing:
    return Listing(
        hub="huggingface",
        id=f"author{number}/{THEMES[number % 4]}{HOSTILE if number == 3 else ''}",
        version="a" * 40,
        file="lora.safetensors",
        url="http://127.0.0.1:1/file",
        size=1000,
        sha256=sha256,
        license=None if number % 3 else HOSTILE,
        base_model="FLUX",
        nsfw=number == 5,
        trigger_words=(HOSTILE, "zqxv") if number % 2 else (),
        renderings=tuple(
            ListedRendering(url=f"http://127.0.0.1:1/{image}", sha256=image, prompt="a prompt " + HOSTILE)
            for image in images
        ),
        first_seen=DAY,
    )


def make_adapter(key: str, sha256: str, accepted: bool) -> Adapter:
    return Adapter(
        key=key,
        sha256=sha256,
        size=123456,
        recipe="r",
        verdict=ACCEPTED if accepted else "pickle",
        reason="" if accepted else "The file is a pickle under a safetensors name, which could run code.",
        layout="peft" if accepted else None,
        num_slots=64 if accepted else 0,
        rank_max=8 if accepted else 0,
        norm=1.5,
        dtype="bfloat16",
        keys_used=128,
        keys_seen=128,
        ignored_keys=(),
    )


def write_report_parts(root: Path, adapters: list[str]) -> None:
    """Write what the stages index, encoder, evaluation and experiments write, from random numbers."""
    content = dict.fromkeys(adapters, "0" * 64)
    digests = {
        stage: write_digest(root, stage, content, 1, content="c" * 64, weights=ENCODER_WEIGHTS)
        for stage in ("index", "encoder")
    }
    benchmark = synthetic_benchmark()
    relevant = relevant_by_level(benchmark)
    ranks = {SEARCH: ranks_by_level(benchmark, weights_scores(benchmark), relevant)}
    numbers, inputs = evaluation.measure(benchmark, ranks, RETRIEVAL), {"index": digests["index"]}
    evaluation.write(root, numbers, benchmark.themes, RETRIEVAL, inputs, "best", DAY)
    rng = np.random.default_rng(0)
    results = []
    for number in range(2):
        pair = adapters[number], adapters[number + 4]
        for scenario, loaded in (("pair", pair), ("single", pair[:1]), ("unrelated", pair)):
            prompt = f"a red cat {number}, zqxv, {HOSTILE}"
            case = PromptCase(
                scenario=scenario,
                prompt=prompt,
                content=prompt,
                adapters=loaded,
                themes=tuple(None for _ in loaded),
                cluster=f"pair {number}",
                unseen=1,
            )
            results.append(random_result(case, rng))
    drawn_with = {
        "encoder": digests["encoder"],
        "clip": "c" * 64,
        "generation": {"width": 64, "height": 64, "steps": 12, "guidance": 3.5},
    }
    experiments.write(root, results, FUSION, drawn_with, "best", DAY)


def random_result(case: PromptCase, rng: np.random.Generator) -> ExperimentResult:
    """Return a prompt case with random scores of 3 seeds."""
    scores = {
        method: {metric: rng.random(3).tolist() for metric in METRICS[case.scenario]} for method in METHODS
    }
    relevance = rng.random(len(case.adapters)).tolist()
    return ExperimentResult(case=case, relevance=relevance, scores=scores)


def write_vectors(root: Path, adapters: list[str]) -> None:
    """Write the columns of the index that the page reads: vectors of the weights, and the check of the captions.

    The captions of the adapters 3 and 5 disagree with the weights; the last adapter has none in the index. Another
    encoder computed the vector of the adapter 0, so that it has no tags; the adapter 1 is a mosaic.
    """
    rng = np.random.default_rng(0)
    sha256 = pa.array(adapters)
    vectors = pa.array(rng.normal(size=(len(adapters), 8)).tolist(), pa.list_(pa.float32(), 8))
    agreement: list[float | None] = [0.8] * len(adapters)
    agreement[3], agreement[5], agreement[-1] = 0.25, -0.125, None
    checks = {
        "agreement": pa.array(agreement, pa.float32()),
        "expected_agreement": pa.array([value and 0.5 for value in agreement], pa.float32()),
        "uses_captions": pa.array([value and value > 0.5 for value in agreement], pa.bool_()),
        **{
            name: pa.array([f"{name} {sha256[-4:]}" for sha256 in adapters]) for name in ("hub", "id", "file")
        },
    }
    encoders = ["0" * 64, *[ENCODER_WEIGHTS] * (len(adapters) - 1)]
    weights = {"encoder_weights": pa.array(encoders), "weights_vector": vectors}
    mosaic = np.array(vectors[1].as_py(), dtype=np.float32)
    tags = np.stack([mosaic / np.linalg.norm(mosaic), np.eye(8, dtype=np.float32)[0]])
    (root / "data" / "encoder").mkdir(parents=True, exist_ok=True)
    save_tags(root / "data" / "encoder", TagTable(("mosaic", "cat"), tags, np.array([10.0, -5.0])))
    index = pa.table({"sha256": sha256, **weights, **checks})
    lancedb.connect(root / "data" / "index").create_table("adapters", data=index)
    (root / "data" / "index" / "meta.json").write_text('{"agreement_margin": 0.0}')
