"""The symmetric contrastive loss of Eq. 3 over the cosines of Eq. 4, and their temperature."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

COLDEST, WARMEST = 0.01, 0.5


class Temperature(nn.Module):
    """tau of Eq. 3: fixed, or learned in log space and clamped."""

    def __init__(self, start: float, learned: bool = True) -> None:
        super().__init__()
        self.learned = learned
        self.log = nn.Parameter(torch.tensor(math.log(start)), requires_grad=learned)

    def forward(self) -> Tensor:
        """Return tau (scalar), where it is learned from COLDEST to WARMEST."""
        log = self.log.clamp(math.log(COLDEST), math.log(WARMEST)) if self.learned else self.log
        return log.exp()


def contrastive_loss(
    texts: Tensor, adapters: Tensor, temperature: Tensor, same: Tensor, factor: float = 0.5
) -> Tensor:
    """Return Eq. 3: the sum of both directions' cross entropies, times `factor` (the paper's 1, a mean's 0.5).

    texts, adapters: unit vectors (N, d), row i of one belongs to row i of the other.
    same: (N, N) bool, pairs that are no negatives of each other, e.g. of one family; the diagonal is ignored.
    """
    scores = texts @ adapters.T / temperature
    off_diagonal = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(same & off_diagonal, -torch.inf)
    right = torch.arange(len(scores), device=scores.device)
    both = functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)
    return factor * both


def alike(*labels: Tensor) -> Tensor:
    """Return (N, N) bool: which pairs share any of the given labels (N,)."""
    found = labels[0][:, None] == labels[0][None]
    for label in labels[1:]:
        found = found | (label[:, None] == label[None])
    return found
