"""What a rehearsal checks: files are accepted and recognized, git and base model stay clean, and the plan is right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import autolora
from autolora import models
from autolora.index.copies import Index
from autolora.index.served import open_index
from autolora.params import Method, load
from autolora.pool import store as pool
from autolora.pool.drawings import read_drawings
from playground.rehearsal.loras import FILES, THEMES, WITHOUT_IMAGES
from playground.repository import Repository

GB = 1e9
MAX_SECONDS_FACTOR, MAX_BYTES_FACTOR = 2.0, 1.5
"""Largest factors between what `autolora plan` states and what a stage took."""
MIN_SECONDS, MIN_BYTES = 30.0, 1.5e9
"""of the larger of both; below these, the start of a process is most of it"""
METHODS: tuple[Method, ...] = ("direct", "gated")
STEPS = 2
"""of denoising"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a rehearsal found to be right or wrong."""

    name: str
    is_right: bool
    found: str


def check_files(root: Path, project: str) -> Iterator[Check]:
    """Check verdicts, themes of the nearest neighbors, and first hits of a project that has indexed all files."""
    verdicts = [row.verdict for row in pool.adapters(root).values()]
    accepted = verdicts.count("accepted")
    yield Check(f"{project}: files are accepted", accepted == FILES, f"{accepted} of {FILES}")
    index = open_index(root)
    right = sum(_neighbor_has_theme(index, row) for row in range(len(index.rows)))
    yield Check(
        f"{project}: nearest by weights has the theme", right >= FILES - 1, f"{right} of {len(index.rows)}"
    )
    drawn = read_drawings(root)
    if project == "pool":
        expected = len(WITHOUT_IMAGES)
        yield Check(f"{project}: files draw", len(drawn) == expected, f"{len(drawn)} of {expected}")
    collection, found = autolora.open(root), 0
    for theme in THEMES:  # what random weights draw has any color
        hits = [hit for hit in collection.search(f"a {theme}", k=FILES) if hit.sha256 not in drawn]
        found += theme_of(hits[0].id) == theme
    yield Check(f"{project}: first hit has the theme", found == len(THEMES), f"{found} of {len(THEMES)}")


def theme_of(id: str) -> str:
    """Return the theme in the name of a file or a repository."""
    return next(theme for theme in THEMES if theme.replace(" ", "-") in id)


def _neighbor_has_theme(index: Index, row: int) -> bool:
    others = np.arange(len(index.rows)) != row
    (nearest,), _ = index.nearest_by_weights(index.weights_vectors[row], 1, others)
    return theme_of(index.rows[row]["id"]) == theme_of(index.rows[int(nearest)]["id"])


def check_git(repository: Repository, night: str) -> Iterator[Check]:
    """Check that a refresh has committed what belongs to git, and nothing that DVC holds."""
    changed = repository.run("git", "status", "--porcelain").stdout
    yield Check(f"{night}: git is clean", not changed, changed.strip() or "no change")
    ignored = repository.run("git", "ls-files", "-ci", "--exclude-standard").stdout
    yield Check(f"{night}: git holds no output of DVC", not ignored, ignored.strip() or "none")


def check_fusion(root: Path, px: int) -> Iterator[Check]:
    """Check that adapters change an image by every method, and that the base model is as before afterwards."""
    params = load(root / "params.yaml")
    models.set_threads(params.models)
    pipe: Any = models.load_pipeline(params.models).to(params.models.device)
    tokens = params.generation.max_sequence_length
    collection = autolora.open(root)
    prompt = " and ".join(f"a {theme}" for theme in list(THEMES)[:3])
    hits = collection.search(prompt, k=3)

    def draw() -> Any:
        generator = torch.Generator().manual_seed(0)
        size = {"width": px, "height": px, "num_inference_steps": STEPS, "max_sequence_length": tokens}
        return np.asarray(pipe(prompt, generator=generator, **size).images[0]).astype(np.int64)

    before = draw()
    for method in METHODS:
        with collection.fuse(pipe, hits, method=method):
            change = float(np.abs(draw() - before).mean())
        yield Check(
            f"{len(hits)} adapters change an image, {method}", change > 0, f"{change:.2f} of 255 on average"
        )
    after = draw()
    same = bool(np.array_equal(before, after))
    yield Check("the base model is as before", same, "equal images" if same else "different images")


def compare(
    planned: Sequence[Mapping[str, Any]], seconds: Mapping[str, float], memory: Mapping[str, int]
) -> Iterator[Check]:
    """Compare the stages of `autolora plan --json` with what they took in the first refresh, in seconds and bytes."""
    for stage in planned:
        name = stage["stage"]
        if name in seconds:
            found = f"{seconds[name]:.1f} s, planned {stage['seconds']:.1f}"
            is_small = max(stage["seconds"], seconds[name]) < MIN_SECONDS
            is_right = is_small or _is_within(stage["seconds"], seconds[name], MAX_SECONDS_FACTOR)
            yield Check(f"{name}: seconds as planned", is_right, found)
        if name in memory:
            found = f"{memory[name] / GB:.1f} GB, planned {stage['memory'] / GB:.1f}"
            is_small = max(stage["memory"], memory[name]) < MIN_BYTES
            is_right = is_small or _is_within(stage["memory"], memory[name], MAX_BYTES_FACTOR)
            yield Check(f"{name}: memory as planned", is_right, found)


def _is_within(planned: float, measured: float, factor: float) -> bool:
    return planned / factor <= measured <= planned * factor
