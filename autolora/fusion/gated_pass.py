"""One pass of all adapters of a slot through its gate, without gradients: Eq. 6-8 in few products and little memory.

What `Gate.forward` computes one adapter after the other, with tensors of full size, is here
* one product with the `down` of all adapters, u_i = s_i · x A_iᵀ, and one with their `up`, L_i = u_i B_iᵀ; adapters of
  lower rank are padded with zeros;
* the mean and variance of L_i from u_i, so without reading L_i: they are u_i · mean(B_i), and u_i C_i u_iᵀ with the
  covariance C_i (r, r) of the columns of B_i;
* one function of the elements, in chunks of tokens that fit into a processor's cache. Calls of a transformer like
  FLUX.1-dev's use it compiled.
"""

import logging
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.gate import EPS, Gate
from autolora.lora.factors import Factors

Scored = tuple[Factors, Tensor]
"""an adapter's update of one slot, and the adapter's relevance, () or (B,)"""

COMPILED_FROM = 2**20
"""numbers in the output of a call from which compiling is worth its time"""
CHUNK = 2**19
"""numbers of all adapters' updates in a chunk on a CPU: all intermediate results stay in its cache"""
COMPILED_CHUNK = 2**22
"""the same if compiled, without intermediate results: a larger one, since a compiled function takes longer to begin"""
DEVICE_CHUNK = 2**26
"""the same on other devices: large enough that they do not wait for the next call"""
Combine = Callable[..., Tensor]

logger = logging.getLogger(__name__)


