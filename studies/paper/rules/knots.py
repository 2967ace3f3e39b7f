"""knots, knots_released: TIES in a common basis of the updates of a slot (KnOTS).

Source: Stoica et al., Model merging with SVD to tie the Knots (ICLR 2025, 2410.19735), Figure 1: the SVD of the updates
side by side, [ΔW_1 … ΔW_k] = U Σ [V_1 … V_k]ᵀ, gives coordinates V_i of the updates; they are merged by TIES, and
U Σ V_mergedᵀ is the update. In the authors' code (github.com/gstoica27/KnOTS, `SVDMerger`) the merged coordinates are
Σ V_iᵀ, of which other values are trimmed: `knots_released`. Both trim over all slots together. The scale of the result,
0.6 in their ViT-B/32 configuration, is the adapters' strength.

The updates are never formed: with QR of the factors the SVD is that of a matrix as small as the sum of the ranks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autolora.fusion.install import Attachment, execution_device, find_linears, fused
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Factors
from studies.paper.rules.trimming import merge_trimmed, smallest_kept

MIN_SHARE = 1e-6
"""singular values below this share of the largest are zero to single precision; the authors drop those below 1e-5"""


@dataclass(frozen=True, slots=True, eq=False)
class CommonBasis:
    """The updates of one slot in a common basis: ΔW_i = left · coordinates_i."""

    left: Tensor
    """(d_out, r): U Σ, or U if the coordinates contain Σ"""
    coordinates: Mapping[str, Tensor]
    """sha256 -> (r, d_in)"""


@dataclass(frozen=True, slots=True)
class Knots:
    """Merges the coordinates of updates by TIES."""

    density: float
    """share of the coordinates that is kept"""
    scaled: bool
    """the coordinates are Σ Vᵀ, not Vᵀ"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act as their merged update, of a rank up to the sum of theirs; errors as `fused`."""
        transformer = pipeline.transformer
        linears = find_linears(transformer, [adapter.lora for adapter in adapters])
        bases = {
            name: find_basis(adapters, name, execution_device(transformer, linear), scaled=self.scaled)
            for name, linear in linears.items()
        }
        thresholds = {a.sha256: self._threshold(a.sha256, bases.values()) for a in adapters}
        merged = {name: _merge(basis, thresholds) for name, basis in bases.items()}
        return fused(transformer, [merged])

    def _threshold(self, sha256: str, bases: Iterable[CommonBasis]) -> float:
        """Return the smallest magnitude in an adapter's coordinates that is kept."""
        own = [basis.coordinates[sha256] for basis in bases if sha256 in basis.coordinates]
        return smallest_kept(lambda: own, self.density)


def find_basis(adapters: Sequence[Adapter], slot: str, device: torch.device, *, scaled: bool) -> CommonBasis:
    """Return the updates of a slot in their common basis, in float32; scaled: whether the coordinates contain Σ."""
    updates = {a.sha256: a.lora[slot] for a in adapters if slot in a.lora}
    ups = [factors.up.to(device).double() * factors.scale for factors in updates.values()]
    left_basis, left_core = _qr(torch.cat(ups, dim=1))
    rights = [_qr(factors.down.to(device).double().T) for factors in updates.values()]
    right_cores = [right_core.T for _, right_core in rights]
    core = left_core @ torch.block_diag(*right_cores)  # type: ignore[no-untyped-call]  # torch's own
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    kept = values > MIN_SHARE * values.max()
    left, values, right = left[:, kept], values[kept], right[kept]
    if scaled:
        right = values[:, None] * right
    else:
        left = left * values
    parts = torch.split(right, [right_core.shape[0] for _, right_core in rights], dim=1)
    coordinates = {
        sha256: (part @ basis.T).float()
        for sha256, part, (basis, _) in zip(updates, parts, rights, strict=True)
    }
    return CommonBasis((left_basis @ left).float(), coordinates)


def _merge(basis: CommonBasis, thresholds: Mapping[str, float]) -> Factors:
    """Return the merged update of a slot."""
    coordinates = merge_trimmed(
        list(basis.coordinates.values()), [thresholds[sha256] for sha256 in basis.coordinates]
    )
    return Factors(down=coordinates, up=basis.left, scale=1.0)


def _qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    basis, core = torch.linalg.qr(matrix)
    return basis, core
