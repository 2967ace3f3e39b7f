"""The sealed test: all methods, once, on a pool that did not exist when they were frozen: `python -m bench.sealed`.

After `make playground-162`. The pipeline runs on the pool for two days in cache/sealed: its training lock holds LoRAs
of the first day, and those of the held-out themes join on the second one, without a training. All methods of
`bench.retrieval` and encoders that have learned from gradients answer the sealed prompts; texts about the renderings
that a prompt describes are left out, and prompts in other words are answered by encoders and indexes without captions
in these words. metrics/sealed.json records the commits of the method and of the pool.

The test is run once: a commit without changes, and no earlier result. `--pool FOLDER` tries it on another pool, built
by `python -m playground.sealed --loras N -o FOLDER`, and writes FOLDER/sealed.json.
"""

import argparse
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autolora import models
from autolora.dataset.store import training_lock
from autolora.errors import MismatchError, exit_on_error
from autolora.metrics.numbers import rounded, to_json
from autolora.params import Params, load
from autolora.storage.files import read_json, write_atomic
from autolora.storage.lock import exclusive_folder
from bench.concept_material import Material
from bench.concept_sources import Source, make_material, without_themes
from bench.encoders import CachingTextEncoder
from bench.processes import PROJECT
from bench.sealed_methods import MethodMaker
from bench.sealed_pool import SealedPool, hide_words, run_pipeline
from bench.sealed_rows import SealedRows
from bench.sealed_tables import to_markdown
from bench.selection_cases import concept_words
from bench.timing import today
from playground import corpus, engines
from playground.sealed.__main__ import HOME
from playground.sealed.prompts import OTHER_WORDS_KIND
from playground.sealed.recipes import themes

COMMAND = "python -m bench.sealed"
RESULTS = PROJECT / "metrics" / "sealed.json"
SEEDS = (0, 1, 2)
SOURCES = {
    "world": Source(),
    "second engine, VLM": Source(engine=engines.SECOND, captions="vlm"),
}
"""name of the corpora of gradient rows"""
METHOD = ("autolora", "bench", "flows", "playground", "params.yaml", "digests/code")
"""files that decide the result"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a pool, in whose cache no other run may write."""
    options = read_options(arguments)
    pool = SealedPool(options.pool.resolve())
    with exclusive_folder(cache_of(pool)):
        run(pool, options)


def run(pool: SealedPool, options: argparse.Namespace) -> None:
    """Measure, print the tables, and write them."""
    is_trial = pool.home != HOME.resolve()
    results = pool.home / "sealed.json" if is_trial else RESULTS
    commit = check(pool, None if is_trial else results, options.again)
    content = measure(pool, commit, options)
    if options.again:
        content["again"] = {
            "reason": options.again,
            "earlier commit": (read_json(results) or {}).get("commit"),
        }
    write_atomic(results, to_json(rounded(content)))
    print(to_markdown(content["tables"]))


def cache_of(pool: SealedPool) -> Path:
    """Return the folder with the repositories, corpora and answers of a pool."""
    return PROJECT / "cache" / "sealed" / pool.home.name


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument("--pool", type=Path, default=HOME, metavar="FOLDER", help="a trial on another pool")
    parser.add_argument("--again", metavar="REASON", help="repeat the test, and record why")
    trial = parser.add_argument_group("of a trial")
    trial.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    trial.add_argument("--images", type=int, default=corpus.Corpus.images, help="in each corpus")
    trial.add_argument("--steps", type=int, help="of transformers, in place of encoder.steps")
    options = parser.parse_args(arguments)
    is_changed = (tuple(options.seeds), options.images, options.steps) != (SEEDS, corpus.Corpus.images, None)
    if is_changed and options.pool.resolve() == HOME.resolve():
        parser.error("--seeds, --images and --steps are for a trial: name its pool by --pool")
    return options


