"""The judges: a classifier by fields, VQAScore, and what they say of a trial's pictures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora import vlm
from autolora.errors import CaptionError, MismatchError, MissingArtifact, ParamsError
from autolora.experiments.cases import Trial
from autolora.experiments.scoring import measure
from autolora.metrics.classifier import Classifier, classify, load_classifier, read_labels
from autolora.metrics.clip import load_clip
from autolora.metrics.judges import Judges, load_judges, shows, vqa_score
from autolora.params import JudgesParams, VllmParams, load
from autolora.storage.files import hash_folder
from autolora.vlm import answers
from tests.support import tiny_judges
from tests.support.fake_openai import Server

VALUES = load(Path(__file__).parents[2] / "params.yaml")
PLACE = replace(VALUES.models, device="cpu", threads=1)


def draw(count: int) -> list[Image.Image]:
    """Draw noise of 64 px."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> JudgesParams:
    return tiny_judges.params(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def judges(params: JudgesParams) -> Judges:
    return load_judges(params, PLACE, VALUES.vllm)


def test_a_classifier_names_one_value_a_field_by_its_logits(judges: Judges) -> None:
    classifier, pictures = judges.classifier, draw(70)
    assert classifier is not None
    named = classify(classifier, pictures)
    assert {field: len(values) for field, values in named.items()} == {"object": 70, "style": 70}
    with torch.no_grad():
        pixels = classifier.processor(images=pictures[69:], return_tensors="pt")["pixel_values"]
        logits = classifier.model(pixel_values=pixels).logits[0]
    assert f"object:{named['object'][69]}" == tiny_judges.LABELS[int(logits[:3].argmax())]
    assert f"style:{named['style'][69]}" == tiny_judges.LABELS[3 + int(logits[3:].argmax())]


def test_what_a_classifier_sees_is_one_or_nought_and_nan_where_it_knows_no_such_thing(judges: Judges) -> None:
    assert judges.classifier is not None
    pictures = draw(5)
    named = classify(judges.classifier, pictures)
    known, unknown, nothing = shows(judges.classifier, pictures, [named["style"][0], "dragon", None])
    assert known.tolist() == [float(value == named["style"][0]) for value in named["style"]]
    assert np.isnan(unknown).all() and np.isnan(nothing).all() and len(nothing) == 5


def test_labels_are_fields_and_values(tmp_path: Path) -> None:
    assert read_labels({0: "a:x", 1: "b:y", 2: "a:z"}) == {"a": {"x": 0, "z": 2}, "b": {"y": 1}}
    with pytest.raises(MismatchError, match=r"'tench' is not of the form field:value"):
        load_classifier(tiny_judges.save_classifier(tmp_path / "plain", ["a:b", "tench"]), "cpu")
    with pytest.raises(MissingArtifact, match=r"judges\.classifier"):
        load_classifier(tmp_path / "none", "cpu")


def test_vqa_score_is_a_probability_of_the_first_token(judges: Judges) -> None:
    pictures = draw(6)
    found = vqa_score(judges, pictures, "a red house")
    assert found.shape == (6,) and ((found > 0) & (found < 1)).all()
    witness: Any = judges.vlm
    question = VALUES.judges.question.replace("{text}", "a red house")
    inputs = witness._read(pictures[:1], [question])
    words = answers.word_tokens(witness._processor.tokenizer)
    made = witness._model.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    yes, no = made.logits[0][0].double().softmax(0)[words].sum(1).tolist()
    assert found[0] == pytest.approx(yes / (yes + no), abs=1e-5)


def test_questions_of_any_length_share_a_batch(judges: Judges) -> None:
    pictures = draw(5)
    texts = ["cat", "a drawing that shows a red house on the sand in mosaic style", "", "x", "a {b}"]
    together = judges.vlm.yes(pictures, texts)
    alone = [judges.vlm.yes([picture], [text])[0] for picture, text in zip(pictures, texts, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)
    assert judges.vlm.yes([], []) == []


def test_a_tokenizer_without_yes_and_no_is_refused(judges: Judges) -> None:
    with pytest.raises(MismatchError, match=r"judges\.vlm"):
        answers.word_tokens(judges.clip.tokenizer)


def test_both_spellings_count() -> None:
    logits = torch.log(torch.tensor([[0.3, 0.1, 0.2, 0.2, 0.2]]))
    assert answers.from_logits(logits, torch.tensor([[0, 2], [1, 3]])) == pytest.approx([5 / 8])
    likeliest = {"yes": np.log(0.3), "no": np.log(0.1), "Yes": np.log(0.2), "No": np.log(0.2), "a": -1.0}
    assert answers.from_likeliest(likeliest) == pytest.approx(5 / 8)
    assert answers.from_likeliest({"Yes": -0.1, "a": -3.0}) == 1.0
    with pytest.raises(CaptionError, match=r"neither with yes nor with no but with 'a'"):
        answers.from_likeliest({"a": -0.1, "b": -3.0})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str]]:
    monkeypatch.setattr("autolora.vlm.served.FIRST_DELAY_S", 0.01)
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield Server(http, "owner/judge@c0ffee"), http.url_for("/v1")


