"""What gradients of the base are worth as training rows, built and attacked: `python -m bench.concepts`.

After `make demo`. All encoders are the preset `best` (ridge regression, whitened text), as the pipeline trains it;
they differ in what they learn from besides LoRAs. Parts, each of which replaces its own in metrics/concepts_bench.json:

reproduction  the training lock's split: no corpus, the training renderings, the galleries of other LoRAs, a corpus
              without the absent themes, a whole one, and, as a control, one whose images have the captions of others
themes        the same corpora on folds over all LoRAs that leave out each theme once
corpora       corpora of the second drawing engine and with captions by the VLM, on both
conditions    LoRAs trained under other conditions and on other bases (playground.conditions); a condition without its
              material says how to build it
alignment     cosines of LoRAs with their own concept and with others (bench.alignment), by engine
cost          seconds per image on the playground's base, and operations per image for FLUX.1-dev, counted

Beside rows are the same regressions on image features that know nothing and on those of the judge CLIP. Corpora and
gradients are kept in cache/concepts_bench. Intervals resample LoRAs; nothing in data/ is written.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autolora import models
from autolora.errors import exit_on_error
from autolora.metrics.numbers import rounded, to_json
from autolora.params import Params, load
from autolora.storage.files import read_json, write_atomic
from autolora.storage.lock import exclusive_folder
from bench import alignment
from bench.captioned_images import CaptionedImages, by_prompt
from bench.concept_attack import CORPORA, corpus_rows, measure_conditions
from bench.concept_costs import GPU_FLOPS, count_image, time_images
from bench.concept_material import Material, cache_folder, run_stage
from bench.concept_pools import (
    Member,
    RetrievalTask,
    locked_task,
    read_pool,
    theme_folds,
    without_own_galleries,
)
from bench.concept_rows import RIDGE, Row, Rows, always
from bench.concept_sources import (
    Source,
    absent_themes,
    galleries_material,
    make_material,
    own_left_out,
    without_themes,
)
from bench.concept_tables import to_markdown
from bench.encoders import CachingTextEncoder, encoder_params
from playground import corpus, engines, themes

COMMAND = "python -m bench.concepts"
RESULTS = Path("metrics", "concepts_bench.json")
SEEDS = (0, 1, 2)
FOLDS = 6
ALIGNMENT_IMAGES, ALIGNMENT_DRAWS = 16, 2
FLUX_SIDES = (512, 1024)
"""px of an image for FLUX.1-dev"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts one after the other; print each and write it."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of corpora and noise")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    options = parser.parse_args(arguments)
    root: Path = options.root
    params = load(root / "params.yaml")
    models.set_threads(params.models)
    with exclusive_folder(cache_folder(root)):
        for part in options.parts:
            content = rounded(PARTS[part](root, params, options.seeds))
            results = (read_json(root / RESULTS) or {}) | {part: content}
            write_atomic(root / RESULTS, to_json(results))
            print(f"# {part}\n\n{describe(part, content)}", flush=True)


def open_rows(root: Path, params: Params) -> Rows:
    """Return what measures rows."""
    text_encoder = CachingTextEncoder(models.load_text_encoder(params.models))
    return Rows(root, params, encoder_params(root, "best", {}, 0, None), text_encoder)


def read_members(root: Path, params: Params) -> tuple[Member, ...]:
    """Return the LoRAs of the repository with their true themes."""
    return read_pool(root, root / str(params.evaluation.themes))


