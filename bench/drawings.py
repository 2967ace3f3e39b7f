"""What drawings find: `python -m bench.drawings [VARIANT …]` (after `make demo`; all variants take 40 minutes).

The adapters of half of the themes lose their renderings, and the stages from `pool` to `index` run in a copy of this
repository, so that the encoder has not seen these themes either; then the same for the other half. Queries are captions
of the renderings that were taken away, and prompts that name a theme. Then half of the adapters of each theme lose
theirs, so that the encoder knows all themes. Intervals come from resampling whole themes.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from autolora.catalog import store as catalog
from autolora.dataset.store import captions_by_image, rows
from autolora.drawings.recipe import PROMPTS
from autolora.errors import exit_on_error
from autolora.metrics.bootstrap import estimate
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.search.retriever import Retriever, open_retriever
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_folder
from bench.selection_cases import SCENES, SINGLES
from bench.timing import name_processor, today
from playground.demo import prefect_environment, prefect_server
from playground.repository import ROOT, Repository, change_params, copy_folder, copy_tree

COMMAND = "python -m bench.drawings"
RESULTS = ROOT / "metrics" / "drawings.json"
FOLDER = ROOT / "cache" / "drawings"
STAGES = ("pool", "drawings", "captions", "dataset", "encoder", "index")
VARIANTS: dict[str, tuple[str, ...]] = {
    "weights alone": (),
    "one image": PROMPTS[2:3],
    "two images": PROMPTS[1:3],
    "four images": PROMPTS,
    "four, without words": ("a picture", "a picture", "a red car", "a green tree on a grass field"),
}
"""name -> prompts of an adapter"""
RUN = """
from autolora.drawings import recipe
recipe.PROMPTS = {prompts!r}
from flows import drawings, stage
stage.run(drawings.drawings)
"""
"""the stage `drawings` with other prompts"""
SEED, RESAMPLES = 7, 2000
Judged = list[tuple[str, bool]]
"""theme of a query, and whether the answer is right"""


def main() -> None:
    """Measure, print a table, and write metrics/drawings.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "variants", nargs="*", metavar="VARIANT", help=f"{', '.join(VARIANTS)}; all by default"
    )
    chosen = parser.parse_args().variants or list(VARIANTS)
    if unknown := set(chosen) - VARIANTS.keys():
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(VARIANTS)}")
    judgments = read_judgments(ROOT / "playground" / "themes.json")
    found = json.loads(RESULTS.read_text())["variants"] if RESULTS.exists() else {}
    with exclusive_folder(FOLDER), prefect_server() as api:
        for name in chosen:
            pooled: dict[str, Judged] = {}
            project = Repository(FOLDER / "project", "", api)
            for half, themes in enumerate(halves(judgments)):
                taken = {sha256 for sha256, judgment in judgments.items() if judgment.theme in themes}
                build(project, judgments, taken, VARIANTS[name])
                columns = measure(open_retriever(project.root), judgments, themes)
                pooled = {key: pooled.get(key, []) + pairs for key, pairs in columns.items()}
                found.setdefault(name, {})[str(half)] = summarize(f"{name}, half {half}", columns)
            found[name]["both"] = summarize(f"{name}, both halves", pooled)
            taken = half_of_each_theme(judgments)
            build(project, judgments, taken, VARIANTS[name])
            columns = measure_known(open_retriever(project.root), judgments, taken)
            found[name]["known themes"] = summarize(f"{name}, known themes", columns)
            machine = {"command": COMMAND, "processor": name_processor(), "date": today().isoformat()}
            write_atomic(RESULTS, json.dumps(machine | {"variants": found}, indent=2) + "\n")
    shutil.rmtree(FOLDER)


def summarize(title: str, columns: Mapping[str, Judged]) -> dict[str, dict[str, Any]]:
    """Print and return the mean of each column."""
    found = {}
    for key, pairs in columns.items():
        right, themes = np.array([right for _, right in pairs], np.float64), [theme for theme, _ in pairs]
        value = estimate(right, themes, resamples=RESAMPLES, seed=0)
        print(f"{title}, {key}: {value.value:.2f} [{value.low:.2f}, {value.high:.2f}]", flush=True)
        found[key] = asdict(value)
    return found


def halves(judgments: Mapping[str, Judgment]) -> tuple[set[str], set[str]]:
    """Return the themes in two random halves."""
    names = sorted({judgment.theme for judgment in judgments.values()})
    random.Random(SEED).shuffle(names)
    return set(names[::2]), set(names[1::2])


