"""Names that are judged: each adapter with each theme."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from autolora.encoder.model import embed_texts
from autolora.metrics.judgments import Judgment
from bench import names
from tests.inspection.test_description import CONCEPTS, trained

ROOT = Path(__file__).parents[2]


def test_each_adapter_is_given_each_theme_as_name(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, text_encoder = trained()
    rows = [{"sha256": name, "split": "train" if name == "cat" else "test"} for name in CONCEPTS]
    index = SimpleNamespace(
        rows=rows, weights_vectors=embed_texts(encoder, text_encoder, CONCEPTS).astype(np.float32)
    )
    monkeypatch.setattr(names.encoder_store, "load_encoder", lambda _: encoder)
    monkeypatch.setattr(names, "open_retriever", lambda _: SimpleNamespace(index=index))
    monkeypatch.setattr(names, "load_numpy_text_encoder", lambda *_: text_encoder)
    monkeypatch.setattr(names, "read_judgments", lambda _: {name: Judgment(name, None) for name in CONCEPTS})
    judged = names.judge_names(ROOT)
    assert {kind: len(correct) for kind, correct in judged.items()} == {
        "right_trained": 1, "wrong_trained": 3, "right_unseen": 3, "wrong_unseen": 9,
    }  # fmt: skip
    assert judged["right_unseen"] == [True] * 3 and judged["right_trained"] == [True]
    assert sum(judged["wrong_unseen"]) >= 6
