"""The global LoRA: the best rank-r approximation of the sum of all adapters' updates (Eq. 9).

The sum is never formed: QR of the stacked factors leaves a core as small as the sum of the ranks, whose SVD gives the
exact optimum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora


def global_lora(loras: Sequence[Lora], rank: int) -> Lora:
    """Return SVD_r(Σ_i s_i B_i A_i) in every slot that at least one adapter changes.

    Slots in which the sum is zero are omitted. Rank 0 gives an empty LoRA.
    """
    names = dict.fromkeys(name for lora in loras for name in lora)
    sums = {name: truncated([lora[name] for lora in loras if name in lora], rank) for name in names}
    return {name: factors for name, factors in sums.items() if factors.up.numel() and factors.up.any()}


def truncated(updates: Sequence[Factors], rank: int) -> Factors:
    """Return the best approximation of a sum of updates with rank r <= `rank`.

    up (d_out, r), down (r, d_in), scale 1; computed in float32 on the device of the updates.
    """
    up = torch.cat([update.up.float() * update.scale for update in updates], dim=1)
    down = torch.cat([update.down.float() for update in updates], dim=0)
    up_basis, up_core = _qr(up)
    down_basis, down_core = _qr(down.T)
    left, values, right = torch.linalg.svd(up_core @ down_core.T, full_matrices=False)
    r = min(rank, len(values))
    return Factors(down=right[:r] @ down_basis.T, up=up_basis @ (left[:, :r] * values[:r]), scale=1.0)


def _qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    basis, core = torch.linalg.qr(matrix)
    return basis, core