def half_of_each_theme(judgments: Mapping[str, Judgment]) -> set[str]:
    """Return a random half of the adapters of each theme, rounded down."""
    themes: dict[str, list[str]] = {}
    for sha256, judgment in sorted(judgments.items()):
        themes.setdefault(judgment.theme, []).append(sha256)
    chosen = random.Random(SEED)
    return {sha256 for adapters in themes.values() for sha256 in chosen.sample(adapters, len(adapters) // 2)}


def build(
    project: Repository, judgments: Mapping[str, Judgment], taken: Collection[str], prompts: Sequence[str]
) -> None:
    """Run the stages in a copy in which these adapters have no renderings, and draw by these prompts."""
    root = project.root
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    copy_tree(root, outputs=True)
    shutil.rmtree(root / "data", ignore_errors=True)
    copy_folder(ROOT / "data", root / "data")
    (root / "data" / "training.jsonl").unlink()  # of an encoder that has seen them
    listings = catalog.read_all(root)  # those of files that the pool must refuse are left out
    catalog.write(
        root,
        [
            replace(row, renderings=()) if row.sha256 in taken else row
            for row in listings
            if row.sha256 is None or row.sha256 in judgments
        ],
    )
    if not prompts:
        change_params(root / "params.yaml", {"drawings": {"per_day": 0}})
    environment = project.environment(1) | prefect_environment() | {"PYTHONPATH": str(root)}
    for stage in STAGES:
        module = ["-m", f"flows.{stage}"]
        code = ["-c", RUN.format(prompts=tuple(prompts))] if stage == "drawings" else module
        subprocess.run(
            [sys.executable, *code], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL
        )


def measure(retriever: Retriever, judgments: Mapping[str, Judgment], themes: set[str]) -> dict[str, Judged]:
    """Return what a search finds of adapters whose renderings were taken away, and of the others."""
    places = [judgments[row["sha256"]].theme for row in retriever.index.rows]
    first = [
        (theme, places[retriever.ranking(text)[0]] == theme) for theme, text in queries(judgments, themes)
    ]
    named = prompts_of(judgments, places)
    used = {
        theme: {judgments[hit.sha256].theme for hit in retriever.select(prompt)}
        for theme, prompt in named.items()
    }
    return {
        "captions, first hit": first,
        "named, selected": [(theme, theme in used[theme]) for theme in used if theme in themes],
        "named, something wrong": [(theme, bool(used[theme] - {theme})) for theme in used if theme in themes],
        "other themes, exact": [(theme, used[theme] == {theme}) for theme in used if theme not in themes],
    }


def measure_known(
    retriever: Retriever, judgments: Mapping[str, Judgment], taken: Collection[str]
) -> dict[str, Judged]:
    """Return what a search finds of adapters without renderings, while others of their themes have some."""
    adapters = [row["sha256"] for row in retriever.index.rows]
    themes = [judgments[adapter].theme for adapter in adapters]
    own = [position for position, adapter in enumerate(adapters) if adapter in taken]
    sure = retriever.settings.retrieval.min_relevance
    names = ("first of these", "relevant", "others relevant", "something wrong")
    columns: dict[str, Judged] = {f"named, {name}": [] for name in names}
    first, relevant, others, wrong = columns.values()
    for theme, prompt in prompts_of(judgments, [themes[position] for position in own]).items():
        best = next(position for position in retriever.ranking(prompt) if position in own)
        first.append((theme, themes[best] == theme))
        for position, hit in zip(own, retriever.judge(prompt, own), strict=True):
            fits = hit.relevance is not None and hit.relevance >= sure
            (relevant if themes[position] == theme else others).append((theme, fits))
        used = {judgments[hit.sha256].theme for hit in retriever.select(prompt)}
        wrong.append((theme, bool(used - {theme})))
    return columns


def prompts_of(judgments: Mapping[str, Judgment], themes: Collection[str]) -> dict[str, str]:
    """Return theme -> prompt that names it, for those that prompts name."""
    kinds = {judgment.theme: judgment.kind for judgment in judgments.values()}
    named = {theme: name_theme(theme, kinds[theme]) for theme in sorted(set(themes))}
    return {theme: prompt for theme, prompt in named.items() if prompt}


def queries(judgments: Mapping[str, Judgment], themes: set[str]) -> Iterator[tuple[str, str]]:
    """Yield theme and caption of the renderings that this repository has of adapters of these themes."""
    captions = captions_by_image(ROOT)
    for row in rows(ROOT, "adapters", ("sha256", "renderings", "drawn")):
        theme = judgments[row["sha256"]].theme
        for image in row["renderings"] if theme in themes and not row["drawn"] else ():
            yield from ((theme, caption.text) for caption in captions.get(image, ()))


def name_theme(theme: str, kind: str | None) -> str | None:
    """Return a prompt that names a theme; None for palettes, which few prompts name."""
    if kind == "scene":
        return f"a house {SCENES.get(theme, theme)}"
    return SINGLES[kind].format(theme=theme) if kind in SINGLES else None


if __name__ == "__main__":
    with exit_on_error():
        main()
