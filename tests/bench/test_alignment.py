"""bench.alignment on LoRAs and gradients whose concepts are known, and from files on a tiny base."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from autolora.errors import MissingArtifact
from autolora.lora.sketch import Sketch
from autolora.params import load
from bench import alignment
from bench.captioned_images import CaptionedImages, by_prompt, read_images
from tests.support import small_root
from tests.support.tiny_flux import build_pipeline, random_lora, save_peft

REPOSITORY = Path(__file__).parents[2]
NAMES = ("cat", "mosaic", "neon")
KINDS = ("query", "query", "out")


def concept_directions() -> dict[str, torch.Tensor]:
    """Return a random direction (S, m, p) per concept."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, 4, 4, generator=generator) for name in NAMES}


def make_loras(present: torch.Tensor) -> list[alignment.LabeledLora]:
    """Return two LoRAs per concept of different strength, which update the slots that are present."""
    return [
        alignment.LabeledLora(name, Sketch(strength * values * present[:, None, None], present))
        for name, values in concept_directions().items()
        for strength in (0.1, 7.0)
    ]


def make_gradients(noise: float) -> dict[str, torch.Tensor]:
    """Return gradients (2 draws, 2 levels, 4 images, S, m, p) around the directions, with a part that all share."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: 5 + values + noise * torch.randn(2, 2, 4, *values.shape, generator=generator)
        for name, values in concept_directions().items()
    }


def test_own_concept_has_the_highest_cosine_in_every_table() -> None:
    present = torch.ones(3, dtype=torch.bool)
    tables = alignment.make_tables(make_loras(present), make_gradients(0.1), KINDS, (0.2, 0.8))
    assert {name: list(rows) for name, rows in tables.items()} == {
        "all": ["4 images, 2 draws"],
        "kind of slot": ["query", "out"],
        "noise level": ["0.2", "0.8"],
        "images": ["1", "2", "4"],
        "draws": ["1", "2"],
    }
    for rows in tables.values():
        for row in rows.values():
            assert row["auc"]["value"] == row["first"]["value"] == 1.0
            assert row["own"]["value"] > 0.5 > row["others"]["value"]
            assert row["auc"]["n"] == 6
    text = alignment.to_markdown({"empty prompt": tables})
    assert "| empty prompt | images | 4 | " in text and text.count("\n") == 2 + 10 - 1


def test_more_images_are_better_if_gradients_are_noisy() -> None:
    present = torch.ones(3, dtype=torch.bool)
    rows = alignment.make_tables(make_loras(present), make_gradients(6.0), KINDS, (0.2, 0.8))["images"]
    assert rows["1"]["own"]["value"] < rows["4"]["own"]["value"]


def test_absent_slots_do_not_count() -> None:
    present = torch.tensor([True, False, False])
    means = {name: values.mean((0, 1, 2)) for name, values in make_gradients(0.0).items()}
    partial, whole = (
        alignment.align(make_loras(slots), means, range(3)) for slots in (present, present | True)
    )
    assert partial["own"]["value"] == pytest.approx(
        alignment.align(make_loras(present), means, [0])["own"]["value"]
    )
    assert partial["own"]["value"] != pytest.approx(whole["own"]["value"])


def test_control_gives_each_caption_an_image_of_another_concept() -> None:
    images = {
        name: CaptionedImages([Image.new("L", (1, 1), row)] * 3, [f"a {name}"] * 3)
        for row, name in enumerate(NAMES)
    }
    prompts = by_prompt(images)
    assert list(prompts) == ["empty prompt", "captions", "captions, images of other concepts"]
    assert prompts["empty prompt"]["cat"].prompts == [""] * 3
    control = prompts["captions, images of other concepts"]
    assert control["mosaic"].prompts == ["a mosaic"] * 3
    shown = {name: [image.getpixel((0, 0)) for image in rows.images] for name, rows in control.items()}
    assert shown == {"cat": [1, 2, 1], "mosaic": [2, 0, 2], "neon": [0, 1, 0]}
    no_caption = images | {"neon": replace(images["neon"], prompts=["", "a", "b"])}
    assert list(by_prompt(no_caption)) == ["empty prompt"]


def test_files_are_measured_on_a_base(tmp_path: Path) -> None:
    values = load(REPOSITORY / "params.yaml")
    values = replace(
        values,
        models=small_root.base(tmp_path),
        pool=replace(values.pool, sketch_size=4),
        concepts=replace(values.concepts, image_size=32, noise_levels=(0.3, 0.7), batch=2),
        generation=replace(values.generation, max_sequence_length=12),
    )
    for seed, name in enumerate(("cat", "neon")):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "loras").mkdir(exist_ok=True)
        save_peft(random_lora(seed), tmp_path / "loras" / f"{name}.safetensors")
        for number in range(3):
            image = Image.new("RGB", (32, 32), (80 * number, 200 * seed, 30))
            image.save(tmp_path / "images" / name / f"{number}.png")
            (tmp_path / "images" / name / f"{number}.txt").write_text(f"a {name}\n")
    loras = alignment.read_loras(tmp_path / "loras", values)
    images = {lora.concept: read_images(tmp_path / "images" / lora.concept) for lora in loras}
    assert images["neon"].prompts == ["a neon"] * 3
    gradients = alignment.compute_gradients(images, build_pipeline(), values, draws=2)
    assert gradients["cat"].shape == (2, 2, 3, len(small_root.SLOTS), 4, 4)
    assert not torch.equal(gradients["cat"][0], gradients["cat"][1]), "draws of noise differ"
    tables = alignment.measure(loras, images, build_pipeline(), values, draws=1)
    assert tables["all"]["3 images, 1 draws"]["own"]["n"] == 2


def test_missing_files_are_errors(tmp_path: Path) -> None:
    values = load(REPOSITORY / "params.yaml")
    save_peft(random_lora(0), tmp_path / "cat.safetensors")
    with pytest.raises(MissingArtifact, match="holds 1 files"):
        alignment.read_loras(tmp_path, values)
    with pytest.raises(MissingArtifact, match="holds no image"):
        read_images(tmp_path)