def test_a_server_tells_the_same_probability(
    params: JudgesParams, judges: Judges, server: tuple[Server, str]
) -> None:
    http, url = server
    http.answers = [(503, "")]
    served = replace(params, engine="vllm", vlm="owner/judge", vlm_revision="c0ffee", batch=2)
    witness = vlm.judge(served, PLACE, VllmParams(url=url, timeout_s=5, attempts=3))
    pictures, wanted = draw(5), np.exp(-0.25) / (np.exp(-0.25) + np.exp(-2.0))
    assert vlm.yes(witness, pictures, ["a cat"] * 5, params.question) == pytest.approx([wanted] * 5)
    assert http.most_in_flight <= 2
    asked = http.asked[-1]
    assert (asked["max_tokens"], asked["temperature"], asked["logprobs"]) == (1, 0, True)
    assert asked["messages"][0]["content"][1]["text"] == params.question.replace("{text}", "a cat")
    http.likeliest = {"a": -0.1}
    with pytest.raises(CaptionError, match=r"judges\.question"):
        witness.yes(pictures[:1], ["what?"])


def test_a_server_of_another_judge_is_refused(params: JudgesParams, server: tuple[Server, str]) -> None:
    with pytest.raises(CaptionError, match=r"judges\.engine: transformers"):
        vlm.judge(replace(params, engine="vllm"), PLACE, VllmParams(url=server[1], timeout_s=5, attempts=1))
    with pytest.raises(ParamsError, match=r"judges\.vlm_revision is null"):
        vlm.digest(replace(params, vlm="owner/judge"))


def trial(outcome: Any, themes: tuple[str | None, ...]) -> Trial:
    return Trial(
        outcome=outcome, prompt="a cat, wrd", content="a cat", adapters=("a", "b")[: len(themes)],
        themes=themes, cluster="a+b", unseen=0,
    )  # fmt: skip


def judged(judges: Judges, asked: Trial, pictures: list[Image.Image]) -> dict[str, dict[str, Any]]:
    others = draw(4)
    return measure(judges, asked, {"base": pictures, "direct": others, "gated": others}, lambda _: draw(2))


def test_a_pair_is_measured_by_every_judge(judges: Judges) -> None:
    found = judged(judges, trial("pairs", ("cat", "mosaic")), draw(4)[::-1])
    names = {"text", "Sim 1", "Sim 2", "VQA", "shows 1", "shows 2", "shows both"}
    assert all(set(row) == names for row in found.values())
    assert all(values.shape == (4,) for row in found.values() for values in row.values())
    base = found["base"]
    assert base["shows both"].tolist() == (base["shows 1"] * base["shows 2"]).tolist()
    assert found["direct"] is found["gated"]


def test_an_adapter_alone_and_a_pair_that_nobody_asked_for(judges: Judges) -> None:
    assert set(judged(judges, trial("single", ("cat",)), draw(4))["base"]) == {"text", "Sim", "VQA", "shows"}
    kept = judged(judges, trial("base kept", ("cat", "dragon")), draw(4))
    assert set(kept["base"]) == {"text", "like base", "VQA", "shows neither"}
    assert np.isnan(kept["base"]["shows neither"]).all()
    assert kept["base"]["like base"] == pytest.approx(np.ones(4), abs=1e-5)


def test_without_a_classifier_the_others_judge(params: JudgesParams) -> None:
    judges = load_judges(replace(params, classifier=None), PLACE, VALUES.vllm)
    assert judges.facts["classifier"] is None
    assert set(judged(judges, trial("single", ("cat",)), draw(4))["base"]) == {"text", "Sim", "VQA"}


def test_the_facts_name_the_judges(judges: Judges, params: JudgesParams) -> None:
    folders = {"clip": params.clip, "vlm": params.vlm, "classifier": params.classifier}
    digests = {name: hash_folder(Path(str(folder))) for name, folder in folders.items()}
    assert judges.facts == digests | {"question": params.question}
    assert isinstance(judges.classifier, Classifier)
    assert judges.clip.digest == load_clip(Path(params.clip), "cpu").digest
