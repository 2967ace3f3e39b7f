"""Trials by hand, and the whole stage on a tiny random pipeline."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolora import models
from autolora.errors import MissingArtifact
from autolora.evaluation import stage as evaluation
from autolora.experiments import stage as experiments
from autolora.experiments.cases import (
    Subject,
    distinctive_phrase,
    draw_pairs,
    draw_trials,
    joint_parts,
    subjects,
)
from autolora.metrics.judges import load_judges
from autolora.metrics.judgments import read_judgments
from autolora.params import EvaluationParams, ExperimentsParams, ModelsParams
from autolora.report.page import assemble
from autolora.storage.incremental import read_digest
from tests.support import small_root, tiny_judges
from tests.support.tiny_flux import TOKENS

PARAMS = ExperimentsParams(pairs=2, images=2, bootstrap=100, seed=0)


def subject(
    number: int, kind: str | None, theme: str | None, unseen: bool = False, **fields: object
) -> Subject:
    made = Subject(
        sha256=f"{number:064x}", family=f"family {number}", unseen=unseen, kind=kind, theme=theme,
        renderings=("image",), captions=(f"a {theme} thing", f"a picture of a {theme} thing"),
        trigger_words=(f"word{number}",),
    )  # fmt: skip
    return replace(made, **fields)  # type: ignore[arg-type]


def crowd() -> list[Subject]:
    objects = [subject(n, "object", theme, unseen=n < 2) for n, theme in enumerate(["cat", "rocket", "cat"])]
    styles = [
        subject(n, "style", theme, unseen=n == 4) for n, theme in enumerate(["neon", "mosaic", "neon"], 3)
    ]
    return objects + styles


def test_pairs_are_object_and_style_held_out_first_and_each_seldom() -> None:
    drawn = draw_pairs(crowd(), 6, np.random.default_rng(0))
    assert all((first.kind, second.kind) == ("object", "style") for first, second in drawn)
    unseen = [first.unseen + second.unseen for first, second in drawn]
    assert unseen == sorted(unseen, reverse=True)
    assert unseen[:2] == [2, 2]
    assert {first.theme for first, _ in drawn[:2]} == {"cat", "rocket"}
    assert len({(first.sha256, second.sha256) for first, second in drawn}) == 6


def test_without_kinds_pairs_are_of_different_families_and_never_twice() -> None:
    alike = [subject(n, None, None, family="one" if n < 2 else f"family {n}") for n in range(4)]
    drawn = draw_pairs(alike, 20, np.random.default_rng(0))
    assert all(first.family != second.family for first, second in drawn)
    pairs = Counter(frozenset((first.sha256, second.sha256)) for first, second in drawn)
    assert len(pairs) == 5
    assert set(pairs.values()) == {1}


def test_the_seed_decides_and_the_order_of_subjects_does_not() -> None:
    trials = draw_trials(crowd(), 4, 0)
    assert trials == draw_trials(crowd()[::-1], 4, 0)
    assert trials != draw_trials(crowd(), 4, 1)


def test_each_pair_has_its_trials_and_an_adapter_is_alone_once() -> None:
    trials = draw_trials(crowd(), 4, 0)
    outcomes = Counter(trial.outcome for trial in trials)
    assert outcomes["pairs"] == outcomes["base kept"] == 4
    alone = [trial.adapters for trial in trials if trial.outcome == "single"]
    assert len(alone) == len(set(alone))
    themes = {one.sha256: one.theme for one in crowd()}
    for trial in trials:
        named = [theme in trial.prompt for theme in map(themes.get, trial.adapters)]
        assert all(named) if trial.outcome != "base kept" else not any(named)


def test_adapters_without_pictures_or_captions_are_passed_over() -> None:
    lonely = [subject(0, "object", "cat", captions=()), subject(1, "style", "neon", renderings=())]
    assert draw_trials(lonely, 2, 0) == []
    assert draw_trials([], 2, 0) == []


def test_a_prompt_names_both_adapters() -> None:
    first, second = crowd()[1], crowd()[4]
    parts = joint_parts(first, second, crowd(), np.random.default_rng(0))
    assert parts == ("a rocket thing", "word1", "mosaic", "word4")


@pytest.mark.parametrize(
    ("captions", "phrase"),
    [
        (("a fish in watercolour style", "a star on sand in watercolour style"), "in watercolour style"),
        (("a fish as pixel art", "this shows pixel art of a star", "a car, pixel art"), "pixel art"),
        (("a neon fish", "glowing lines of neon"), "neon"),
        (("", "!!"), ""),
    ],
)
def test_the_distinctive_phrase_is_what_other_captions_lack(captions: tuple[str, ...], phrase: str) -> None:
    other = subject(
        9, None, None, captions=("a fish on sand", "this shows a star in the night", "glowing lines")
    )
    assert distinctive_phrase(subject(0, None, None, captions=captions), [other]) == phrase


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    themes = small_root.build(root, small_root.base(root))
    judged = {sha256: {"theme": theme, "kind": small_root.KINDS[theme]} for sha256, theme in themes.items()}
    (root / "themes.json").write_text(json.dumps(judged))
    return root


@pytest.fixture(scope="module")
def base(root: Path) -> ModelsParams:
    return small_root.base(root)


@pytest.fixture(scope="module")
def run(root: Path, base: ModelsParams) -> Callable[[], str]:
    """Return what runs the whole stage."""
    values = small_root.params()
    judges = load_judges(tiny_judges.params(root / "judges"), base, values.vllm)
    generation = replace(values.generation, width=32, height=32, steps=2, max_sequence_length=TOKENS)

    def run() -> str:
        return experiments.experiment(
            root,
            PARAMS,
            generation,
            base,
            values.pool,
            "themes.json",
            judges,
            lambda done, total, outcome: None,
        )

    return run


@pytest.fixture(scope="module")
def made(root: Path, run: Callable[[], str]) -> Path:
    """Run the stage once and return its report."""
    run()
    return root / "data" / "experiments" / "report.json"


def test_subjects_come_from_the_lock(root: Path) -> None:
    found = subjects(root, read_judgments(root / "themes.json"))
    assert len(found) == 8
    assert {one.kind for one in found} == {"object", "style"}
    assert any(one.unseen for one in found)
    assert all(len(one.captions) == 4 and len(one.renderings) == 2 for one in found)
    assert all(len(one.captions[0]) <= len(one.captions[-1]) for one in found)


def test_the_stage_writes_its_half_and_then_nothing(root: Path, made: Path, run: Callable[[], str]) -> None:
    digest = read_digest(root, "experiments")["sha256"]
    folder, report = made.parent, json.loads(made.read_text())
    assert set(report["outcomes"]) == {"pairs", "single", "base kept"}
    assert set(report["outcomes"]["pairs"]["methods"]) == set(experiments.METHODS)
    assert report["outcomes"]["pairs"]["methods"]["gated"]["Sim 1"]["n"] == 4
    measured = {name: set(tables["methods"]["gated"]) for name, tables in report["outcomes"].items()}
    assert measured["pairs"] == {"text", "Sim 1", "Sim 2", "VQA", "shows 1", "shows 2", "shows both"}
    assert measured["single"] == {"text", "Sim", "VQA", "shows"}
    assert measured["base kept"] == {"text", "like base", "VQA", "shows neither"}
    assert {"clip", "vlm", "classifier", "question", "encoder", "fusion", "generation"} == set(report["of"])
    assert report["outcomes"]["base kept"]["methods"]["base"]["like base"]["value"] == pytest.approx(
        1, abs=1e-5
    )
    assert json.loads((root / "metrics" / "experiments.json").read_text())["trials"] == len(report["shown"])
    for trial in report["shown"]:
        for name in trial["strips"].values():
            with Image.open(folder / name) as strip:
                assert strip.size == (2 * 32 + 1, 32)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run() == digest
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_methods_differ_where_they_should(root: Path, made: Path) -> None:
    report = json.loads(made.read_text())
    trial = next(one for one in report["shown"] if one["outcome"] == "pairs")
    strips = {name: (root / "data/experiments" / path).read_bytes() for name, path in trial["strips"].items()}
    assert strips["direct"] != strips["base"]
    relevant = [score > experiments.RELEVANT for score in trial["relevance"]]
    same = "direct" if all(relevant) else "base" if not any(relevant) else "selected"
    assert strips["selected"] == strips[same]


def test_evaluation_of_a_real_index(root: Path, base: ModelsParams) -> None:
    judged = EvaluationParams(ks=(1, 3), bootstrap=100, seed=0, themes="themes.json")
    text_encoder = models.load_text_encoder(base)
    digest = evaluation.evaluate(root, judged, text_encoder)
    assert digest == evaluation.evaluate(root, judged, text_encoder)
    report = json.loads((root / "data" / "evaluation" / "report.json").read_text())
    assert report["pool"] == 12
    assert report["adapters"] >= 4
    assert report["queries"] == 4 * report["adapters"]
    assert report["levels"]["theme"]["methods"]["random"]["R@1"]["value"] == pytest.approx(3 / 12)
    with pytest.raises(MissingArtifact, match=r"evaluation\.themes"):
        evaluation.evaluate(root, replace(judged, themes="none.json"), text_encoder)


def test_a_rendering_that_a_training_adapter_shows_makes_no_query(root: Path) -> None:
    learned = next(row for row in evaluation.dataset.training(root).rows if row.split == "train")
    asked = {prompt.image for prompt in evaluation.dataset.prompts(root)}
    shown = {"a": tuple(asked), "b": learned.renderings}
    queries = evaluation.ask(root, shown)
    assert {query.image for query in queries} == asked - set(learned.renderings)
    assert all(query.right == ("a",) for query in queries)


def test_the_page_of_a_real_root(root: Path, made: Path, base: ModelsParams) -> None:
    evaluation.evaluate(
        root,
        EvaluationParams(ks=(1,), bootstrap=50, seed=0, themes=None),
        models.load_text_encoder(base),
    )
    text = assemble(root).read_text()
    assert 'id="pictures"' in text
    assert text.count('<article class="card">') == 12


def test_no_pairs_is_no_failure(root: Path, tmp_path: Path) -> None:
    digest = experiments.write(tmp_path, [], PARAMS, {})
    assert read_digest(tmp_path, "experiments")["sha256"] == digest
    assert json.loads((tmp_path / "data/experiments/report.json").read_text())["outcomes"] == {}


def test_a_strip_keeps_order_and_bounds() -> None:
    made = experiments.strip([Image.new("RGB", (1024, 512), colour) for colour in ("red", "blue")])
    with Image.open(io.BytesIO(made)) as strip:
        assert strip.size == (2 * 256 + 8, 128)
        assert [strip.getpixel((x, 10)) for x in (10, 260, 500)] == [
            (255, 0, 0, 255),
            (0, 0, 0, 0),
            (0, 0, 255, 255),
        ]
