"""A repository before the stage `experiments`, with a tiny random pipeline and judges."""

import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.experiments import stage as experiments
from autolora.metrics.judges import Judges, load_judges
from autolora.params import ExperimentsParams, ModelsParams
from autolora.text_encoder.sentences import load_saved
from tests.support import small_root, tiny_judges
from tests.support.tiny_flux import TOKENS
from tests.support.tiny_sentences import tiny_sentence_encoder

PARAMS = ExperimentsParams(pairs=2, images=2, bootstrap=100, seed=0)
TODAY = datetime.date(2026, 1, 1)
Run = Callable[..., str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    themes = small_root.build(root, small_root.base(root))
    judgments = {sha256: {"theme": t, "kind": small_root.KINDS[t]} for sha256, t in themes.items()}
    (root / "themes.json").write_text(json.dumps(judgments))
    sentences = tiny_sentence_encoder(root / "sentences", words=small_root.THEMES)
    small_root.teach_sentences(root, small_root.base(root), sentences)
    return root


@pytest.fixture(scope="module")
def base(root: Path) -> ModelsParams:
    return small_root.base(root)


@pytest.fixture(scope="module")
def judges(root: Path, base: ModelsParams) -> Judges:
    return load_judges(tiny_judges.params(root / "judges"), base)


@pytest.fixture(scope="module")
def settings(root: Path, base: ModelsParams) -> experiments.Settings:
    values = small_root.params()
    return experiments.Settings(
        params=PARAMS,
        generation=replace(values.generation, width=32, height=32, steps=2, max_sequence_length=TOKENS),
        base=base,
        bounds=values.pool,
        sentences=load_saved(root / "sentences"),
        themes="themes.json",
        preset="best",
    )


@pytest.fixture(scope="module")
def run(root: Path, settings: experiments.Settings, judges: Judges) -> Run:
    """Return a function that runs the whole stage, with other settings or judges if they are given."""

    def run(settings: experiments.Settings = settings, judges: Judges = judges) -> str:
        return experiments.experiment(root, settings, judges, lambda done, total, scenario: None, TODAY)

    return run
