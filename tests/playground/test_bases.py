"""Bases that are not committed: recipes, and trainings that continue at their last checkpoint."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.errors import AutoLoraError
from autolora.storage.lock import exclusive_folder
from playground import bases, drawings, flux
from playground.bases import Base, TrainingSet
from playground.checkpoints import Checkpoint

STEPS = 6


@pytest.fixture(autouse=True)
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store checkpoints every second step."""
    monkeypatch.setattr(bases, "CHECKPOINT_EVERY", 2)


def training_set() -> TrainingSet:
    generator = torch.Generator().manual_seed(3)
    return TrainingSet(
        torch.randn(64, 16, 64, generator=generator),
        torch.randint(4, 40, (64, bases.CAPTIONS, 32), generator=generator),
        torch.randn(64, bases.CAPTIONS, 128, generator=generator),
    )


def train(base: Base) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(base.seed)
    loss, models = bases._train(base, bases._models(base), training_set())
    return loss, models.state_dict()


def test_further_bases_are_trained_into_an_ignored_folder_and_the_committed_one_is_not() -> None:
    root = Path(bases.__file__).parent.parent
    homes = [base.home for base in bases.FURTHER.values()]
    assert all(home.is_relative_to(root / "cache" / "playground") for home in homes)
    assert "/cache/" in (root / ".gitignore").read_text().splitlines()
    assert bases.MAIN.home == flux.HOME not in homes
    seeds = [base.seed for base in (bases.MAIN, *bases.FURTHER.values())]
    assert len(set(seeds)) == len(seeds)


def test_another_seed_is_trained_as_the_committed_base() -> None:
    seed = bases.FURTHER["seed"]
    assert replace(seed, home=bases.MAIN.home, seed=bases.MAIN.seed) == bases.MAIN
    assert bases.FURTHER["both"].start == flux.HOME


@pytest.mark.parametrize(
    ("capability", "dtype"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32), ("DEFAULT", torch.float32)]
)
def test_trainings_compute_in_bfloat16_only_if_the_processor_has_avx512(
    capability: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    with drawings.precision():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_scale_reduces_steps_and_drawings() -> None:
    scaled = bases.MAIN.scaled(0.1)
    assert (scaled.steps, scaled.drawings) == (500, 900)
    assert bases.MAIN.scaled(2).drawings == bases.MAIN.drawings


def test_a_fine_tuning_starts_with_the_committed_weights() -> None:
    (transformer, _), pipe = bases._models(bases.FURTHER["both"]), flux.load()
    assert all(
        torch.equal(weight, other)
        for weight, other in zip(transformer.parameters(), pipe.transformer.parameters(), strict=True)
    )
    assert all(weight.requires_grad for weight in transformer.parameters())


def test_engines_have_equal_shares_of_the_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, int]] = []

    def render(
        count: int, *rest: object, engine: str, **options: object
    ) -> tuple[torch.Tensor, list[object]]:
        drawn.append((engine, count))
        return real(count, *rest, engine=engine, **options)

    real = bases.drawings.render
    monkeypatch.setattr(bases.drawings, "render", render)
    base = replace(bases.FURTHER["both"], drawings=8)
    data = bases._training_set(base, *bases.clip.load())
    assert drawn == [("world", 4), ("second", 4)]
    assert (
        data.latents.shape == (8, 16, 64)
        and data.ids.shape == (8, 3, 32)
        and data.pooled.shape == (8, 3, 128)
    )


def test_larger_drawings_have_more_image_tokens() -> None:
    base = replace(bases.MAIN, drawings=2, size=128)
    assert bases._training_set(base, *bases.clip.load()).latents.shape == (2, 64, 64)
    with pytest.raises(
        ValueError, match="128 pixels per side, expected 64: only the first engine draws larger"
    ):
        bases._training_set(replace(base, engines=("second",)), *bases.clip.load())


