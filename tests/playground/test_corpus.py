"""Folders of captioned images: complete, reproducible, and without the themes that are left out."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from playground import corpus, engines, grammars, text, world
from playground.sealed import recipes
from playground.themes import single_themes


def captions(made: corpus.Corpus) -> list[str]:
    return [caption for _, caption in corpus.captioned_images(made)]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_folder_has_one_caption_per_image(tmp_path: Path, engine: str) -> None:
    made = corpus.Corpus(single_themes(), engine, images=40, seed=3)
    corpus.write(made, tmp_path / "images")
    images = sorted((tmp_path / "images").glob("*.png"))
    assert len(images) == 40 and len(list((tmp_path / "images").iterdir())) == 80
    assert [path.with_suffix(".txt").read_text() for path in images] == [f"{c}\n" for c in captions(made)]
    with Image.open(images[7]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(list(corpus.captioned_images(made))[7][0]))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("grammar", grammars.GRAMMARS)
def test_themes_take_turns_and_those_left_out_occur_nowhere(grammar: str) -> None:
    left_out = ("cat", "neon", "snow", "golden")
    themes = corpus.selected_themes(single_themes(), left_out)
    texts = captions(corpus.Corpus(themes, grammar=grammar, images=3 * len(themes), seed=1))
    named = Counter(theme for text in texts for theme in single_themes() if re.search(rf"\b{theme}\b", text))
    assert named == dict.fromkeys(themes, 3)


def test_another_seed_gives_another_corpus() -> None:
    first, again, other = (captions(corpus.Corpus(("cat",), images=6, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="expected a new folder"):
        corpus.write(corpus.Corpus(("cat",), images=2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_remains_of_an_interrupted_run_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "images.partial").mkdir()
    (tmp_path / "images.partial" / "000009.png").touch()
    corpus.write(corpus.Corpus(("cat",), images=2), tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == 4


@pytest.mark.parametrize(
    ("themes", "without", "message"),
    [(("cat", "zebra"), (), "unknown themes: zebra;"), (("cat",), ("cat",), "no theme is left")],
)
def test_wrong_themes_are_errors(themes: tuple[str, ...], without: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corpus.selected_themes(themes, without)


def test_command_writes_a_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "drawn"
    command = [
        "corpus",
        "--engine",
        "second",
        "--images",
        "4",
        "--themes",
        "cat",
        "clay",
        "--without",
        "clay",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "-o", str(folder)])
    corpus.main()
    assert all("cat" in path.read_text() for path in folder.glob("*.txt"))
    assert capsys.readouterr().out == f"4 captioned images of 1 themes in {folder}\n"


def test_command_leaves_out_what_the_sealed_test_holds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["corpus", "--images", "62", "--without-held-out", "-o", str(tmp_path / "drawn")]
    monkeypatch.setattr(sys, "argv", command)
    corpus.main()
    texts = " ".join(path.read_text() for path in (tmp_path / "drawn").glob("*.txt"))
    held_out = {*recipes.themes().held_out}
    assert {theme for theme in single_themes() if re.search(rf"\b{theme}\b", texts)} == {
        *single_themes()
    } - held_out


@pytest.mark.parametrize("grammar", grammars.GRAMMARS)
def test_grammars_name_all_fields_in_known_words(grammar: str) -> None:
    rng = np.random.default_rng(2)
    known, tokenizer = set(text.words()), text.t5_tokenizer()
    for _ in range(300):
        scene = world.sample_scene(rng)
        words = grammars.GRAMMARS[grammar](scene, rng)
        assert scene.object in words and scene.colour in words and scene.background.split()[-1] in words
        assert [style for style in world.ALL_STYLES if style in words] == [scene.style] * (
            scene.style != "plain"
        )
        assert set(re.findall("[a-z]+", words)) <= known, words
        assert len(tokenizer(words).input_ids) <= text.LENGTH - 8  # a trigger word has up to 8 letters


def test_grammars_have_no_sentence_in_common() -> None:
    rng = np.random.default_rng(4)
    scenes = [world.sample_scene(rng) for _ in range(200)]
    texts = [{grammar(scene, rng) for scene in scenes} for grammar in grammars.GRAMMARS.values()]
    assert len(set.union(*texts)) == sum(map(len, texts))
