"""Command: draw a folder of captioned images, each a PNG with its caption in a text file of the same stem.

    python -m playground.corpus [--engine world|second] [--images N] [--seed S] [--grammar world|tags|other]
                                [--themes THEME ...] [--without THEME ...] [--without-held-out] -o FOLDER

Each image shows one of the themes, which take turns; its other fields have values that the base is trained on, so a
theme that `--without` leaves out is in no image and in no caption. `--without-held-out` leaves out the themes that the
sealed test holds out.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from playground import engines, flux, grammars, world
from playground.sealed.recipes import themes as sealed_themes
from playground.themes import parts, single_themes


@dataclass(frozen=True)
class Corpus:
    """What a corpus of captioned images contains, and how it is drawn."""

    themes: tuple[str, ...]
    engine: str = engines.WORLD
    grammar: str = grammars.WORLD
    images: int = 1280
    seed: int = 0


def captioned_images(corpus: Corpus) -> Iterator[tuple[Image.Image, str]]:
    """Yield the images of a corpus with their captions; the same corpus gives the same images."""
    rng = np.random.default_rng(corpus.seed)
    for number in range(corpus.images):
        theme = corpus.themes[number % len(corpus.themes)]
        scene = replace(flux.sample_scene(rng), **parts(theme))
        yield (
            engines.DRAW[corpus.engine](scene, rng, world.SIZE),
            grammars.GRAMMARS[corpus.grammar](scene, rng),
        )


def write(corpus: Corpus, folder: Path) -> None:
    """Write a corpus to a new folder, which appears when it is complete.

    Raises FileExistsError if the folder exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists, expected a new folder: remove it, or choose another one")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for number, (image, caption) in enumerate(captioned_images(corpus)):
        image.save(partial / f"{number:06d}.png")
        (partial / f"{number:06d}.txt").write_text(caption + "\n")
    partial.rename(folder)


def selected_themes(themes: Sequence[str], without: Sequence[str]) -> tuple[str, ...]:
    """Return the themes of a corpus. Raises ValueError if one is unknown, or if none is left."""
    if unknown := {*themes, *without} - {*single_themes()}:
        raise ValueError(
            f"unknown themes: {', '.join(sorted(unknown))}; the themes are {', '.join(single_themes())}"
        )
    selected = tuple(theme for theme in themes if theme not in without)
    if not selected:
        raise ValueError("no theme is left: --without names every theme of the corpus")
    return selected


def main() -> None:
    """Write one corpus."""
    parser = argparse.ArgumentParser(description="Draw a folder of captioned images.")
    parser.add_argument("--engine", choices=engines.ENGINES, default=Corpus.engine)
    parser.add_argument("--grammar", choices=grammars.GRAMMARS, default=Corpus.grammar)
    parser.add_argument("--images", type=int, default=Corpus.images, help="number of images")
    parser.add_argument("--seed", type=int, default=Corpus.seed)
    parser.add_argument("--themes", nargs="+", default=single_themes(), metavar="THEME")
    parser.add_argument("--without", nargs="+", default=(), metavar="THEME", help="themes to leave out")
    parser.add_argument("--without-held-out", action="store_true", help="leave out those of the sealed test")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    try:
        held_out = sealed_themes().held_out if options.without_held_out else ()
        themes = selected_themes(options.themes, (*options.without, *held_out))
        write(Corpus(themes, options.engine, options.grammar, options.images, options.seed), options.output)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{options.images} captioned images of {len(themes)} themes in {options.output}")


if __name__ == "__main__":
    main()
