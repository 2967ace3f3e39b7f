"""The global LoRA: the best rank-r approximation of all adapters' summed update (Eq. 9).

The sum is never formed: QR of the stacked factors leaves a core as small as the sum of their ranks, whose SVD
gives the exact optimum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora


def global_lora(loras: Sequence[Lora], rank: int) -> Lora:
    """Return SVD_r(Σ s_i B_i A_i) in every slot that any of the adapters has.

    Slots in which the sum vanishes are not in it. rank 0 gives an empty LoRA.
    """
    names = dict.fromkeys(name for lora in loras for name in lora)
    found = {name: truncated([lora[name] for lora in loras if name in lora], rank) for name in names}
    return {name: factors for name, factors in found.items() if factors.up.numel() and factors.up.any()}


def truncated(parts: Sequence[Factors], rank: int) -> Factors:
    """Return the best approximation, of rank `rank` or less, of a sum of updates.

    up (d_out, r), down (r, d_in), scale 1; computed in float32 on the device of the parts.
    """
    up = torch.cat([part.up.float() * part.scale for part in parts], dim=1)
    down = torch.cat([part.down.float() for part in parts], dim=0)
    up_basis, up_core = _qr(up)
    down_basis, down_core = _qr(down.T)
    left, values, right = torch.linalg.svd(up_core @ down_core.T, full_matrices=False)
    kept = min(rank, len(values))
    return Factors(
        down=right[:kept] @ down_basis.T, up=up_basis @ (left[:, :kept] * values[:kept]), scale=1.0
    )


def _qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    basis, core = torch.linalg.qr(matrix)
    return basis, core
