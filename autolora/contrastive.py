"""The symmetric contrastive loss of Eq. 3 over the cosines of Eq. 4, with a learned temperature."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

COLDEST, WARMEST = 0.01, 0.5


class Temperature(nn.Module):
    """tau of Eq. 3, learned in log space and clamped."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Tensor:
        """Return tau (scalar), from COLDEST to WARMEST."""
        return self.log.clamp(math.log(COLDEST), math.log(WARMEST)).exp()


def contrastive_loss(texts: Tensor, adapters: Tensor, temperature: Tensor, same: Tensor) -> Tensor:
    """Return the mean over both directions of Eq. 3's cross entropy.

    texts, adapters: unit vectors (N, d), row i of one belongs to row i of the other.
    same: (N, N) bool, pairs that are no negatives of each other, e.g. of one family; the diagonal is ignored.
    """
    scores = texts @ adapters.T / temperature
    off_diagonal = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(same & off_diagonal, -torch.inf)
    right = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)) / 2


def alike(*labels: Tensor) -> Tensor:
    """Return (N, N) bool: which pairs share any of the given labels (N,)."""
    found = labels[0][:, None] == labels[0][None]
    for label in labels[1:]:
        found = found | (label[:, None] == label[None])
    return found
