"""The adapters that gates are trained with, and how steps sample them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autolora.errors import MissingArtifact
from autolora.fusion.flow_matching import Captions
from autolora.lora.factors import Lora
from autolora.presets.fusion import FusionVariant


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedAdapter:
    """An adapter to train with, its images and their captions."""

    sha256: str
    family: str
    images: tuple[str, ...]
    """sha256"""
    captions: tuple[tuple[int, str], ...]
    """index of the image that a caption describes, and its text"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingSet:
    """Adapters, and what reads their parts when a step needs them, so that thousands of adapters need no memory."""

    adapters: Sequence[CaptionedAdapter]
    load_lora: Callable[[str], Lora]
    """sha256 of an adapter -> its updates"""
    encode_images: Callable[[CaptionedAdapter], Tensor]
    """-> packed latents x0 of its images, (P, T, C), on the CPU"""
    encode_texts: Callable[[Sequence[str]], Captions]

    def has_pairs(self, variant: FusionVariant) -> bool:
        """Return whether a step finds a target and an interfering adapter."""
        return self._num_partners(variant) >= 2

    def require_pairs(self, variant: FusionVariant) -> None:
        """Raise MissingArtifact if no step finds a target and an interfering adapter."""
        if not self.has_pairs(variant):
            needed = "families of training adapters" if variant.other_family else "training adapters"
            raise MissingArtifact(
                f"the gates need two or more {needed} with captioned images, but there are "
                f"{self._num_partners(variant)}: check data/training.jsonl, run `dvc repro captions dataset`, or move "
                "dataset.train_until in params.yaml"
            )

    def _num_partners(self, variant: FusionVariant) -> int:
        return len({a.family if variant.other_family else a.sha256 for a in self.adapters})

    def sample(self, variant: FusionVariant, generator: torch.Generator) -> list[CaptionedAdapter]:
        """Return a random target and interfering adapters, none in `single_share` of the steps."""
        target = self.adapters[random_index(len(self.adapters), generator)]
        if float(torch.rand((), generator=generator)) < variant.single_share:
            return [target]
        others = [other for other in self.adapters if not _excludes(target, other, variant)]
        count = 1 + random_index(variant.max_active - 1, generator)
        chosen = torch.randperm(len(others), generator=generator)[:count].tolist()
        return [target, *(others[index] for index in chosen)]


def sample_captions(
    adapter: CaptionedAdapter, count: int, generator: torch.Generator
) -> list[tuple[int, str]]:
    """Return random captions of an adapter, with replacement: index of the image, and text."""
    indices = torch.randint(len(adapter.captions), (count,), generator=generator)
    return [adapter.captions[index] for index in indices.tolist()]


def sample_relevance(
    named: int, adapters: int, batch: int, noise: float, generator: torch.Generator
) -> Tensor:
    """Return relevances (adapters, batch): 1 for the first `named` adapters, else 0, plus noise, clipped to 0..1."""
    relevance = torch.zeros(adapters, batch)
    relevance[:named] = 1
    return (relevance + noise * torch.randn(relevance.shape, generator=generator)).clamp(0, 1)


def random_index(count: int, generator: torch.Generator) -> int:
    """Return a random integer, 0 to count - 1."""
    return int(torch.randint(count, (), generator=generator))


def _excludes(target: CaptionedAdapter, other: CaptionedAdapter, variant: FusionVariant) -> bool:
    """Return whether an adapter cannot interfere with a target."""
    return other.family == target.family if variant.other_family else other.sha256 == target.sha256
