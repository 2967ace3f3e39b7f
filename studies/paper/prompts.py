"""The two sets of prompts of Table 1.

`synthetic`: each describes 1 to 3 images of unseen adapters at once; in the paper a vision-language model writes them,
here a template joins what it wrote about each image. `other`: prompts that no adapter suggested; in the paper a sample
of DiffusionDB. On the playground they are captions of random scenes with filler words; elsewhere a file has them, a
prompt per line.
"""

from pathlib import Path

import numpy as np

from autolora.errors import MissingArtifact
from playground import world as drawn_world
from studies.paper.cases import PROMPT, Case, random_sets
from studies.paper.world import World

SYNTHETIC, OTHER = "synthetic", "other"
SIZES = (1, 2, 3)
"""numbers of images that a synthetic prompt describes"""


def synthetic_prompts(world: World, count: int, run: int) -> list[Case]:
    """Return about `count` cases, a third per number of described images; nothing is loaded for them."""
    cases = [
        case for size in SIZES for case in random_sets(world, size, -(-count // len(SIZES)), run, images=1)
    ]
    return [
        Case(
            prompt=case.content, content=case.content, loaded=(),
            adapters=case.adapters, groups=case.groups, run=run, images=1,
        )
        for case in cases
    ]  # fmt: skip


def other_prompts(world: World, path: Path | None, count: int, run: int) -> list[Case]:
    """Return `count` cases, from a file or drawn on the playground; nothing is loaded for them.

    Raises MissingArtifact if the world is not the playground and there is no file, or it cannot be read.
    """
    texts = _scene_captions(count, run) if path is None and _is_playground(world) else _read(path)
    order = np.random.default_rng(run).permutation(len(texts))[:count].tolist()
    return [
        Case(
            prompt=texts[i], content=texts[i], loaded=(),
            groups=((PROMPT, texts[i]),), run=run, images=1,
        )
        for i in sorted(order)
    ]  # fmt: skip


def _is_playground(world: World) -> bool:
    """Return whether the judge of images has the fields of the drawn world."""
    classifier = world.judges.classifier
    return classifier is not None and set(classifier.labels) == set(drawn_world.FIELDS)


def _scene_captions(count: int, run: int) -> list[str]:
    rng = np.random.default_rng([run, 1])
    lengths = rng.choice(drawn_world.LENGTHS, size=2 * count).tolist()
    texts = [drawn_world.caption(drawn_world.sample_scene(rng), rng, name, filler=True) for name in lengths]
    return list(dict.fromkeys(texts))[:count]


def _read(path: Path | None) -> list[str]:
    if path is None:
        raise MissingArtifact(
            "Table 1 needs prompts that no adapter suggested: give a text file with a prompt per line, such as a "
            "sample of DiffusionDB (--other-prompts FILE)"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingArtifact(
            f"{path} cannot be read ({error}): name a text file with a prompt per line"
        ) from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
