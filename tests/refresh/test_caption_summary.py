"""The lines of a refresh's summary on captions that disagree with the weights."""

from pathlib import Path

import pytest

from autolora.index.caption_check import CaptionCheck
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.refresh.summary import MAX_NAMED, caption_lines, caption_summary
from tests.support.hybrid_repo import with_captions_of, write_hybrid
from tests.support.synthetic_repo import make_adapters, tiny_text_encoder


def check(number: int, agreement: float) -> CaptionCheck:
    name = f"civitai:{number}/ink.safetensors"
    agrees = agreement >= 0.5
    return CaptionCheck(name=name, agreement=agreement, expected=0.5, agrees=agrees, is_searched=agrees)


def test_new_disagreements_are_named_and_known_ones_counted() -> None:
    before = {"a": check(1, 0.2), "b": check(2, 0.8), "d": check(4, 0.1)}
    after = {"a": check(1, 0.2), "b": check(2, 0.3), "c": check(3, 0.9)}
    headline = "**Captions disagree with the weights: 2 adapters, 1 new since the last release.**"
    assert caption_lines(before, after) == [
        f"{headline} Searches use their weights alone.",
        "",
        "- new: `civitai:2/ink.safetensors` (cosine 0.30, at least 0.50 expected)",
    ]
    (line,) = caption_lines(after, after)
    assert "2 adapters, 0 new" in line
    assert caption_lines(after, {"c": check(3, 0.9)}) == []


def test_many_new_disagreements_are_counted() -> None:
    after = {str(number): check(number, 0.1) for number in range(MAX_NAMED + 3)}
    lines = caption_lines({}, after)
    assert lines[-1] == "- new: 3 more" and len(lines) == MAX_NAMED + 3


@pytest.mark.slow
def test_disagreements_are_new_until_they_are_released(tmp_path: Path) -> None:
    text_encoder = tiny_text_encoder(tmp_path / "text_encoder")
    adapters = make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))
    write_hybrid(tmp_path, text_encoder, adapters)
    release(tmp_path, content_digest(tmp_path))
    swapped = with_captions_of(adapters[0], adapters[-1])
    write_hybrid(tmp_path, text_encoder, [swapped, *adapters[1:]])
    name = f"- new: `huggingface:{swapped.listing.id}/lora.safetensors`"
    for _ in range(2):  # as if the refresh failed before the release
        assert name in caption_summary(tmp_path)
    release(tmp_path, content_digest(tmp_path))
    assert "0 new since the last release" in caption_summary(tmp_path)
    assert name not in caption_summary(tmp_path)


@pytest.mark.parametrize("folder", ["data/index", "cache"])
def test_no_index_gives_no_lines(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    assert caption_summary(tmp_path) == ""
