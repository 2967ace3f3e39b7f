"""The encoder as a ridge regression in closed form, from an adapter's sketch to the mean of its captions' vectors.

Every slot's sketch is divided by its norm, so that an adapter's inner product with another one is the mean cosine of
their updates over the slots, and neither strength nor rank counts. The regression works on inner products with the
training adapters and concepts, or with a random part of them if there are many (Nyström, Williams and Seeger 2001).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.calibration import unfitted_relevance
from autolora.encoder.concept_rows import ConceptRows, no_concepts
from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, Stacks
from autolora.encoder.regression import JointRegression
from autolora.encoder.text_map import TextMap

MIN_NORM = 1e-30
"""smaller norms of a sketch are divided by this instead"""
ADAPTERS_AT_ONCE = 64
"""adapters that are compared with the landmarks in one product: the landmarks are read from memory once for all"""
MIN_EIGENVALUE = 1e-9
"""eigenvalues of the landmarks' inner products below this share of the largest are dropped"""


class RidgeEncoder(nn.Module):
    """(x - mean) · weights, with x the slots' sketches of unit norm (D = S·m·p numbers)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.text_map = TextMap(config.width)
        self.register_buffer("relevance", unfitted_relevance())
        self.relevance: Tensor
        """(2, 3), the coefficients of autolora.matching.relevance"""
        size = config.sketch_size
        assert size is not None, "the ridge regression reads sketches"
        length = len(config.slots) * size**2
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("weights", torch.zeros(length, config.width))
        self.register_buffer("mean_target", torch.zeros(config.width))
        self.register_buffer("agreement_margin", torch.tensor(0.0))
        self.mean: Tensor
        self.weights: Tensor
        self.mean_target: Tensor
        self.agreement_margin: Tensor
        """mean_target (d,), which predictions are relative to, and agreement_margin are those of a `CaptionRule`"""

    def embed(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that prompts are compared with.

        values, present: of an `AdapterBatch` of sketches.
        """
        return functional.normalize(self.predict(values, present), dim=-1)

    def predict(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the predictions (B, d), relative to the training adapters' mean target: the less an adapter resembles
        these adapters, the shorter. values, present: as of `embed`.
        """
        return (slot_units(values) - self.mean) @ self.weights


def slot_units(values: Tensor | Stacks) -> Tensor:
    """Return sketches (B, S, m, p) as unit vectors (B, S·m·p) in which all present slots have the same norm."""
    assert isinstance(values, Tensor), "the ridge regression reads sketches"
    slots = values.flatten(2)
    slots = slots / slots.norm(dim=2, keepdim=True).clamp_min(MIN_NORM)
    return functional.normalize(slots.flatten(1), dim=-1)


@dataclass(frozen=True, slots=True)
class RidgeFit:
    """What a fit returns beside the encoder that it sets."""

    out_of_fold: Tensor
    """(N, d), the predictions for the adapters by regressions without their own family and the concepts of it"""
    concept_weight: float
    """the weight of the concepts that was chosen; 0 without concepts"""


def fit_ridge(
    encoder: RidgeEncoder,
    adapters: Sequence[str],
    families: Sequence[str],
    targets: Tensor,
    read: Callable[[str], AdapterBatch],
    seed: int,
    concepts: ConceptRows | None = None,
) -> RidgeFit:
    """Set mean, weights and mean target of the encoder from adapters (N,), their families (N,) and unit targets (N, d),
    and from further rows of concepts.

    Each sketch is read once, those of the landmarks twice. Memory: the landmarks' sketches and the weights.
    """
    device = encoder.mean.device
    if concepts is None:
        concepts = no_concepts(len(encoder.config.slots), encoder.config.sketch_size or 0, len(targets[0]))

    def units(part: Sequence[str]) -> Tensor:
        return torch.cat([slot_units(read(sha256).to(device).values) for sha256 in part])

    landmarks, center = _landmarks(encoder, adapters, units, concepts, seed)
    total, products = torch.zeros_like(encoder.mean), []
    for start in range(0, len(adapters), ADAPTERS_AT_ONCE):
        rows = units(adapters[start : start + ADAPTERS_AT_ONCE])
        total += rows.sum(0)
        products.append((rows - center) @ landmarks.T)
    root = _inverse_root((landmarks @ landmarks.T).double())
    features = torch.cat(products).double() @ root
    del products  # one of several arrays of the size of the features, at the peak of memory
    features -= features.mean(0)
    regression = JointRegression(
        features=features,
        targets=targets.double(),
        families=families,
        concept_features=_concept_products(concepts, landmarks).double() @ root,
        concept_targets=concepts.targets.to(device).double(),
        concept_families=concepts.families,
        ridge=encoder.config.variant.ridge,
    )
    chosen = regression.choose_weight()
    encoder.mean.copy_(total / len(adapters))
    encoder.mean_target.copy_(targets.mean(0))
    torch.mm(landmarks.T, (root @ chosen.solution).float(), out=encoder.weights)
    return RidgeFit(chosen.out_of_fold.float(), chosen.weight)


def _landmarks(
    encoder: RidgeEncoder,
    adapters: Sequence[str],
    units: Callable[[Sequence[str]], Tensor],
    concepts: ConceptRows,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return random adapters' units less their mean, followed by random concepts' units (M, D), and that mean (D,)."""
    generator, limit = torch.Generator().manual_seed(seed), encoder.config.variant.landmarks
    names = [adapters[row] for row in _draw(len(adapters), limit, generator)]
    drawn = _draw(len(concepts.families), limit, generator)
    landmarks = torch.empty(len(names) + len(drawn), len(encoder.mean), device=encoder.mean.device)
    of_adapters, of_concepts = landmarks[: len(names)], landmarks[len(names) :]
    for start in range(0, len(names), ADAPTERS_AT_ONCE):
        part = slice(start, start + ADAPTERS_AT_ONCE)
        of_adapters[part] = units(names[part])
    for row, concept in enumerate(drawn):
        of_concepts[row : row + 1] = slot_units(
            concepts.gradients[concept : concept + 1].to(landmarks.device)
        )
    center = of_adapters.mean(0)
    of_adapters -= center
    return landmarks, center


def _draw(count: int, limit: int, generator: torch.Generator) -> list[int]:
    """Return `limit` random numbers below `count`, or all of them if they are fewer, in ascending order."""
    return sorted(torch.randperm(count, generator=generator)[:limit].tolist())


def _concept_products(concepts: ConceptRows, landmarks: Tensor) -> Tensor:
    """Return the inner products (C, M) of the concepts' units with the landmarks."""
    products = [landmarks.new_zeros(0, len(landmarks))]
    for start in range(0, len(concepts.families), ADAPTERS_AT_ONCE):
        part = concepts.gradients[start : start + ADAPTERS_AT_ONCE].to(landmarks.device)
        products.append(slot_units(part) @ landmarks.T)
    return torch.cat(products)


def _inverse_root(matrix: Tensor) -> Tensor:
    """Return R (M, R) with R·Rᵀ the pseudo-inverse of a symmetric positive semidefinite matrix (M, M)."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > MIN_EIGENVALUE * values.max()
    scaled: Tensor = vectors[:, kept] * values[kept].rsqrt()
    return scaled
