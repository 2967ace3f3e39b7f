"""The whole stage `experiments` on a tiny random pipeline."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autolora.experiments import stage as experiments
from autolora.experiments import store
from autolora.experiments.cases import PromptCase, candidates
from autolora.experiments.methods import DIFFERENCES, METHODS, RELEVANT
from autolora.generation.images import Generator
from autolora.metrics.judges import Judges
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import read_numbers
from autolora.report.measured import percent
from autolora.report.page import assemble
from autolora.storage.incremental import read_digest
from tests.experiments.conftest import PARAMS, TODAY, Run

Drawn = dict[str, tuple[tuple[float, ...], dict[str, list[Image.Image]]]]
"""scenario -> relevance of the adapters, and method -> images"""


@pytest.fixture(scope="module")
def report_path(root: Path, run: Run) -> Path:
    """Run the stage once and return the path of its report."""
    run()
    return store.report_path(root)


@pytest.fixture(scope="module")
def drawn(root: Path, settings: experiments.Settings, judges: Judges) -> Drawn:
    """Run the stage, and return what it draws of the last case of each scenario."""
    drawn: Drawn = {}
    generate = experiments.generate_by_method

    def keep(
        generator: Generator, case: PromptCase, relevance: Sequence[float], *rest: Any
    ) -> dict[str, list[Image.Image]]:
        images = generate(generator, case, relevance, *rest)
        drawn[case.scenario] = tuple(relevance), images
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "generate_by_method", keep)
        experiments.experiment(root, settings, judges, lambda done, total, scenario: None, TODAY)
    return drawn


def test_candidates_are_the_adapters_of_the_training_lock(root: Path) -> None:
    adapters = candidates(root, read_judgments(root / "themes.json"))
    assert len(adapters) == 8
    assert {adapter.kind for adapter in adapters} == {"object", "style"}
    assert any(adapter.unseen for adapter in adapters)
    assert all(len(adapter.captions) == 4 and len(adapter.renderings) == 2 for adapter in adapters)
    assert all(len(adapter.captions[0]) <= len(adapter.captions[-1]) for adapter in adapters)


def test_report_has_all_scenarios_methods_and_metrics(report_path: Path) -> None:
    report = json.loads(report_path.read_text())
    assert set(report["scenarios"]) == {"pair", "single", "unrelated"}
    assert set(report["scenarios"]["pair"]["methods"]) == set(METHODS)
    assert set(report["scenarios"]["pair"]["differences"]) == {f"{a} − {b}" for a, b in DIFFERENCES}
    assert report["scenarios"]["pair"]["methods"]["gated"]["adapter 1 similarity"]["n"] == 4
    metrics = {name: set(tables["methods"]["gated"]) for name, tables in report["scenarios"].items()}
    assert metrics["pair"] == {
        "prompt similarity", "adapter 1 similarity", "adapter 2 similarity", "VQAScore", "theme 1 shown",
        "theme 2 shown", "both shown",
    }  # fmt: skip
    assert metrics["single"] == {"prompt similarity", "adapter similarity", "VQAScore", "theme shown"}
    assert metrics["unrelated"] == {"prompt similarity", "base similarity", "VQAScore", "neither shown"}
    inputs = {"clip", "vlm", "classifier", "question", "encoder", "fusion", "generation"}
    assert inputs == set(report["inputs"])
    base = report["scenarios"]["unrelated"]["methods"]["base"]["base similarity"]
    assert base["value"] == pytest.approx(1, abs=1e-5)


def test_metrics_and_details_hold_the_numbers_of_the_report(root: Path, report_path: Path) -> None:
    report = json.loads(report_path.read_text())
    assert json.loads(store.metrics_path(root).read_text())["prompts"] == len(report["cases"])
    rows = read_numbers(root)
    assert len(rows) == len(experiments.HEADLINES) * (len(METHODS) + 1)
    shown = report["scenarios"]["pair"]["methods"]["direct"]["both shown"]
    row = rows["fusion.both_shown_direct"]
    assert [row[name] for name in ("value", "low", "high", "n")] == [
        shown[name] for name in ("value", "low", "high", "n")
    ]
    assert (row["preset"], row["command"]) == ("best", "python -m flows.experiments")


@pytest.mark.slow
def test_second_run_with_equal_inputs_writes_nothing(root: Path, report_path: Path, run: Run) -> None:
    digest = read_digest(root, "experiments")["sha256"]
    folder = report_path.parent
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run() == digest
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_methods_differ_by_the_adapters_they_add(drawn: Drawn) -> None:
    relevance, images = drawn["pair"]
    assert images["direct"] != images["base"]
    relevant = [score > RELEVANT for score in relevance]
    equal = "direct" if all(relevant) else "base" if not any(relevant) else "selected"
    assert images["selected"] == images[equal]
    _, images = drawn[
        "unrelated"
    ]  # whose relevance, by which untrained gates weight updates, is neither 0 nor 1
    assert images["gated"] not in (images["direct"], images["base"])


def test_page_states_the_share_of_images_with_both_themes(root: Path, report_path: Path) -> None:
    shown = json.loads(report_path.read_text())["scenarios"]["pair"]["methods"]["selected"]["both shown"]
    assert (
        f"<b>{percent(shown['value'])}</b> of images show both requested themes" in assemble(root).read_text()
    )


def test_no_pairs_is_not_an_error(tmp_path: Path) -> None:
    digest = experiments.write(tmp_path, [], PARAMS, {}, "best", TODAY)
    assert read_digest(tmp_path, "experiments")["sha256"] == digest
    report = store.read_report(tmp_path)
    assert report is not None and report["scenarios"] == {}
