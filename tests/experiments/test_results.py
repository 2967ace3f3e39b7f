"""A run of the stage that fails: the next one continues at the failed case, with the result of an undisturbed run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autolora.errors import CaptionError
from autolora.experiments import stage as experiments
from autolora.generation import images as drawing
from autolora.metrics.judges import Judges
from autolora.vlm import YesNoScorer
from tests.experiments.conftest import Run

FAILS_AT = 3
"""number of the case, counted from 0"""


class FailingScorer:
    """A judge whose server fails from the case FAILS_AT on."""

    def __init__(self, judge: YesNoScorer) -> None:
        self.judge, self.questions = judge, set[str]()

    def yes_probabilities(self, images: Sequence[Image.Image], questions: Sequence[str]) -> list[float]:
        self.questions.update(questions)
        if len(self.questions) > FAILS_AT:
            raise CaptionError("the server is down")
        return self.judge.yes_probabilities(images, questions)


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the pipeline gets, in order."""
    prompts: list[str] = []
    generate = drawing.generate_images

    def count(pipeline: Any, texts: Sequence[str], *rest: Any) -> list[Image.Image]:
        prompts.extend(dict.fromkeys(texts))
        return generate(pipeline, texts, *rest)

    monkeypatch.setattr(drawing, "generate_images", count)
    return prompts


@pytest.fixture(autouse=True)
def _without_kept_results(root: Path) -> None:
    for path in kept(root):
        path.unlink()


def kept(root: Path) -> list[Path]:
    return sorted((root / "cache/experiments").glob("*"))


def output(root: Path) -> dict[str, bytes]:
    """Return the content of each file that the stage writes."""
    folders = ("data/experiments", "digests", "metrics")
    files = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def fail(run: Run, judges: Judges) -> None:
    """Run the stage with a judge that fails."""
    with pytest.raises(CaptionError, match="the server is down"):
        run(judges=replace(judges, vlm=FailingScorer(judges.vlm)))


def test_next_run_continues_at_the_failed_case_with_an_equal_result(
    root: Path, run: Run, judges: Judges, prompts: list[str]
) -> None:
    digest, expected, all_prompts = run(), output(root), prompts.copy()
    prompts.clear()
    fail(run, judges)
    assert list(dict.fromkeys(prompts)) == list(dict.fromkeys(all_prompts))[: FAILS_AT + 1]
    assert len(kept(root)) == FAILS_AT
    for name in output(root):
        if not name.startswith("digests/") or name == "digests/experiments.json":
            (root / name).unlink()
    prompts.clear()
    assert run() == digest
    assert prompts == all_prompts[-len(prompts) :]
    assert list(dict.fromkeys(prompts)) == list(dict.fromkeys(all_prompts))[FAILS_AT:]
    assert output(root) == expected
    assert not kept(root)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"images": 1},
        {"steps": 3},
        {"question": "Is it {text}?"},
        {"gates": b"other"},
        {"code": b"{}"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_results_of_other_inputs_are_neither_used_nor_left(
    root: Path, run: Run, settings: experiments.Settings, judges: Judges, prompts: list[str],
    change: dict[str, Any],
) -> None:  # fmt: skip
    fail(run, judges)
    before, (name, value) = set(kept(root)), next(iter(change.items()))
    other = judges
    if name == "question":
        other = replace(judges, question=value, facts=judges.facts | {"question": value})
    elif name == "steps":
        settings = replace(settings, generation=replace(settings.generation, **change))
    elif name in ("gates", "code"):
        path = {"gates": "data/fusion/added", "code": "digests/code/experiments.json"}[name]
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(value)
    else:
        settings = replace(settings, params=replace(settings.params, **change))
    prompts.clear()
    with pytest.raises(CaptionError):
        run(settings, replace(other, vlm=FailingScorer(judges.vlm)))
    assert len(set(prompts)) == FAILS_AT + 1
    assert len(kept(root)) == FAILS_AT and not before & set(kept(root))


def test_damaged_and_half_written_results_are_not_read(
    root: Path, run: Run, judges: Judges, prompts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run()
    expected = output(root)
    fail(run, judges)
    cut, empty, whole = kept(root)
    cut.write_bytes(cut.read_bytes()[:-9])
    empty.write_text(json.dumps({"scores": {}}))
    (whole.parent / f".{whole.name}.killed").write_bytes(whole.read_bytes()[:100])
    prompts.clear()
    run()
    assert caplog.text.count("is damaged") == 2
    assert len(set(prompts)) == len(json.loads(expected["data/experiments/report.json"])["cases"]) - 1
    assert output(root) == expected
    assert not kept(root)
