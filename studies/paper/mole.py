"""MoLE, Mixture of LoRA Experts (Wu et al., 2404.13628), for comparison only: it is trained for each set of adapters.

A block of the transformer, F(x), has one gate, which reads what each of N adapters alone changes in the outputs of the
block, E_i(x) = F_i(x) - F(x), and weights these changes:

    G(x) = softmax(Norm(mean E_1(x) ⊕ ... ⊕ mean E_N(x))ᵀ e / τ),    O(x) = F(x) + Σ_i G_i(x) E_i(x)

with trained e and temperature τ per block, and the L2 norm. The loss is L_D - α log Π_i q_i, where q_i is the mean of
G_i over the blocks and α = 0.5. At the start e is 0, so all weights are 1 / N; one adapter alone acts as its update.

What differs from the paper, and why:
* E_i is a difference. In Eq. 7 and 8 it contains the residual x, which Eq. 13 would then add twice.
* The gate reads the mean of E_i over text tokens and that over image tokens, not all tokens (Eq. 10), so that e fits
  every image size. For two adapters of FLUX.1-dev and images of 1024 px the paper's e has 3.2e9 numbers, this 1.4e6.
* L_D is the error of the velocity on the adapters' own images with their captions, which ZipLoRA learns from too. The
  paper's is CLIP's similarity of drawn images and the composed prompt, but the CLIP of params.yaml is a judge.
* 100 steps instead of 400, with a larger learning rate, since e is smaller.
The authors' code (yushuiwx/Mixture-of-LoRA-Experts) differs from their paper: a gate reads x instead of E_i, has no
temperature, and weights the updates of the linears in its block; the balancing loss has no gradient. The range of the
temperature is from that code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autolora.fusion.install import Attachment, find_linears, hooked
from autolora.fusion.slot_fusion import SlotFusion
from autolora.lora.factors import Lora
from autolora.lora.slots import hidden_size
from autolora.storage.hashes import hash_value
from autolora.storage.tensor_files import load_or_compute
from studies.paper.own_images import OwnImages
from studies.paper.world import World

STEPS, BATCH, LEARNING_RATE, BALANCE = 100, 1, 0.01, 0.5
"""the last is α"""
TEMPERATURES = (1.0, 3.0)
"""smallest and largest temperature"""
Outputs = Sequence[Tensor]
"""of a block: text tokens and image tokens, (B, L, d) each"""


class MixtureGates(nn.Module):
    """The gates of all blocks of a transformer."""

    def __init__(self, transformer: Any, adapters: int) -> None:
        super().__init__()
        blocks, width = len(find_blocks(transformer)), 2 * hidden_size(transformer.config)
        self.weight = nn.Parameter(torch.zeros(blocks, adapters * width, adapters))
        self.temperature = nn.Parameter(torch.ones(blocks))
        self.to(transformer.device)

    def forward(self, block: int, changes: Tensor) -> Tensor:
        """Return the weights of the adapters, (B, N) with sums 1, from their mean changes (B, N, 2 d)."""
        joined = F.normalize(changes.to(self.weight.dtype).flatten(1), dim=-1)
        weights: Tensor = (joined @ self.weight[block] / self.temperature[block]).softmax(-1)
        return weights


class Mixture:
    """Runs each block once more per adapter, and adds the changes that this makes, weighted by the block's gate."""

    def __init__(self, loras: Sequence[Lora], gates: MixtureGates) -> None:
        self._loras, self._gates = loras, gates
        self.acting: int | None = None
        """index of the adapter that acts in the current run of a block"""
        self.weights: dict[int, Tensor] = {}
        """block -> weights (B, N) of its last call"""

    def attach(self, transformer: Any) -> Attachment:
        """Let the adapters act; return what removes them. Errors as `fused`."""
        linears = find_linears(transformer, self._loras)
        additions = [([linear], ExpertUpdates(slot, self._loras, self)) for slot, linear in linears.items()]
        with hooked(transformer, additions) as attachment:
            for number, block in enumerate(find_blocks(transformer)):
                handle = block.register_forward_hook(self._hook(number), with_kwargs=True)
                attachment.callback(handle.remove)
            return attachment.pop_all()

    def _hook(self, number: int) -> Callable[..., Outputs]:
        """Return the forward hook of a block."""

        def mix(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], base: Outputs) -> Outputs:
            changes = []
            for adapter in range(len(self._loras)):
                self.acting = adapter
                adapted = block.forward(*args, **kwargs)  # not `block(...)`, which would call the hook
                changes.append([after - before for after, before in zip(adapted, base, strict=True)])
            self.acting = None
            pooled = [torch.cat([stream.mean(1) for stream in change], -1) for change in changes]
            self.weights[number] = self._gates(number, torch.stack(pooled, 1))
            return tuple(
                _mixed(self.weights[number], *streams) for streams in zip(base, *changes, strict=True)
            )

        return mix