def check(pool: SealedPool, results: Path | None, again: str | None) -> str:
    """Return the commit that is measured. results: of the sealed test; None for a trial.

    Raises MissingArtifact if the pool is not built, MismatchError if it was built from a commit that this repository
    does not have, if files differ from the commit, or if there is a result already.
    """
    if pool.loras and not has_commit(pool.commits[0].removesuffix("-dirty")):
        raise MismatchError(
            f"{pool.home} was built from the commit {pool.commits[0]}, which this repository does not have: fetch it"
        )
    if results is None:
        return git("describe", "--always", "--exclude=*", "--abbrev=40", "--dirty")
    if changed := git("status", "--porcelain"):
        raise MismatchError(
            f"the sealed test measures a commit, but files differ from it: commit or remove them first\n{changed}"
        )
    if results.exists() and not again:
        raise MismatchError(
            f"{results} exists: the sealed test is run once. To repeat it, state why: `{COMMAND} --again REASON`"
        )
    return git("rev-parse", "HEAD")


def git(*arguments: str) -> str:
    """Return the output of a git command in this repository."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.strip()


def has_commit(commit: str) -> bool:
    """Return whether this repository has a commit."""
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True).returncode == 0


def measure(pool: SealedPool, commit: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the content of metrics/sealed.json."""
    home = cache_of(pool)
    root, hidden = home / "repository", home / "hidden"
    run_pipeline(pool, root, commit)
    hide_words(root, hidden, pool.home, concept_words())
    params = load(root / "params.yaml")
    models.set_threads(params.models)
    rows = SealedRows(home / "answers", pool, make_makers(pool, root, hidden, params, options.steps))
    for seed in options.seeds:
        for name, material in make_materials(root, home, params, seed, options.images):
            rows.add_concepts(name, material.concepts, seed)
        rows.add_seeded(seed)
    return describe(pool, root, commit) | {"tables": rows.tables(params.evaluation)}


def make_makers(
    pool: SealedPool, root: Path, hidden: Path, params: Params, steps: int | None
) -> tuple[MethodMaker, MethodMaker]:
    """Return what makes methods of the pool, and of the pool without captions in the words of OTHER_WORDS_KIND."""
    text_encoder = CachingTextEncoder(models.load_text_encoder(params.models))
    of_themes = {lora.sha256: lora.theme for lora in pool.loras}
    in_other_words = [prompt for prompt in pool.prompts if prompt.kind == OTHER_WORDS_KIND]
    others = [prompt for prompt in pool.prompts if prompt.kind != OTHER_WORDS_KIND]
    return (
        MethodMaker(root, others, of_themes, params, text_encoder, steps),
        MethodMaker(hidden, in_other_words, of_themes, params, text_encoder, steps),
    )


def make_materials(
    root: Path, home: Path, params: Params, seed: int, images: int
) -> Iterator[tuple[str, Material]]:
    """Yield what gradient rows learn from: corpora without the held-out themes, and whole ones."""
    for name, source in SOURCES.items():
        sized = replace(source, images=images)
        whole = make_material(root, home / "gradients", params, sized, seed)
        lacking = f"{sized.name(seed)}-without-held-out"
        yield f"{name} without held-out themes", without_themes(whole, lacking, params, themes().held_out)
        yield f"{name}, all themes", whole


def describe(pool: SealedPool, root: Path, commit: str) -> dict[str, Any]:
    """Return what was measured: commits, sizes, and the files of the method that differ between the commits."""
    kinds = [prompt.kind for prompt in pool.prompts]
    lock = training_lock(root)
    return {
        "command": COMMAND,
        "date": today().isoformat(),
        "commit": commit,
        "pool": {
            "commits": pool.commits,
            "LoRAs": len(pool.loras),
            "themes": len({lora.theme for lora in pool.loras}),
            "held-out themes": sorted(pool.held_out),
            "training LoRAs": len(lock.in_split("train")),
            "prompts": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        },
        "changed since the pool was built": git(
            "diff", "--name-only", pool.commits[0].removesuffix("-dirty"), "--", *METHOD
        ).splitlines(),
    }


if __name__ == "__main__":
    with exit_on_error():
        main()
