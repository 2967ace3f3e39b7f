"""The symmetric contrastive loss of Eq. 3 over the cosines of Eq. 4, and its temperature."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 0.5
"""bounds of a learned temperature"""


class Temperature(nn.Module):
    """tau of Eq. 3: fixed, or learned in log space within MIN_TEMPERATURE and MAX_TEMPERATURE."""

    def __init__(self, initial: float, learned: bool = True) -> None:
        super().__init__()
        self.learned = learned
        self.log = nn.Parameter(torch.tensor(math.log(initial)), requires_grad=learned)

    def forward(self) -> Tensor:
        """Return tau, a scalar; a fixed one is not clamped."""
        log = (
            self.log.clamp(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)) if self.learned else self.log
        )
        return log.exp()


def contrastive_loss(
    texts: Tensor, adapters: Tensor, temperature: Tensor, ignore_pairs: Tensor, factor: float = 0.5
) -> Tensor:
    """Return Eq. 3: the cross entropy over adapters plus that over texts, times `factor` (1 in the paper).

    texts, adapters: unit vectors (N, d); row i of one is the positive of row i of the other.
    ignore_pairs: (N, N) bool, pairs that are not negatives, e.g. of one family; its diagonal is ignored.
    """
    scores = texts @ adapters.T / temperature
    off_diagonal = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(ignore_pairs & off_diagonal, -torch.inf)
    positives = torch.arange(len(scores), device=scores.device)
    both = functional.cross_entropy(scores, positives) + functional.cross_entropy(scores.T, positives)
    return factor * both


def shares_label(*labels: Tensor) -> Tensor:
    """Return (N, N) bool: which pairs are equal in at least one of the given labels (N,)."""
    shared = labels[0][:, None] == labels[0][None]
    for label in labels[1:]:
        shared = shared | (label[:, None] == label[None])
    return shared
