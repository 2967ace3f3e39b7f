"""The encoder as a ridge regression in closed form, from an adapter's sketch to the mean of its captions' vectors.

Every slot's sketch is divided by its norm, so that an adapter's inner product with another one is the mean cosine of
their updates over the slots, and neither strength nor rank counts. The regression works on inner products with the
training adapters, or with a random part of them if there are many (autolora/encoder/landmarks.py).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, Stacks
from autolora.encoder.landmarks import Rows, draw_landmarks
from autolora.encoder.regression import Regression
from autolora.encoder.text_map import TextMap

MIN_NORM = 1e-30
"""smaller norms of a sketch are divided by this instead"""


class RidgeEncoder(nn.Module):
    """(x - mean) · weights, with x the slots' sketches of unit norm (D = S·m·p numbers)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.text_map = TextMap(config.width)
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
    units: Tensor = (slots / slots.norm(dim=2, keepdim=True).clamp_min(MIN_NORM)).flatten(1)
    units /= units.norm(dim=1, keepdim=True).clamp_min(MIN_NORM)  # a copy would cost more than the division
    return units


def fit_ridge(
    encoder: RidgeEncoder,
    adapters: Sequence[str],
    families: Sequence[str],
    targets: Tensor,
    read: Callable[[str], AdapterBatch],
    seed: int,
) -> Tensor:
    """Set mean, weights and mean target of the encoder from adapters (N,), their families (N,) and unit targets (N, d).

    Returns the predictions (N, d) for the adapters by regressions without their own family. Each sketch is read once.
    Memory: the landmarks' sketches, the weights and the features.
    """
    device, variant = encoder.mean.device, encoder.config.variant
    rows = Rows(len(adapters), lambda row: slot_units(read(adapters[row]).to(device).values)[0])
    landmarks = draw_landmarks(rows, variant.landmarks, seed, like=encoder.mean)
    features, mean = landmarks.features(rows)
    features -= features.mean(0)
    regression = Regression(features, targets.double(), families, variant.ridge)
    encoder.mean.copy_(mean)
    encoder.mean_target.copy_(targets.mean(0))
    landmarks.write_weights(regression.solve(), out=encoder.weights)
    del landmarks  # most of the memory, which the predictions out of fold do not need
    return regression.out_of_fold().float()
