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


def contrastive_loss(texts: Tensor, adapters: Tensor, temperature: Tensor, factor: float = 1.0) -> Tensor:
    """Return Eq. 3: the cross entropy over adapters plus that over texts, times `factor` (1 in the paper).

    texts, adapters: unit vectors (N, d); row i of one is the positive of row i of the other.
    """
    scores = texts @ adapters.T / temperature
    positives = torch.arange(len(scores), device=scores.device)
    both = functional.cross_entropy(scores, positives) + functional.cross_entropy(scores.T, positives)
    return factor * both
