"""The global LoRA: the best rank-r approximation of the sum of all adapters' updates (Eq. 9).

The sum is never formed. The Gram matrices of the stacked factors are as small as the sum of the ranks, and their
eigenvectors give the optimum. A set of adapters that returns needs no computation: the last ones are kept.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora

KEPT_SETS = 4
"""sets of adapters whose global LoRA is kept; of rank 4 it has 77 MB in FLUX.1-dev"""
NEGLIGIBLE = 1e-14
"""an eigenvalue below this share of the largest one is zero"""
MAX_BALANCE = 1e12
"""largest ratio of the norms of a rank's two factors that is balanced"""

AdapterKey = tuple[str, tuple[tuple[str, float], ...]]
"""sha256 of an adapter, and the slots that it changes with their scales, which contain its strength"""


class SetKey(NamedTuple):
    """What determines the global LoRA of a set of adapters."""

    adapters: frozenset[AdapterKey]
    rank: int
    fused: bool
    """of the fused slots instead of the canonical ones"""


class GlobalLoras:
    """The global LoRAs of the last sets of adapters, in float32 on the CPU."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sets: OrderedDict[SetKey, dict[str, Factors | None]] = OrderedDict()

    def slots_of(self, key: SetKey | None) -> dict[str, Factors | None]:
        """Return slot -> global LoRA of a set, empty if it is new: what the caller adds to it is kept.

        None stands for a set that is not kept.
        """
        if key is None:
            return {}
        slots = self._sets.setdefault(key, {})
        self._sets.move_to_end(key)
        if len(self._sets) > self._limit:
            self._sets.popitem(last=False)
        return slots

    def clear(self) -> None:
        """Forget all sets."""
        self._sets.clear()

    def __len__(self) -> int:
        return len(self._sets)


kept = GlobalLoras(KEPT_SETS)


def key_of(loras: Sequence[Lora], sha256: Sequence[str], rank: int, *, fused: bool) -> SetKey:
    """Return the key of a set of adapters, given what they change; their order does not matter."""
    adapters = frozenset(
        (key, tuple((slot, factors.scale) for slot, factors in lora.items()))
        for key, lora in zip(sha256, loras, strict=True)
    )
    return SetKey(adapters, rank, fused)


def global_update(updates: Sequence[Factors], rank: int) -> Factors | None:
    """Return SVD_r(Σ_i s_i B_i A_i) of the adapters' updates of one slot, as `truncated`; None if it is zero.

    Rank 0 gives None.
    """
    joint = truncated(updates, rank)
    return joint if joint.up.numel() and joint.up.any() else None


def truncated(updates: Sequence[Factors], rank: int) -> Factors:
    """Return the best approximation of a sum of updates with rank r <= `rank`.

    up (d_out, r), down (r, d_in), scale 1; products in float32 on the device of the updates, eigenvectors in float64
    on the CPU. The factors' Gram matrices have the squares of their singular values, so parts of the sum below 3e-4 of
    the largest one are resolved only roughly; of a squared error this is 1e-7.
    """
    up = torch.cat([update.up.float() for update in updates], dim=1)
    down = torch.cat([update.down.float() for update in updates], dim=0)
    scales = torch.tensor([update.scale for update in updates for _ in range(update.rank)], device=up.device)
    up_gram = scales[:, None] * (up.mT @ up) * scales  # cheaper than a scaled copy of `up`
    up_side, down_side = _project(up_gram, down @ down.mT, rank)
    return Factors(down=down_side.to(down) @ down, up=up @ (scales[:, None] * up_side.to(up)), scale=1.0)


def _project(up_gram: Tensor, down_gram: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return M (R, r) and N (r, R) for which U M N D is the best approximation of U D with rank r.

    up_gram: UᵀU, down_gram: D Dᵀ, both (R, R). With UᵀU = V Λ Vᵀ and Q = U V Λ^-½, which has orthonormal columns, U D
    is Q Λ^½ Vᵀ D. Its left singular vectors are Q W, with the eigenvectors W of Λ^½ Vᵀ D Dᵀ V Λ^½.
    """
    up_gram, down_gram = up_gram.double().cpu(), down_gram.double().cpu()
    ratio = down_gram.diagonal() / up_gram.diagonal()
    balance = (
        ratio.nan_to_num(1.0).clamp(1 / MAX_BALANCE, MAX_BALANCE).pow(0.25)
    )  # equal norms of both factors
    values, vectors = torch.linalg.eigh(balance[:, None] * up_gram * balance)
    nonzero = values > NEGLIGIBLE * values[-1]
    root = torch.where(nonzero, values, 0).sqrt()
    core = root[:, None] * vectors.mT / balance
    _, left = torch.linalg.eigh(core @ down_gram @ core.mT)
    left = left[:, -rank:] if rank else left[:, :0]
    inverse = torch.where(nonzero, 1 / root, 0)
    return balance[:, None] * vectors * inverse @ left, left.mT @ core