class ExpertUpdates:
    """Adds the update of one slot by the adapter that acts in the current run of its block."""

    def __init__(self, slot: str, loras: Sequence[Lora], mixture: Mixture) -> None:
        self._mixture = mixture
        self._updates = {
            index: SlotFusion([(lora[slot], torch.ones(()))], gate=None)
            for index, lora in enumerate(loras)
            if slot in lora
        }

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output with the update, given the base output (..., d_out) for the input x (..., d_in)."""
        update = None if self._mixture.acting is None else self._updates.get(self._mixture.acting)
        return output if update is None else update(output, x)

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the updates on a device in a precision."""
        for update in self._updates.values():
            update.move(device, dtype)


class Mole:
    """Trains the gates of sets of adapters, once each, in cache/paper/mole: a `TrainedFusion`."""

    facts: Mapping[str, Any] = {"mole": [STEPS, BATCH, LEARNING_RATE, BALANCE, *TEMPERATURES]}

    def __init__(self, world: World) -> None:
        self._world, self._own_images = world, OwnImages(world)

    def attach(self, adapters: Sequence[str]) -> Attachment:
        """Let adapters act through their gates; errors as `TrainedFusion.attach`."""
        return Mixture(self._loras(adapters), self.gates(adapters)).attach(self._transformer)

    def gates(self, adapters: Sequence[str]) -> MixtureGates:
        """Return the trained gates of adapters (sha256); raises as `OwnImages.find`."""
        base, image_size = self._world.params.models, self._world.params.fusion.image_size
        made_from = [list(adapters), self.facts, image_size, asdict(base)]
        path = self._world.cache / "mole" / f"{hash_value(made_from)}.safetensors"
        stored = load_or_compute(path, lambda: self._fit(adapters).state_dict())
        gates = MixtureGates(self._transformer, len(adapters))
        gates.load_state_dict(stored)
        return gates.requires_grad_(False)

    @property
    def _transformer(self) -> Any:
        return self._world.generator.pipeline.transformer

    def _loras(self, adapters: Sequence[str]) -> list[Lora]:
        return [self._world.generator.load_lora(sha256) for sha256 in adapters]

    def _fit(self, adapters: Sequence[str]) -> MixtureGates:
        """Return the gates after the training."""
        own, examples = self._own_images, [self._own_images.find(sha256) for sha256 in adapters]
        gates = MixtureGates(self._transformer, len(adapters))
        mixture = Mixture(self._loras(adapters), gates)
        optimizer = torch.optim.Adam(gates.parameters(), lr=LEARNING_RATE)
        rng = torch.Generator().manual_seed(0)
        self._transformer.requires_grad_(False)
        with mixture.attach(self._transformer):
            for _ in range(STEPS):
                optimizer.zero_grad()
                for example in examples:
                    batch = own.sample(example, BATCH, rng)
                    error = F.mse_loss(own.velocity(batch), batch.velocity.float())
                    loss = error + BALANCE * imbalance([*mixture.weights.values()])
                    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
                optimizer.step()
                gates.temperature.data.clamp_(*TEMPERATURES)
        return gates


def find_blocks(transformer: Any) -> list[nn.Module]:
    """Return the blocks of a FluxTransformer2DModel, double blocks first."""
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


def imbalance(weights: Sequence[Tensor]) -> Tensor:
    """Return -log Π_i q_i of the weights (B, N) of the blocks: at least N log N, which it is if all q_i are equal."""
    return -torch.stack([*weights]).mean((0, 1)).log().sum()


def _mixed(weights: Tensor, base: Tensor, *changes: Tensor) -> Tensor:
    """Return F + Σ_i G_i E_i of one stream, (B, L, d)."""
    shares = weights.to(base.dtype)[..., None, None].unbind(1)
    return sum((share * change for share, change in zip(shares, changes, strict=True)), start=base)
