"""Trainings of bases, which continue at their last checkpoint."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from playground import bases, drawings
from playground.bases import Base, TrainingSet
from playground.checkpoints import Checkpoint

pytestmark = pytest.mark.slow

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
    loss, models = bases._train(base, bases._models(), training_set())
    return loss, models.state_dict()


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


def test_larger_drawings_have_more_image_tokens() -> None:
    base = replace(bases.MAIN, drawings=2, size=128)
    assert bases._training_set(base, *bases.clip.load()).latents.shape == (2, 64, 64)


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
    base = Base(tmp_path / "a" / "tiny", seed=4)
    moved = replace(base, home=tmp_path / "b" / "tiny")
    assert base.recipe == moved.recipe
