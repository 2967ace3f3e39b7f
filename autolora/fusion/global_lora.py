"""The global LoRA: the best rank-r approximation of the sum of all adapters' updates (Eq. 9).

The sum is never formed: QR of the stacked factors leaves a core as small as the sum of the ranks, whose SVD gives the
exact optimum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from autolora.lora.factors import Factors


def global_update(updates: Sequence[Factors], rank: int) -> Factors | None:
    """Return SVD_r(Σ_i s_i B_i A_i) of the adapters' updates of one slot, as `truncated`; None if it is zero.

    Rank 0 gives None.
    """
    joint = truncated(updates, rank)
    return joint if joint.up.numel() and joint.up.any() else None


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
