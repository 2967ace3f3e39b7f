"""The text map: how text features become the unit vectors that adapters are compared with.

Captions of one adapter differ in color, place and sentence pattern, which say nothing about the adapter. `whiten`
divides the features by their covariance within adapters (within-class covariance normalization, Hatch et al. 2006),
so that these directions weigh little, and removes the direction of the empty prompt, which all short prompts share.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.presets.encoder import TextMapping

MIN_SHARE = 1e-4
"""a text whose mapped vector is shorter than this share of its centered features is the empty prompt, and the vector
rounding"""

logger = logging.getLogger(__name__)


class TextMap(nn.Module):
    """unit((features - center) · matrix); the identity, up to the length, until it is fitted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))
        self.center: Tensor
        self.matrix: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Return the unit vectors (N, d) of text features (N, d); zero for those of the empty prompt."""
        mapped, centered = self.project(features), features - self.center
        is_empty = mapped.norm(dim=-1, keepdim=True) < MIN_SHARE * centered.norm(dim=-1, keepdim=True)
        return functional.normalize(mapped, dim=-1).masked_fill(is_empty, 0.0)

    def project(self, features: Tensor) -> Tensor:
        """Return the vectors (N, d) of text features (N, d), of any length."""
        projected: Tensor = (features - self.center) @ self.matrix
        return projected

    def fit(self, features: Sequence[Tensor], empty: Tensor, mapping: TextMapping, shrinkage: float) -> None:
        """Fit the map to the caption features (n, d) of each training adapter and those of the empty prompt (d,).

        center: the mean over adapters of their mean feature. matrix, if `mapping` is `whiten`: the inverse square root
        of the mean covariance within adapters, of which the share `shrinkage` of its mean eigenvalue is added to its
        diagonal, followed by the projection that maps the empty prompt to zero. If no adapter has two different
        captions, there is nothing to whiten by, and a warning says so.
        """
        if mapping == "none":
            return
        means = torch.stack([rows.double().mean(0) for rows in features])
        self.center.copy_(means.mean(0))
        if mapping == "whiten":
            matrix = _whitening(features, means, shrinkage)
            direction = functional.normalize((empty.double().cpu() - means.mean(0)) @ matrix, dim=-1)
            self.matrix.copy_(matrix - torch.outer(matrix @ direction, direction))


def _whitening(features: Sequence[Tensor], means: Tensor, shrinkage: float) -> Tensor:
    """Return the symmetric matrix (d, d); its scale makes the mean eigenvalue of the shrunk covariance 1."""
    width = means.shape[1]
    within = torch.zeros(width, width, dtype=torch.float64)
    for rows, mean in zip(features, means, strict=True):
        residual = rows.double() - mean
        within += residual.T @ residual / len(rows)
    size = within.trace() / width
    if size <= 0:
        logger.warning(
            "no training adapter has two different captions: text features are centered, not whitened"
        )
        return torch.eye(width, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(within / size + shrinkage * torch.eye(width, dtype=torch.float64))
    matrix: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return matrix
