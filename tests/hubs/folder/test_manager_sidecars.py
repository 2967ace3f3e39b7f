"""Sidecars of other programs, in the shapes that these write."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.hubs.folder.sidecar import parse_civitai_info, parse_lora_manager, parse_sidecar
from autolora.records import Permissions
from tests.hubs.folder.lora_folder import TIME, crawl, first_page, write

CIVITAI: dict[str, Any] = {
    "id": 691639, "modelId": 618692, "name": "v1", "baseModel": "Flux.1 D", "nsfwLevel": 3,
    "trainedWords": ["inkwsh style", "inkwsh style", "ink wash"], "description": None,
    "model": {
        "name": "Ink Wash", "type": "LORA", "nsfw": False, "poi": True, "allowNoCredit": True,
        "allowCommercialUse": ["Image", "RentCivit"], "allowDerivatives": True, "allowDifferentLicense": False,
    },
    "files": [{"id": 1, "hashes": {"SHA256": "0A" * 32}}],
    "images": [{"url": "https://image.civitai.com/x/1.jpeg", "nsfwLevel": 1, "meta": {"prompt": "a heron"}}],
}  # fmt: skip
"""Civitai's answer to a query by hash, which Civitai-Helper writes as it is"""
LORA_MANAGER: dict[str, Any] = {
    "file_name": "ink", "model_name": "Ink Wash", "file_path": "/home/me/loras/ink.safetensors", "size": 7,
    "modified": 1767323045.0, "sha256": "0a" * 32, "base_model": "Flux.1 D", "preview_url": "/home/me/loras/ink.webp",
    "preview_nsfw_level": 4, "notes": "", "from_civitai": True, "tags": ["ink"], "modelDescription": "<p>…</p>",
    "civitai": {}, "usage_tips": "{}", "trainedWords": [],
}  # fmt: skip
"""py/utils/models.py: LoraMetadata.to_dict, of a file that is not on Civitai"""
WEBUI: dict[str, Any] = {
    "description": "ink wash", "sd version": "Unknown", "activation text": "inkwsh style, brush",
    "preferred weight": 0.8, "negative text": "", "notes": "",
}  # fmt: skip
"""LoraUserMetadataEditor.save_lora_user_metadata"""


def text(content: Any) -> bytes:
    return json.dumps(content).encode()


def test_civitai_helper() -> None:
    sidecar, problems = parse_civitai_info(text(CIVITAI))
    assert problems == ()
    assert (sidecar.base_model, sidecar.trigger_words) == ("Flux.1 D", ("inkwsh style", "ink wash"))
    assert (sidecar.nsfw_level, sidecar.person, sidecar.minor) == ("soft", True, None)
    assert sidecar.license == (
        "civitai: commercial=Image+RentCivit, derivatives=yes, different-license=no, credit=free"
    )
    assert sidecar.permissions == Permissions(commercial=True, derivatives=True, credit=False)


def test_what_programs_write_about_a_file() -> None:
    model = CIVITAI["model"] | {"tags": ["ink", "style"], "description": "<p>Brush <b>strokes</b></p>"}
    sidecar, _ = parse_civitai_info(text(CIVITAI | {"model": model}))
    assert sidecar.description == ("Ink Wash", "ink, style", "Brush strokes")
    sidecar, _ = parse_civitai_info(text(CIVITAI | {"model": {"name": "Ink"}, "description": "Version 2"}))
    assert sidecar.description == ("Ink", "Version 2")
    sidecar, _ = parse_lora_manager(
        text(LORA_MANAGER | {"notes": "mine", "modelDescription": "<p>for posters</p>"})
    )
    assert sidecar.description == ("Ink Wash", "ink", "for posters")
    sidecar, _ = parse_lora_manager(text({"civitai": CIVITAI}))
    assert sidecar.description == ("Ink Wash",)
    sidecar, _ = parse_sidecar(text(WEBUI))
    assert sidecar.description == ("ink wash",)


def test_a_file_that_civitai_does_not_know_has_an_empty_sidecar(root: Path) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.civitai.info", {})
    ink = crawl(root)["ink"]
    assert (ink.license, ink.base, ink.nsfw_level, ink.trigger_words) == (None, None, None, ())
    assert ink.permissions == Permissions()


