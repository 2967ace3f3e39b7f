"""The judges' scores of a prompt case's images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autolora.experiments.cases import PromptCase
from autolora.experiments.scoring import score_images
from autolora.metrics.judges import Judges, load_judges
from autolora.params import JudgesParams, load
from tests.support import tiny_judges
from tests.support.tiny_judges import noise_images

VALUES = load(Path(__file__).parents[2] / "params.yaml")
BASE = replace(VALUES.models, device="cpu", threads=1)


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> JudgesParams:
    return tiny_judges.params(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def judges(params: JudgesParams) -> Judges:
    return load_judges(params, BASE)


def prompt_case(scenario: Any, themes: tuple[str | None, ...]) -> PromptCase:
    return PromptCase(
        scenario=scenario, prompt="a cat, wrd", content="a cat", adapters=("a", "b")[: len(themes)],
        themes=themes, cluster="a+b", unseen=0,
    )  # fmt: skip


def score(judges: Judges, case: PromptCase, base_images: list[Image.Image]) -> dict[str, dict[str, Any]]:
    """Return the scores of a case in which `direct` and `gated` share their images."""
    shared = noise_images(4)
    images = {"base": base_images, "direct": shared, "gated": shared}
    return score_images(judges, case, images, lambda _: noise_images(2))


def test_every_judge_scores_a_pair(judges: Judges) -> None:
    scores = score(judges, prompt_case("pair", ("cat", "mosaic")), noise_images(4)[::-1])
    metrics = {
        "prompt similarity", "adapter 1 similarity", "adapter 2 similarity", "VQAScore", "theme 1 shown",
        "theme 2 shown", "both shown",
    }  # fmt: skip
    assert all(set(row) == metrics for row in scores.values())
    assert all(values.shape == (4,) for row in scores.values() for values in row.values())
    base = scores["base"]
    assert base["both shown"].tolist() == (base["theme 1 shown"] * base["theme 2 shown"]).tolist()
    assert scores["direct"] is scores["gated"]


def test_single_adapter_has_its_own_metrics(judges: Judges) -> None:
    scores = score(judges, prompt_case("single", ("cat",)), noise_images(4))
    assert set(scores["base"]) == {"prompt similarity", "adapter similarity", "VQAScore", "theme shown"}


def test_unrelated_prompt_is_compared_with_the_base(judges: Judges) -> None:
    scores = score(judges, prompt_case("unrelated", ("cat", "dragon")), noise_images(4))
    assert set(scores["base"]) == {"prompt similarity", "base similarity", "VQAScore", "neither shown"}
    assert np.isnan(scores["base"]["neither shown"]).all(), "the classifier has no value `dragon`"
    assert scores["base"]["base similarity"] == pytest.approx(np.ones(4), abs=1e-5)


def test_metrics_without_a_classifier(params: JudgesParams) -> None:
    judges = load_judges(replace(params, classifier=None), BASE)
    assert judges.facts["classifier"] is None
    scores = score(judges, prompt_case("single", ("cat",)), noise_images(4))
    assert set(scores["base"]) == {"prompt similarity", "adapter similarity", "VQAScore"}