class CompiledFunction:
    """Compiles a function at its first call, for all sizes of its tensors.

    Both forms give the same results up to rounding. Without a compiler the function itself is called, which the log
    says once.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._fast: Callable[..., Tensor] | None = None

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """Return what the function returns."""
        if self._fast is None:
            self._fast = torch.compile(self.function, dynamic=True)
        try:
            return self._fast(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            logger.warning(
                "the gates run without torch.compile, which fails here (%s): they need more time; install a C++ "
                "compiler, such as g++, and for a GPU Triton",
                str(error).strip().partition("\n")[0],
            )
            self._fast = self.function
            return self.function(*arguments)


def combine(
    base: Tensor, updates: Tensor, mean: Tensor, inverse: Tensor, offset: Tensor | None, coefficients: Tensor
) -> Tensor:
    """Return O = H + w_out ⊙ Σ_i G_i ⊙ L_i (Eq. 8), computed in the precision of the coefficients.

    base: H (n, d). updates: L_i (k, n, d), with mean and 1 / deviation (k, n, 1). offset: w_rel · s_i, (k, 1 or n, 1).
    coefficients: (5, d) of `Gate.coefficients`.
    """
    width, precision = base.shape[-1:], coefficients.dtype
    hidden = base.to(precision)
    constant = F.layer_norm(hidden, width, coefficients[1], coefficients[0], EPS)
    slope = F.layer_norm(hidden, width, coefficients[3], coefficients[2], EPS)
    updates = updates.to(precision)
    logits = torch.addcmul(constant, slope, (updates - mean).mul_(inverse))
    if offset is not None:
        logits.add_(offset)
    total = logits.sigmoid_().mul_(updates).sum(0)
    return torch.addcmul(hidden, coefficients[4], total).to(base.dtype)


def read_once(
    base: Tensor, updates: Tensor, mean: Tensor, inverse: Tensor, offset: Tensor | None, coefficients: Tensor
) -> Tensor:
    """Return a result without values for tensors without values: memory is read and written as in the compiled form."""
    return updates.sum(0).add_(base)


compiled_combine = CompiledFunction(combine)


class GatedPass:
    """All adapters of one slot and its frozen gate, on one device in one precision."""

    def __init__(
        self, scored: Sequence[Scored], gate: Gate, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.coefficients = gate.coefficients().to(device)
        precision = self.coefficients.dtype
        factors = [factors for factors, _ in scored]
        rank = max(update.rank for update in factors)
        down = [_padded(update.down.to(device, precision) * update.scale, rank) for update in factors]
        self.down = torch.cat(down).to(dtype)
        # each by itself: torch cannot join or pad tensors of 8-bit floats with others
        self.up = torch.stack([_padded(update.up.to(device, dtype).mT, rank) for update in factors])
        columns = self.up.to(precision)
        self.mean = columns.mean(-1, keepdim=True)
        centered = columns - self.mean
        self.covariance = centered @ centered.mT / columns.shape[-1]
        self.offset = _offset(gate, [relevance for _, relevance in scored], device, precision)

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the gated output, given the base output (..., d_out) for the input x (..., d_in)."""
        adapters, rank, width = self.up.shape
        base = output.reshape(-1, width)
        projected = F.linear(x.reshape(-1, x.shape[-1]), self.down).view(-1, adapters, rank).transpose(0, 1)
        mean, inverse = self._statistics(projected.to(self.mean.dtype))
        offset = self._offset_of(len(base), len(x))
        function, numbers = choose_combine(base)

        def run(rows: slice) -> Tensor:
            updates = torch.bmm(projected[:, rows], self.up)
            chosen = offset if offset is None or offset.shape[1] == 1 else offset[:, rows]
            return function(base[rows], updates, mean[:, rows], inverse[:, rows], chosen, self.coefficients)

        tokens = max(1, numbers // (adapters * width))
        if tokens >= len(base):
            return run(slice(None)).view(output.shape)
        result = torch.empty_like(base)
        for start in range(0, len(base), tokens):
            rows = slice(start, start + tokens)
            result[rows] = run(rows)
        return result.view(output.shape)

    def _statistics(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and 1 / deviation of the updates, (k, n, 1) each, from u (k, n, r)."""
        variance = (torch.bmm(projected, self.covariance) * projected).sum(-1, keepdim=True)
        return torch.bmm(projected, self.mean), variance.clamp_min_(0).add_(EPS).rsqrt_()

    def _offset_of(self, tokens: int, samples: int) -> Tensor | None:
        """Return w_rel · s_i for all tokens, (k, tokens, 1), or (k, 1, 1) if the samples do not differ."""
        if self.offset is None or self.offset.shape[1] == 1:
            return self.offset
        return self.offset.repeat_interleave(tokens // samples, dim=1)


def choose_combine(base: Tensor) -> tuple[Combine, int]:
    """Return `combine` or its compiled form for a call with base output (n, d), and the numbers in a chunk.

    On a CPU, compiling does not help in float32, since chunks are in its cache. A compiled transformer contains this
    pass as a whole.
    """
    if torch.compiler.is_compiling():
        return combine, sys.maxsize
    on_cpu = base.device.type == "cpu"
    if base.numel() < COMPILED_FROM or (on_cpu and base.dtype == torch.float32):
        return combine, CHUNK if on_cpu else DEVICE_CHUNK
    if base.is_meta:
        return read_once, DEVICE_CHUNK
    return compiled_combine, COMPILED_CHUNK if on_cpu else DEVICE_CHUNK


def _padded(factor: Tensor, rank: int) -> Tensor:
    """Return a factor (r, d) with further rows of zeros, (rank, d)."""
    return F.pad(factor, (0, 0, 0, rank - len(factor)))


def _offset(
    gate: Gate, relevance: Sequence[Tensor], device: torch.device, dtype: torch.dtype
) -> Tensor | None:
    """Return w_rel · s_i (k, 1 or B, 1), or None if the gate has no relevance term."""
    if gate.weight_relevance is None:
        return None
    samples = max(score.numel() for score in relevance)
    scores = torch.stack([score.reshape(-1).expand(samples) for score in relevance])
    return (gate.weight_relevance * scores.to(gate.weight_relevance))[..., None].to(device, dtype)