def test_an_interrupted_training_continues_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base(tmp_path / "tiny", seed=4, steps=STEPS)
    loss, weights = train(base)
    (tmp_path / "tiny.checkpoint").unlink()
    monkeypatch.setattr(Checkpoint, "save", interrupt_after(Checkpoint.save))
    with pytest.raises(KeyboardInterrupt):
        train(base)
    monkeypatch.undo()
    assert (tmp_path / "tiny.checkpoint").exists()
    again, continued = train(base)
    assert again == loss
    assert all(torch.equal(value, continued[name]) for name, value in weights.items())


def test_a_training_whose_save_was_interrupted_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = bases._loss

    def loss(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        return original(*arguments)

    def interrupted_save(*_: object) -> None:
        raise KeyboardInterrupt

    base = Base(tmp_path / "tiny", seed=4, steps=STEPS)
    monkeypatch.setattr(bases, "_loss", loss)
    monkeypatch.setattr(bases, "_training_set", lambda *_: training_set())
    monkeypatch.setattr(bases.flux, "check", lambda *_: {})
    monkeypatch.setattr(bases.flux, "save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        bases.build(base)
    monkeypatch.setattr(bases.flux, "save", lambda *_: None)
    bases.build(base)
    assert len(steps) == STEPS
    assert not list(tmp_path.iterdir())


def interrupt_after(save):  # type: ignore[no-untyped-def]
    """Return a function that saves, then is interrupted."""

    def saved(self: Checkpoint, step: int, loss: float) -> None:
        save(self, step, loss)
        raise KeyboardInterrupt

    return saved


def test_a_base_that_exists_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "flux-seed"
    home.mkdir()
    (home / "model_index.json").touch()
    monkeypatch.setitem(bases.FURTHER, "seed", replace(bases.FURTHER["seed"], home=home))
    monkeypatch.setattr("sys.argv", ["bases", "seed"])
    with pytest.raises(SystemExit, match="flux-seed exists: remove the folder to train it again"):
        bases.main()
    monkeypatch.setattr(bases, "build", lambda base, scale: {"loss": 0.0})
    (tmp_path / "flux-seed.checkpoint").touch()  # its saving was interrupted
    bases.main()
    with (
        exclusive_folder(home),
        pytest.raises(AutoLoraError, match=f"writing to {home}: wait"),
    ):
        bases.main()


def test_a_checkpoint_of_another_training_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base(tmp_path / "tiny", seed=4, steps=STEPS)
    monkeypatch.setattr(Checkpoint, "save", interrupt_after(Checkpoint.save))
    with pytest.raises(KeyboardInterrupt):
        train(base)
    with pytest.raises(SystemExit, match=r"checkpoint of another training .*seed=4.*, expected .*seed=5"):
        train(replace(base, seed=5))


def test_bases_of_one_name_in_two_folders_have_a_checkpoint_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Base(tmp_path / name / "tiny", seed, steps=STEPS) for name, seed in (("a", 4), ("b", 5)))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoint, "save", interrupt_after(Checkpoint.save))
        train(first)
    train(second)
    steps = [torch.load(base.checkpoint, weights_only=True)["step"] for base in (first, second)]
    assert steps == [2, STEPS]


def test_the_checkpoint_of_the_committed_base_is_ignored_by_git() -> None:
    written = [bases.MAIN.checkpoint, bases.MAIN.checkpoint.with_suffix(".partial")]
    root = Path(bases.__file__).parent.parent
    ignored = subprocess.run(
        ["git", "check-ignore", *written], cwd=root, check=True, capture_output=True, text=True
    )
    assert ignored.stdout.split() == [str(path) for path in written]


def test_a_checkpoint_does_not_depend_on_the_place_of_the_repository(tmp_path: Path) -> None:
    base = Base(tmp_path / "a" / "tiny", seed=4, start=tmp_path / "a" / "flux")
    moved = replace(base, home=tmp_path / "b" / "tiny", start=tmp_path / "b" / "flux")
    assert base.recipe == moved.recipe
