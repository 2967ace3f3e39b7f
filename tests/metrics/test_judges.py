"""The judges: a classifier with one prediction per field, and VQAScore in process and by a server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolora import vlm
from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.metrics.classifier import Classifier, classify, load_classifier, read_labels
from autolora.metrics.clip import load_clip
from autolora.metrics.judges import Judges, detect, load_judges, vqa_score
from autolora.params import JudgesParams, load
from autolora.storage.hashes import hash_folder
from autolora.vlm import answers
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


def test_classifier_predicts_the_value_with_the_highest_logit_per_field(judges: Judges) -> None:
    classifier, images = judges.classifier, noise_images(70)
    assert classifier is not None
    predictions = classify(classifier, images)
    assert {field: len(values) for field, values in predictions.items()} == {"object": 70, "style": 70}
    with torch.no_grad():
        pixels = classifier.processor(images=images[69:], return_tensors="pt")["pixel_values"]
        logits = classifier.model(pixel_values=pixels).logits[0]
    assert f"object:{predictions['object'][69]}" == tiny_judges.LABELS[int(logits[:3].argmax())]
    assert f"style:{predictions['style'][69]}" == tiny_judges.LABELS[3 + int(logits[3:].argmax())]


def test_detect_gives_one_or_zero_and_nan_for_unknown_values(judges: Judges) -> None:
    assert judges.classifier is not None
    images = noise_images(5)
    predictions = classify(judges.classifier, images)
    known, unknown, missing = detect(judges.classifier, images, [predictions["style"][0], "dragon", None])
    assert known.tolist() == [float(value == predictions["style"][0]) for value in predictions["style"]]
    assert np.isnan(unknown).all() and np.isnan(missing).all() and len(missing) == 5


def test_labels_have_the_form_field_value(tmp_path: Path) -> None:
    assert read_labels({0: "a:x", 1: "b:y", 2: "a:z"}) == {"a": {"x": 0, "z": 2}, "b": {"y": 1}}
    with pytest.raises(MismatchError, match=r"'tench' is not of the form field:value"):
        load_classifier(tiny_judges.save_classifier(tmp_path / "plain", ["a:b", "tench"]), "cpu")
    with pytest.raises(MissingArtifact, match=r"judges\.classifier"):
        load_classifier(tmp_path / "none", "cpu")


def test_vqa_score_is_the_probability_of_yes_as_first_token(judges: Judges) -> None:
    images = noise_images(6)
    scores = vqa_score(judges, images, "a red house")
    assert scores.shape == (6,) and ((scores > 0) & (scores < 1)).all()
    scorer: Any = judges.vlm
    question = VALUES.judges.question.replace("{text}", "a red house")
    inputs = scorer._inputs(images[:1], [question])
    token_ids = answers.yes_no_token_ids(scorer._processor.tokenizer)
    output = scorer._model.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    yes, no = output.logits[0][0].double().softmax(0)[token_ids].sum(1).tolist()
    assert scores[0] == pytest.approx(yes / (yes + no), abs=1e-5)


def test_questions_of_any_length_share_a_batch(judges: Judges) -> None:
    images = noise_images(5)
    texts = ["cat", "a drawing that shows a red house on the sand in mosaic style", "", "x", "a {b}"]
    together = judges.vlm.yes_probabilities(images, texts)
    alone = [
        judges.vlm.yes_probabilities([image], [text])[0] for image, text in zip(images, texts, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-4)
    assert judges.vlm.yes_probabilities([], []) == []


def test_tokenizer_without_yes_and_no_is_an_error(judges: Judges) -> None:
    with pytest.raises(MismatchError, match=r"judges\.vlm"):
        answers.yes_no_token_ids(judges.clip.tokenizer)


def test_probabilities_of_all_spellings_are_added() -> None:
    logits = torch.log(torch.tensor([[0.3, 0.1, 0.2, 0.2, 0.2]]))
    assert answers.yes_probabilities(logits, torch.tensor([[0, 2], [1, 3]])) == pytest.approx([5 / 8])


def test_a_judge_of_a_hub_needs_a_revision(params: JudgesParams) -> None:
    with pytest.raises(ParamsError, match=r"judges\.vlm_revision is null"):
        vlm.digest(replace(params, vlm="owner/judge"))


def test_facts_hold_the_digests_of_the_judges(judges: Judges, params: JudgesParams) -> None:
    folders = {"clip": params.clip, "vlm": params.vlm, "classifier": params.classifier}
    digests = {name: hash_folder(Path(str(folder))) for name, folder in folders.items()}
    assert judges.facts == digests | {"question": params.question}
    assert isinstance(judges.classifier, Classifier)
    assert judges.clip.digest == load_clip(Path(params.clip), "cpu").digest
