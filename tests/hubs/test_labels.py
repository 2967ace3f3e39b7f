"""Normalization of base models, licenses and content ratings."""

import pytest

from autolora.hubs.labels import highest_level, is_nsfw, normalize_base, nsfw_level_of, permissions_of
from autolora.records import BASES, NSFW_LEVELS, Permissions


@pytest.mark.parametrize(
    ("label", "base"),
    [
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("AI-ModelScope/FLUX.1-dev", "flux.1-dev"),
        ("Flux.1 D", "flux.1-dev"),
        ("flux1-dev", "flux.1-dev"),
        ("flux_dev", "flux.1-dev"),
        ("diffusers/FLUX.1-dev-bnb-4bit", "flux.1-dev"),
        ("city96/FLUX.1-dev-gguf", "flux.1-dev"),
        ("flux1-dev-fp8-e4m3fn.safetensors", "flux.1-dev"),
        ("Flux.1 S", "flux.1-schnell"),
        ("black-forest-labs/FLUX.1-schnell", "flux.1-schnell"),
        ("Flux.1 Krea", "flux.1-krea"),
        ("black-forest-labs/FLUX.1-Krea-dev", "flux.1-krea"),
        ("Flux.1 Kontext", "flux.1-kontext"),
        ("black-forest-labs/FLUX.1-Kontext-dev", "flux.1-kontext"),
        ("black-forest-labs/FLUX.1-Fill-dev", "flux.1-fill"),
        ("Flux.2 D", "flux.2"),
        ("Flux.2 Klein 9B-base", "flux.2"),
        ("Flux.2 Klein 4B Base", "flux.2"),
        ("black-forest-labs/FLUX.2-dev", "flux.2"),
        ("Flux 3 Video", "other"),
        ("black-forest-labs/FLUX.1-Redux-dev", "other"),
        ("black-forest-labs/FLUX.1-Canny-dev", "other"),
        ("Freepik/flux.1-lite-8B", "other"),
        ("nyanko7/flux-dev-de-distill", "other"),
        ("lodestones/Chroma", "other"),
        ("SDXL 1.0", "other"),
        ("Other", "other"),
        ("MusePublic/489_ckpt_FLUX_1", None),
        ("FLUX.1", None),
        ("flux", None),
        ("", None),
        ("???", None),
        (None, None),
    ],
)
def test_normalizes_base_models(label: str | None, base: str | None) -> None:
    assert normalize_base(label) == base
    assert base is None or base in BASES


@pytest.mark.parametrize(
    ("license", "commercial", "derivatives", "credit"),
    [
        ("apache-2.0", True, True, True),
        ("Apache License 2.0", True, True, True),
        ("mit", True, True, True),
        ("bsd-3-clause", True, True, True),
        ("gpl-3.0", True, True, True),
        ("cc0-1.0", True, True, False),
        ("unlicense", True, True, False),
        ("cc-by-4.0", True, True, True),
        ("CC BY-SA 4.0", True, True, True),
        ("cc-by-nc-4.0", False, True, True),
        ("cc-by-nc-nd-4.0", False, False, True),
        ("cc-by-nd-4.0", True, False, True),
        ("creativeml-openrail-m", True, True, True),
        ("openrail", True, True, None),
        ("openrail++", True, True, None),
        ("flux-1-dev-non-commercial-license", False, True, True),
        ("FLUX.1 [dev] Non-Commercial License", False, True, True),
        ("fair-noncommercial-research-license", False, None, None),
        ("cc", None, None, None),
        ("other", None, None, None),
        ("llama3.1", None, None, None),
        ("stabilityai-ai-community", None, None, None),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_permissions_of_licenses(
    license: str | None, commercial: bool | None, derivatives: bool | None, credit: bool | None
) -> None:
    expected = Permissions(commercial=commercial, derivatives=derivatives, credit=credit)
    assert permissions_of(license) == expected


@pytest.mark.parametrize(
    ("rating", "level"),
    [
        (1, "none"), (2, "soft"), (3, "soft"), (4, "mature"), (8, "explicit"), (16, "explicit"), (31, "explicit"),
        (32, "blocked"), (1 << 20, "blocked"), (0, None), (-4, None), (None, None),
        ("None", "none"), ("Soft", "soft"), ("Mature", "mature"), ("X", "explicit"), ("Blocked", "blocked"),
        ("?", None),
    ],
)  # fmt: skip
def test_highest_bit_of_a_rating_counts(rating: int | str | None, level: str | None) -> None:
    assert nsfw_level_of(rating) == level


def test_nsfw_levels_are_ordered() -> None:
    assert [is_nsfw(level) for level in (None, *NSFW_LEVELS)] == [False, False, False, True, True, True]
    assert highest_level(None, "soft", "mature", "none") == "mature"
    assert highest_level(None, None) is None
