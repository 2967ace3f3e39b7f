"""The recipe of an image: read from its PNG within bounds, and compared with that of another."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autolora.errors import MissingArtifact
from autolora.generation.provenance import (
    describe_provenance,
    read_provenance,
    record_inputs,
)
from autolora.generation.recipe import MAX_SIDE, MAX_STEPS, differences, pixel_difference, read_recipe
from autolora.params import Params, load
from tests.support.png import bomb, png

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/howto/generate.md"
A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def params() -> Params:
    return load(REPOSITORY / "params.yaml")


def adapter(sha256: str, **fields: Any) -> dict[str, Any]:
    return {
        "sha256": sha256, "hub": "huggingface", "id": "someone/1", "file": "1.safetensors", "license": "mit",
        "score": 0.4, "relevance": 0.75, "strength": 0.8, "trigger_words": ["zzz"],
    } | fields  # fmt: skip


def provenance(**fields: Any) -> dict[str, Any]:
    return {
        "prompt": "a cat", "text": "a cat, zzz", "method": "gated", "seed": 7, "index": "1" * 64, "gates": "2" * 64,
        "autolora": "0.1.0", "adapters": [adapter(A)],
        "base": {"pipeline": "flux", "revision": None, "dtype": "float32"},
        "generation": {
            "width": 32, "height": 48, "steps": 12, "guidance": 2.5, "max_sequence_length": 16, "trigger_words": True,
            "method": "direct", "batch": 2,
        },
    } | fields  # fmt: skip


def write(folder: Path, content: Any) -> Path:
    path = folder / "image.png"
    path.write_bytes(png(content))
    return path


def test_a_recipe_is_what_the_image_records(tmp_path: Path, params: Params) -> None:
    recipe = read_recipe(write(tmp_path, provenance()), params)
    assert (recipe.prompt, recipe.seed, recipe.method) == ("a cat", 7, "gated")
    (recorded,) = recipe.adapters
    assert (recorded.sha256, recorded.strength, recorded.relevance) == (A, 0.8, 0.75)
    assert recorded.name == "huggingface:someone/1/1.safetensors" and recorded.trigger_words == ("zzz",)
    settings = recipe.settings
    assert (settings.width, settings.height, settings.steps, settings.guidance) == (32, 48, 12, 2.5)


def test_settings_that_another_version_did_not_have_are_those_of_the_project(
    tmp_path: Path, params: Params
) -> None:
    assert read_recipe(write(tmp_path, provenance()), params).settings.batch == params.generation.batch
    old = provenance()
    del old["generation"]["guidance"], old["adapters"][0]["strength"], old["adapters"][0]["relevance"]
    old["adapters"][0]["of a later version"] = 1
    recipe = read_recipe(write(tmp_path, old), params)
    assert recipe.settings.guidance == params.generation.guidance != 2.5
    assert (recipe.adapters[0].strength, recipe.adapters[0].relevance) == (1.0, None)


def generation(**fields: Any) -> dict[str, Any]:
    return provenance()["generation"] | fields


HOSTILE: list[dict[str, Any]] = [
    {"prompt": 1}, {"prompt": None}, {"prompt": " "}, {"seed": -1}, {"seed": 2**63}, {"seed": "7"}, {"seed": True},
    {"method": "sum"}, {"method": []}, {"adapters": 5}, {"adapters": ["x"]}, {"adapters": [adapter(A)] * 101},
    {"adapters": [adapter(A)] * 2}, {"adapters": [adapter("../x")]},
    {"adapters": [adapter(A, strength="1")]}, {"adapters": [adapter(A, strength=50)]},
    {"adapters": [adapter(A, relevance=2)]},
    {"adapters": [adapter(A, trigger_words=[1])]}, {"adapters": [adapter(A, trigger_words="ab")]},
    {"adapters": [adapter(A, id=None)]}, {"generation": 3}, {"generation": generation(width=MAX_SIDE + 16)},
    {"generation": generation(width=17)}, {"generation": generation(height=0)},
    {"generation": generation(steps=MAX_STEPS + 1)},
    {"generation": generation(steps=True)}, {"generation": generation(max_sequence_length=513)},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: str(change)[:50])
def test_a_recipe_that_is_not_valid_or_asks_for_too_much_is_refused(
    tmp_path: Path, params: Params, change: dict[str, Any]
) -> None:
    with pytest.raises(MissingArtifact, match=r"the provenance in .*image\.png cannot be repeated \("):
        read_recipe(write(tmp_path, provenance(**change)), params)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 100_000, "nested too deeply"), (f'{{"a": {"[" * 60}{"]" * 60}}}', "nested too deeply"),
        (f'{"{" + chr(34) + "a" + chr(34) + ": "}' * 60 + "1" + "}" * 60, "nested too deeply"),
        ("[]", "not a JSON object"), ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1e999}', "not valid JSON"), ('{"a": "\\ud800"}', "not valid JSON"), ("{", "not valid JSON"),
    ],
)  # fmt: skip
def test_a_text_that_is_not_a_provenance_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(MissingArtifact, match=problem):
        read_provenance(write(tmp_path, content))


def test_an_image_that_states_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    for side in (8_200, 9_000):  # the second one is 81 million px; Pillow itself refuses twice 89 million
        (tmp_path / "image.png").write_bytes(bomb(side))
        with pytest.raises(MissingArtifact, match="px"):
            read_provenance(tmp_path / "image.png")


def test_damaged_files_are_refused_or_read_as_they_were(tmp_path: Path, params: Params) -> None:
    whole, draw = png(provenance()), random.Random(0)
    path = tmp_path / "image.png"
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(content[: draw.randrange(len(content))] if draw.random() < 0.3 else content))
        try:
            recipe = read_recipe(path, params)
        except MissingArtifact:
            continue
        assert recipe.provenance == provenance()


def test_differences_name_what_determines_an_image() -> None:
    former, new = (
        provenance(),
        provenance(seed=8, index="3" * 64, adapters=[adapter(A, strength=1.0), adapter(B)]),
    )
    new["base"] = {"pipeline": "other", "revision": None}
    new["generation"] = generation(steps=4, method="gated", batch=9)
    assert differences(former, former) == []
    assert differences(former, former | {"index": ["a"], "later": [1, 2]}) == [
        f"index: {'1' * 64} → ['a']",
        "later: unknown → [1, 2]",
    ]
    assert differences(former, new) == [
        "adapters: aaaaaaaa (strength 0.8, relevance 0.75) → aaaaaaaa (relevance 0.75), bbbbbbbb (strength 0.8, "
        "relevance 0.75)",
        "base.dtype: float32 → unknown",
        "base.pipeline: flux → other",
        "generation.steps: 12 → 4",
        f"index: {'1' * 64} → {'3' * 64}",
        "seed: 7 → 8",
    ]


def test_differences_tell_what_an_image_was_made_without_from_what_it_does_not_state() -> None:
    alone = provenance(adapters=[], index=None, gates=None, text="a cat", later=B)
    del alone["autolora"]
    assert differences(provenance(), alone) == [
        "adapters: aaaaaaaa (strength 0.8, relevance 0.75) → none",
        "autolora: 0.1.0 → unknown",
        f"gates: {'2' * 64} → none",
        f"index: {'1' * 64} → none",
        f"later: unknown → {B}",
        "prompt with trigger words: a cat, zzz → a cat",
    ]


def test_pixels_are_compared(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (4, 4), (10, 0, 0)), Image.new("RGB", (4, 4), (7, 0, 255))
    first.save(tmp_path / "first.png")
    assert pixel_difference(tmp_path / "first.png", first) == 0
    assert pixel_difference(tmp_path / "first.png", second) == 255
    assert pixel_difference(tmp_path / "first.png", Image.new("RGB", (4, 5))) is None


def test_the_description_says_which_adapters_acted() -> None:
    summed = provenance(method="direct", adapters=[adapter(A), adapter(B, id="someone/2", strength=0.0)])
    description = describe_provenance(summed)
    first, second = description["adapters"].splitlines()
    assert "strength 0.8" in first and "strength 0 (does not act)" in second
    assert description["method"] == "direct"


@pytest.mark.parametrize("method", ["of another version", "direct"])
def test_a_method_is_described_by_whether_adapters_act(method: str) -> None:
    adapters = [adapter(A), adapter(B)]
    made = provenance(method=method, adapters=adapters)
    assert describe_provenance(made)["method"] == method
    without = [adapter(A, strength=0.0), adapter(B, strength=0)]
    for none_acts in ([], without):
        assert describe_provenance(made | {"adapters": none_acts})["method"] == "none: no adapter acts"


def test_a_description_controls_no_terminal() -> None:
    text = describe_provenance(provenance(prompt="a\x1b[2J\u202e cat\r"))["prompt"]
    assert text == "a�[2J� cat�"


@pytest.mark.parametrize(
    ("pipeline", "revision", "shown"),
    [("/home/me/models/flux", None, "flux"), ("owner/flux", "0" * 40, "owner/flux")],
)
def test_a_path_of_this_machine_stays_private(
    params: Params, pipeline: str, revision: str | None, shown: str
) -> None:
    base = replace(params.models, pipeline=pipeline, pipeline_revision=revision)
    assert record_inputs(base, "a cat", (), params.generation)["base"]["pipeline"] == shown