def test_lora_manager_without_civitai() -> None:
    sidecar, _ = parse_lora_manager(text(LORA_MANAGER | {"trainedWords": ["brush"], "civitai": None}))
    assert (sidecar.base_model, sidecar.trigger_words) == ("Flux.1 D", ("brush",))
    assert (sidecar.nsfw_level, sidecar.license, sidecar.permissions) == ("mature", None, None)


def test_lora_manager_with_civitai() -> None:
    content = LORA_MANAGER | {"base_model": "Unknown", "civitai": CIVITAI, "trainedWords": ["brush"]}
    sidecar, _ = parse_lora_manager(text(content))
    assert (sidecar.base_model, sidecar.trigger_words) == ("Flux.1 D", ("inkwsh style", "ink wash"))
    assert sidecar.nsfw_level == "soft"
    assert sidecar.permissions and sidecar.permissions.commercial


def test_webui() -> None:
    sidecar, problems = parse_sidecar(text(WEBUI))
    assert problems == ()
    assert (sidecar.base_model, sidecar.trigger_words) == (None, ("inkwsh style, brush",))
    assert parse_sidecar(text(WEBUI | {"sd version": "SDXL"}))[0].base_model == "SDXL"


def test_our_fields_and_those_of_the_webui_may_be_in_one_file() -> None:
    sidecar, problems = parse_sidecar(text(WEBUI | {"license": "mit", "trigger_words": ["TOK"]}))
    assert (sidecar.license, sidecar.trigger_words, problems) == ("mit", ("TOK",), ())


def test_sidecars_of_one_file_are_merged(root: Path) -> None:
    """Ours counts first, then the Lora-Manager's; ratings are the strictest."""
    write(root, "ink.safetensors")
    write(root, "ink.json", WEBUI | {"nsfw_level": "none", "license": "mit"})
    write(root, "ink.metadata.json", LORA_MANAGER | {"base_model": "Flux.1 S"})
    write(root, "ink.civitai.info", CIVITAI, TIME + 60)
    ink = crawl(root)["ink"]
    assert (ink.license, ink.permissions.credit, ink.base) == ("mit", True, "flux.1-schnell")
    assert (ink.nsfw_level, ink.nsfw, ink.person) == ("mature", True, True)
    assert ink.trigger_words == ("inkwsh style, brush",)
    assert ink.updated == "2026-01-02T03:05:05Z"


@pytest.mark.parametrize("level", [True, -1, 1.5, "high", [], {}])
def test_skips_a_file_with_an_invalid_rating(root: Path, level: Any) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.civitai.info", CIVITAI | {"nsfwLevel": level})
    page = first_page(root)
    assert not page.models and "nsfwLevel" in page.problems[0] and "'ink.civitai.info'" in page.problems[0]


@pytest.mark.parametrize("flag", ["nsfw", "poi", "minor"])
def test_skips_a_file_with_an_invalid_flag(root: Path, flag: str) -> None:
    write(root, "ink.safetensors")
    write(root, "ink.metadata.json", LORA_MANAGER | {"civitai": CIVITAI | {"model": {flag: "yes"}}})
    page = first_page(root)
    assert not page.models and f"{flag} must be true or false" in page.problems[0]


@pytest.mark.parametrize("name", ["ink.civitai.info", "ink.metadata.json"])
@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "[" * 99_999, b"\xff\xfe"],
    ids=["empty", "list", "null", "deep", "no UTF-8"],
)
def test_skips_a_file_whose_sidecar_is_unreadable(root: Path, name: str, content: str | bytes) -> None:
    write(root, "ink.safetensors")
    write(root, name, content)
    (problem,) = first_page(root).problems
    assert problem.startswith(f"'ink.safetensors' was skipped: its sidecar '{name}' is not valid")


@pytest.mark.parametrize(
    "content",
    [
        {"model": 3, "trainedWords": {"a": 1}, "baseModel": ["x"]},
        {"model": {"allowCommercialUse": {"Image": True}, "allowNoCredit": "yes"}, "trainedWords": [3, None, "\x07"]},
        {"nsfwLevel": 0, "baseModel": "", "trainedWords": "TOK" * 9999},
    ],
)  # fmt: skip
def test_other_invalid_fields_count_as_missing(content: dict[str, Any]) -> None:
    sidecar, problems = parse_civitai_info(text(content))
    assert (sidecar.license, sidecar.permissions, sidecar.base_model, sidecar.nsfw_level) == (None,) * 4
    assert problems == () and len("".join(sidecar.trigger_words or ())) <= 2000
