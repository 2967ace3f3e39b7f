"""A collection in Python: how it is opened, its hits and their reasons."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import autolora
from autolora.errors import MismatchError, MissingArtifact
from autolora.generation.collection import Collection
from autolora.params import Params
from tests.collection.images import PROMPT
from tests.support import small_root

REPOSITORY = Path(__file__).parents[2]
PAGE, STEPS = REPOSITORY / "docs/howto/python.md", '"num_inference_steps": 12'
"""the page, and what it says of an image, which the tests draw in fewer steps"""


def test_an_empty_prompt_is_an_error(collection: Collection) -> None:
    for find in (collection.search, collection.select):
        with pytest.raises(ValueError, match="the prompt is empty"):
            find(" ")


def test_a_folder_of_lora_files_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "cat.safetensors").write_bytes(b"x")
    with pytest.raises(MissingArtifact, match="make a project with `autolora index"):
        autolora.open(tmp_path)


@pytest.mark.parametrize("k", [-1, 0, 2.5, "auto"])
def test_a_number_of_adapters_is_whole_and_positive(collection: Collection, k: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number from 1"):
        collection.search(PROMPT, k=k)


def test_an_image_is_described_in_words(
    collection: Collection, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: list[tuple[Path, tuple[int, int]]] = []

    def describe(root: Path, params: Params, image: Image.Image) -> str:
        described.append((root, image.size))
        return PROMPT

    monkeypatch.setattr("autolora.search.by_image.describe_image", describe)
    image = root / "drawing.png"
    Image.new("RGB", (32, 24), "navy").save(image)
    assert collection.describe(image) == collection.describe(Image.open(image)) == PROMPT
    assert described == [(root, (32, 24))] * 2
    with pytest.raises(MissingArtifact, match=r"cannot read .*absent\.png"):
        collection.describe("absent.png")


@pytest.mark.slow
def test_threads_may_search_at_the_same_time(root: Path) -> None:
    prompts = [f"a {thing} number {number}" for thing in small_root.THEMES for number in range(10)]
    expected = [autolora.open(root).search(prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(autolora.open(root).search, prompts)) == expected


def test_hits_of_a_collection(spoken: Collection) -> None:
    assert len(spoken) == 12 and repr(spoken).startswith(
        f"<Collection of 12 adapters in {spoken.retriever.project}, index "
    )
    assert len(spoken.search(PROMPT)) == spoken.settings.retrieval.k
    assert spoken.search(PROMPT, k=3, where="license = 'mit' and not nsfw") == spoken.search(PROMPT, k=3)
    assert spoken.search(PROMPT, where="nsfw") == []
    assert spoken.select(PROMPT, where="nsfw") == []
    first, second = spoken.search(PROMPT, k=2)
    named = spoken.named(PROMPT, {second.id: 0.5, first.id: -1.0})
    assert [(hit.sha256, hit.strength) for hit in named] == [(second.sha256, 0.5), (first.sha256, -1.0)]
    assert named[0].trigger_words and not named[1].trigger_words
    assert [hit.strength for hit in spoken.named(PROMPT, [first.id])] == [1.0]
    wrong: Any
    for wrong in ("0.8", 50, float("nan")):
        with pytest.raises(MismatchError, match=rf"'{first.id}' is .*: give a number from -4 to 4"):
            spoken.named(PROMPT, {first.id: wrong})


def test_names_are_a_list_of_texts_and_each_adapter_has_one(collection: Collection) -> None:
    first = collection.search(PROMPT, k=1)[0]
    wrong: list[tuple[Any, str]] = [
        (first.id, r"a list of names, not str: give `\['author/name'\]`"),
        (None, "a list of names, not NoneType"),
        ([first], "a name of type Hit"),
        ({1: 0.5}, "a name of type int"),
    ]
    for names, message in wrong:
        with pytest.raises(TypeError, match=message):
            collection.named(PROMPT, names)
    with pytest.raises(MissingArtifact, match=rf"give a name with its strength .* `{{'{first.id}': 0\.8}}`"):
        collection.named(PROMPT, [f"{first.id}:0.8"])
    with pytest.raises(MismatchError, match=rf"adapter {first.hub}:{first.id} is given twice"):
        collection.named(PROMPT, [first.id, first.sha256[:8]])


def test_reasons_of_hits(collection: Collection) -> None:
    reasons = collection.reasons(PROMPT, collection.search(PROMPT, k=2))
    assert len(reasons) == 2 and all(reason.captions and not reason.unavailable for reason in reasons)


@pytest.mark.slow
def test_examples_of_the_documentation_run(spoken: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spoken.retriever.project
    monkeypatch.chdir(spoken.retriever.project)
    text = PAGE.read_text()
    assert text.count(STEPS) == 1
    text = text.replace(STEPS, '"num_inference_steps": 2')
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["image"].size == (64, 64) and len(names["images"]) == 2
    assert names["weighted"][0].strength == 0.8
    assert not any(module._forward_hooks for module in names["pipe"].transformer.modules())


def test_readme_shows_the_first_example() -> None:
    four_lines = (
        PAGE.read_text().split('collection = autolora.open(".")')[1].split("```")[0].replace(", **size", "")
    )
    assert four_lines in (REPOSITORY / "README.md").read_text()


def test_a_folder_without_a_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(autolora.AutoLoraError, match=r"params\.yaml"):
        autolora.open(tmp_path)


@pytest.mark.parametrize("source", ["nothing", "./nothing/here", Path("owner/name")])
def test_a_source_that_is_neither_a_folder_nor_an_id_is_an_error(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingArtifact, match=r"neither an existing folder nor a Hugging Face id"):
        autolora.open(source)
