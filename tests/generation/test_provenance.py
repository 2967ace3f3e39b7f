"""Provenance from which an image can be generated again, its description, and `autolora show`."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.generation.images import GeneratedImage, Generator, generate, save_image
from autolora.generation.provenance import (
    PROVENANCE_CHUNK,
    describe_provenance,
    read_provenance,
)
from autolora.params import GenerationParams
from autolora.records import Hit
from tests.generation.drawing import PARAMS, PROMPT, difference
from tests.support.tiny_flux import CONFIG


def test_image_is_generated_again_from_its_provenance(
    generator: Generator, hits: list[Hit], gates_folder: Path, tmp_path: Path
) -> None:
    generated = generate(generator, PROMPT, hits, method="gated", seed=7, params=PARAMS)
    path = tmp_path / "image.png"
    save_image(generated, path)
    provenance = read_provenance(path)
    assert provenance == generated.provenance
    assert [adapter["sha256"] for adapter in provenance["adapters"]] == [hit.sha256 for hit in hits]
    assert [adapter["relevance"] for adapter in provenance["adapters"]] == pytest.approx([0.75, 0.25])
    assert provenance["adapters"][0]["trigger_words"] == ["zzz"]
    assert provenance["index"] == hits[0].index
    assert provenance["gates"] == generator.gates_digest
    recorded = provenance["generation"] | {"method": "gated"}
    again = generate(
        generator, provenance["prompt"], hits, method=provenance["method"], seed=provenance["seed"],
        params=GenerationParams(**recorded),
    )  # fmt: skip
    with Image.open(path) as saved:
        assert difference(again.image, saved) == 0


def test_paths_are_texts_too_and_an_image_is_a_png(generator: Generator, tmp_path: Path) -> None:
    again = Generator(str(generator.root), generator.base, generator.bounds)
    assert again.root == generator.root
    generated = GeneratedImage(image=Image.new("RGB", (4, 4)), provenance={"gates": None})
    save_image(generated, str(tmp_path / "image.png"))
    assert read_provenance(str(tmp_path / "image.png")) == generated.provenance
    with pytest.raises(ValueError, match=r"image\.jpg must be a file that ends in \.png"):
        save_image(generated, tmp_path / "image.jpg")
    assert not (tmp_path / "image.jpg").exists()


def test_provenance_without_relevance_is_described(generator: Generator, hits: list[Hit]) -> None:
    """Earlier versions of AutoLoRA wrote none, and named adapters have none."""
    provenance = generate(generator, PROMPT, hits[:1], method="direct", seed=7, params=PARAMS).provenance
    (adapter,) = provenance["adapters"]
    assert "relevance 0.75" in describe_provenance(provenance)["adapters"]
    without = {name: value for name, value in adapter.items() if name != "relevance"}
    for fields in (without, adapter | {"relevance": None}):
        text = describe_provenance(provenance | {"adapters": [fields]})["adapters"]
        assert "someone/1" in text and "relevance" not in text


def test_provenance_is_described_in_words(generator: Generator, hits: list[Hit], tmp_path: Path) -> None:
    generated = generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS)
    description = describe_provenance(generated.provenance)
    assert (description["prompt"], description["seed"]) == (PROMPT, "7")
    assert (description["size"], description["index"]) == ("32 x 32 px", hits[0].index)
    first, second = description["adapters"].splitlines()
    assert first == (
        f"huggingface:someone/1/1.safetensors; sha256 {hits[0].sha256[:8]}; license mit; score 0.400; "
        "relevance 0.75; trigger words: zzz"
    )
    assert "someone/2" in second and "gates" not in description
    without_adapters = generate(generator, PROMPT, [], method="direct", seed=7, params=PARAMS)
    assert describe_provenance(without_adapters.provenance)["adapters"] == "none: the base model alone"
    with pytest.raises(MissingArtifact, match="'generation'"):
        describe_provenance({"prompt": PROMPT})


@pytest.mark.slow
def test_show_prints_how_an_image_was_made_outside_a_repository(
    generator: Generator, hits: list[Hit], tmp_path: Path
) -> None:
    generated = generate(generator, PROMPT, hits, method="direct", seed=7, params=PARAMS)
    save_image(generated, tmp_path / "image.png")
    command = [sys.executable, "-m", "autolora", "show", "image.png"]
    table = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert PROMPT in table and "huggingface:someone/1/1.safetensors" in table
    as_json = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert json.loads(as_json) == generated.provenance
    command[-1] = "missing.png"
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("MissingArtifact: missing.png does not exist: give a PNG")


def test_provenance_of_method_direct_has_no_gates(generator: Generator, hits: list[Hit]) -> None:
    generated = generate(generator, PROMPT, hits[:1], method="direct", seed=0, params=PARAMS)
    assert generated.provenance["gates"] is None


def test_error_names_a_file_without_valid_provenance(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("not an image")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(PROVENANCE_CHUNK, "{")
    Image.new("RGB", (4, 4)).save(tmp_path / "damaged.png", pnginfo=chunks)
    for name in ("plain.png", "text.png", "damaged.png", "missing.png"):
        with pytest.raises(MissingArtifact, match=name):
            read_provenance(tmp_path / name)


def test_numbers_of_numpy_are_recorded(generator: Generator, hits: list[Hit], tmp_path: Path) -> None:
    hit = replace(hits[0], score=np.float32(0.5), relevance=np.float32(0.25), strength=np.float64(0.5))
    save_image(generate(generator, PROMPT, [hit], method="direct", seed=7, params=PARAMS), tmp_path / "a.png")
    recorded = read_provenance(tmp_path / "a.png")["adapters"][0]
    assert (recorded["score"], recorded["relevance"], recorded["strength"]) == (0.5, 0.25, 0.5)


@pytest.fixture
def own(generator: Generator, hits: list[Hit], gates_folder: Path, tmp_path: Path) -> Generator:
    """Return a generator whose gates and pool are copies that a test may change."""
    (tmp_path / "data").mkdir()
    for folder in ("fusion", "pool"):
        shutil.copytree(generator.root / "data" / folder, tmp_path / "data" / folder)
    return Generator(tmp_path, generator.base, generator.bounds)


def replace_gates(generator: Generator) -> str:
    """Put untrained gates in place of a generator's, as a refresh does, and return their digest."""
    folder = fusion.folder(generator.root)
    other = fusion.build(CONFIG, fusion.load(generator.slots, folder).variant)
    fusion.save(other, generator.slots, folder)
    return fusion.hash_gates(other)


def test_the_hash_of_the_gates_is_of_those_that_drew(own: Generator, hits: list[Hit]) -> None:
    drawn_with = fusion.hash_gates(own.gates)
    other = replace_gates(own)
    generated = generate(own, PROMPT, hits, method="gated", seed=7, params=PARAMS)
    assert generated.provenance["gates"] == drawn_with != other


def test_a_generator_follows_its_gates_if_they_were_replaced(own: Generator) -> None:
    loaded = own.gates
    own.follow_gates()
    assert own.gates is loaded
    other = replace_gates(own)
    own.follow_gates()
    assert own.gates is not loaded and own.gates_digest == other
    shutil.rmtree(fusion.folder(own.root))
    own.follow_gates()
    with pytest.raises(MissingArtifact, match="no trained gates"):
        assert own.gates
