"""Records the mean gates of an image while a pipeline draws it: no pass of the transformer is added.

The gates are computed a second time for at most 64 tokens of each slot, evenly spaced, so that recording does
not depend on how a pass computes them and changes no bit of an image. Of the 4,608 tokens of FLUX.1-dev at 1024 px
these are 1.4 %; the means stay on the device until the image is finished.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autolora.fusion.gate_means import GLOBAL, GateMeans, join_steps
from autolora.fusion.slot_fusion import SlotFusion


class GateRecorder:
    """Collects the means of the gates of one image, or of several images of one prompt."""

    def __init__(self, transformer: Mapping[str, Any]) -> None:
        """transformer: config of the FluxTransformer2DModel."""
        self._double_blocks = int(transformer["num_layers"])
        self._blocks = self._double_blocks + int(transformer["num_single_layers"])
        self._adapters: tuple[str, ...] = ()
        self._cells: list[tuple[int, int]] = []
        """adapter and block of each mean of the current step"""
        self._means: list[Tensor] = []
        self._steps: list[tuple[int, list[tuple[int, int]], Tensor]] = []
        """number of a step, counted from 1, and its cells and means; several of one step are averaged"""

    def begin(self, adapters: Sequence[str]) -> None:
        """Note which adapters (k,) act, as sha256, in the order of the indices that `watch` gets."""
        self._adapters = tuple(adapters)

    def watch(self, fusion: SlotFusion, slot: str, adapters: Sequence[int]) -> "RecordedFusion":
        """Return a fusion of a slot, canonical or fused, that records its gates.

        adapters: indices of those that change the slot; a further gate is that of the global LoRA.
        """
        stack, number, _ = slot.split(".", 2)
        block = int(number) + (self._double_blocks if stack.startswith("single") else 0)
        rows = (*adapters, len(self._adapters))
        return RecordedFusion(fusion, self, [(row, block) for row in rows])

    def add(self, cells: Sequence[tuple[int, int]], means: Tensor) -> None:
        """Add means (n,) of gates to the current step, with the adapter and block of each."""
        self._cells += cells[: len(means)]
        self._means.append(means)

    def end_step(self, step: int) -> None:
        """Close a step, counted from 1; call it after each denoising step of each batch of images."""
        if self._means:
            device = self._means[0].device
            means = torch.cat([means.to(device) for means in self._means])
            self._steps.append((step, self._cells, means))
        self._cells, self._means = [], []

    def result(self) -> GateMeans | None:
        """Return the means over the slots of each block; None if no gate was used."""
        if not self._steps:
            return None
        has_global = any(row == len(self._adapters) for _, cells, _ in self._steps for row, _ in cells)
        rows, steps = len(self._adapters) + has_global, max(step for step, *_ in self._steps)
        sums, counts = np.zeros((2, rows, self._blocks, steps), np.float64)
        for step, cells, means in self._steps:
            position = (*np.transpose(cells), step - 1)
            np.add.at(sums, position, means.double().cpu().numpy())
            np.add.at(counts, position, 1)
        values = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        return GateMeans(
            adapters=(*self._adapters, GLOBAL)[:rows],
            double_blocks=self._double_blocks,
            steps=steps,
            values=join_steps(values.astype(np.float32)),
        )


class RecordedFusion:
    """The fusion of one slot, whose gates are recorded."""

    def __init__(self, fusion: SlotFusion, recorder: GateRecorder, cells: Sequence[tuple[int, int]]) -> None:
        """cells: adapter and block of each gate of the slot."""
        self._fusion, self._recorder, self._cells = fusion, recorder, cells

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the fused output as SlotFusion does, and record the means of its gates."""
        self._recorder.add(self._cells, self._fusion.gate_means(output, x))
        return self._fusion(output, x)

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the fusion on a device in a precision."""
        self._fusion.move(device, dtype)
