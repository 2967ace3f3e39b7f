"""The README.md of a download from Hugging Face, beside its only LoRA file."""

from pathlib import Path

import pytest

from autolora.hubs.folder.sidecar import parse_model_card
from tests.hubs.folder.lora_folder import crawl, first_page, image_urls, write

CARD = """---
license: other
license_name: own-license
base_model: black-forest-labs/FLUX.1-dev
instance_prompt: mrtlx
tags: [lora, not-for-all-audiences]
widget:
  - text: a cat, mrtlx
    output: {url: images/one.png}
  - {text: elsewhere, output: {url: "https://example.org/x.png"}}
  - {text: missing, output: {url: images/two.png}}
---
# A LoRA
"""


def test_its_fields_describe_the_only_file_of_the_folder(root: Path) -> None:
    write(root, "ann/ink.safetensors")
    write(root, "ann/README.md", CARD)
    write(root, "ann/images/one.png")
    listing = crawl(root)["ann/ink"]
    assert (listing.license, listing.base, listing.nsfw_level) == ("own-license", "flux.1-dev", "mature")
    assert listing.trigger_words == ("mrtlx",)
    assert image_urls(listing) == ["folder:ann/images/one.png"]
    assert listing.renderings[0].prompt == "a cat, mrtlx"
    assert first_page(root).problems == ()


def test_a_sidecar_precedes_it(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "README.md", CARD)
    write(root, "ink.json", {"license": "mit", "trigger_words": ["inkwsh"]})
    listing = crawl(root)["ink"]
    assert (listing.license, listing.trigger_words) == ("mit", ("inkwsh",))


def test_it_describes_none_of_several_files(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "oil.safetensors")
    write(root, "README.md", CARD)
    assert {(listing.license, listing.trigger_words) for listing in crawl(root).values()} == {(None, ())}


def test_one_that_is_not_valid_is_named_and_the_file_is_listed(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "README.md", "---\nlicense: [\n---\n")
    assert first_page(root).problems == ("'README.md' was skipped: its fields are not valid YAML",)
    assert crawl(root)["ink"].license is None


@pytest.mark.parametrize("text", ["", "# A LoRA", "---\nlicense: mit", "---\n- mit\n---", "---\n---\n"])
def test_one_without_fields_says_nothing(text: str) -> None:
    sidecar = parse_model_card(text.encode(), frozenset())
    assert (sidecar.license, sidecar.trigger_words, sidecar.renderings) == (None, None, None)


def test_aliases_are_refused_at_once() -> None:
    """With merge keys, 65 kB of them took 12 seconds per file and scan, with older versions of PyYAML minutes."""
    lines = [f"x{n}: &x{n} {{<<: [{', '.join(['*x' + str(n - 1)] * 9)}]}}" for n in range(1, 60)]
    text = "\n".join(["---", "license: mit", "x0: &x0 {a: 1}", *lines, "---"])
    with pytest.raises(ValueError, match="not valid YAML"):
        parse_model_card(text.encode(), frozenset())