def reproduce(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the tables of the training lock's split."""
    rows, cache = open_rows(root, params), cache_folder(root)
    locked = locked_task(root, read_members(root, params))

    def training_renderings(seed: int) -> Material:
        section = replace(params.concepts, caption="named", seed=seed)
        return run_stage(root, cache, replace(params, concepts=section), f"renderings-{seed}", None, True)

    def other_galleries(task: RetrievalTask, seed: int) -> Material:
        everything = galleries_material(root, cache, params, task, seed)
        return own_left_out(everything, f"galleries-own-left-out-{seed}", params, task)

    galleries = {
        "training renderings": Row(always(training_renderings), [locked], seeds, has_baselines=True),
        "other galleries": Row(other_galleries, without_own_galleries(locked), seeds, has_baselines=True),
    }
    return {"training lock": rows.tables(whole_rows(rows, cache, [locked], seeds) | galleries)}


def leave_themes_out(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the tables of folds that leave out each theme once."""
    tasks = theme_folds(read_members(root, params), FOLDS)
    rows = open_rows(root, params)
    return {"themes left out": rows.tables(whole_rows(rows, cache_folder(root), tasks, seeds))}


def whole_rows(
    rows: Rows, cache: Path, tasks: Sequence[RetrievalTask], seeds: Sequence[int]
) -> dict[str, Row]:
    """Return the rows of the world's corpus, whole and in parts."""
    make = partial(make_material, rows.root, cache, rows.params)

    def lacking(task: RetrievalTask, seed: int) -> Material:
        whole = make(Source(), seed)
        return without_themes(whole, f"lacking-{seed}", rows.params, absent_themes(task))

    def row(source: Source, has_baselines: bool = False) -> Row:
        return Row(always(partial(make, source)), tasks, seeds, has_baselines)

    return {
        RIDGE: Row(lambda task, seed: None, tasks, seeds[:1]),
        "corpus without the absent themes": Row(lacking, tasks, seeds, has_baselines=True),
        "whole corpus": row(Source(), has_baselines=True),
        "whole corpus, empty prompt": row(Source(prompt="neutral")),
        "captions of other images": row(Source(captions="other images")),
    }


def attack_corpora(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the tables of other corpora, on the training lock's split and on folds that leave out each theme once."""
    rows, members, cache = open_rows(root, params), read_members(root, params), cache_folder(root)
    tasks = {"training lock": [locked_task(root, members)], "themes left out": theme_folds(members, FOLDS)}
    return {
        name: rows.tables(corpus_rows(rows, cache, parts, seeds, CORPORA)) for name, parts in tasks.items()
    }


def attack_loras(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the tables of LoRAs of other conditions."""
    locked = locked_task(root, read_members(root, params))
    return {"conditions": measure_conditions(open_rows(root, params), cache_folder(root), locked, seeds)}


def align(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return engine -> prompt -> tables of alignment, of all LoRAs of the repository."""
    loras = [alignment.LabeledLora(member.theme, member.sketch) for member in read_members(root, params)]
    pipeline, tables = models.load_pipeline(params.models), {}
    for engine in engines.ENGINES:
        images = draw_concepts(engine, seeds[0])
        tables[engine] = {
            prompt: alignment.measure(loras, concepts, pipeline, params, ALIGNMENT_DRAWS)
            for prompt, concepts in by_prompt(images).items()
        }
    return tables


def draw_concepts(engine: str, seed: int) -> dict[str, CaptionedImages]:
    """Return theme -> captioned drawings of it."""
    concepts = {}
    for theme in themes.single_themes():
        drawn = corpus.Corpus((theme,), engine=engine, images=ALIGNMENT_IMAGES, seed=seed)
        images, captions = zip(*corpus.captioned_images(drawn), strict=True)
        concepts[theme] = CaptionedImages(images, captions)
    return concepts


def cost(root: Path, params: Params, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the seconds per image and draw on this base, and the operations and seconds for FLUX.1-dev."""
    size = params.pool.sketch_size
    flux = {f"{side} px": count_image(side, size) for side in FLUX_SIDES}
    return {
        "playground, CPU seconds": time_images(models.load_pipeline(params.models), params),
        "FLUX.1-dev, operations": flux,
        "FLUX.1-dev, seconds": {side: sum(counts.values()) / GPU_FLOPS for side, counts in flux.items()},
        "FLUX.1-dev, operations per second": GPU_FLOPS,
    }


PARTS: Mapping[str, Callable[[Path, Params, Sequence[int]], dict[str, Any]]] = {
    "reproduction": reproduce,
    "themes": leave_themes_out,
    "corpora": attack_corpora,
    "conditions": attack_loras,
    "alignment": align,
    "cost": cost,
}


def describe(part: str, content: Mapping[str, Any]) -> str:
    """Return a part of the results as Markdown."""
    if part == "cost":
        return to_json(content)
    if part == "alignment":
        sections = {engine: alignment.to_markdown(tables) for engine, tables in content.items()}
    else:
        sections = {}
        for name, tables in content.items():
            sections |= describe_conditions(tables) if name == "conditions" else describe_tables(name, tables)
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def describe_tables(name: str, tables: Mapping[str, Any]) -> dict[str, str]:
    """Return a title and a table in Markdown per index."""
    return {f"{name}, {index}": to_markdown(table, RIDGE) for index, table in tables.items()}


def describe_conditions(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the sections of LoRAs of other conditions, or how they are built."""
    sections = {}
    for name, condition in content.items():
        if "missing" in condition:
            sections[name] = "missing; to build it: " + "; ".join(
                f"`{line}`" for line in condition["missing"]
            )
        else:
            title = f"{name}, {condition['LoRAs']} LoRAs, base {condition['base']}"
            sections |= describe_tables(title, condition["tables"])
    return sections


if __name__ == "__main__":
    with exit_on_error():
        main()
