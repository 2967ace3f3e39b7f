"""What is compared: forms of the gate, each trained for an objective by several recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from autolora.params import FusionParams, Params
from autolora.presets import Preset
from autolora.presets.fusion import FUSION, FusionVariant

Kept = Literal["lowest held-out loss", "last step"]
KEPT: tuple[Kept, ...] = ("lowest held-out loss", "last step")
MAX_ACTIVE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A form of the gate and what it is trained for."""

    preset: Preset
    changes: Mapping[str, Any]
    """fields that differ from the preset"""
    distilled: bool = False
    """trained by `studies.gates.distillation` instead of Eq. 10"""
    learning_rates: tuple[float, ...]
    """the recipes; none leaves the gates as they are at the start"""


RATES = (0.005, 0.001)
MANY = {"max_active": MAX_ACTIVE}
SCALAR = {"gate": "scalar"}
CELLS: Mapping[str, Cell] = {
    "untrained": Cell(preset="best", changes={}, learning_rates=()),
    "full, Eq. 10": Cell(preset="best", changes={}, learning_rates=RATES),
    "full, Eq. 10, 2-4 active": Cell(preset="best", changes=MANY, learning_rates=RATES),
    "full, distilled": Cell(preset="best", changes=MANY, distilled=True, learning_rates=RATES),
    "scalar, Eq. 10": Cell(preset="best", changes=SCALAR, learning_rates=RATES),
    "scalar, distilled": Cell(preset="best", changes=SCALAR | MANY, distilled=True, learning_rates=RATES),
    "paper, Eq. 10": Cell(preset="paper", changes={}, learning_rates=RATES),
}
"""name -> cell. `full` is Eq. 7 with the relevance term, `scalar` has b and w_out as one number per slot; both start as
the mask: open for a relevance of 1, closed for 0. `paper` is Eq. 7 as published, from random weights"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the gates of a cell are trained, and which step's gates are taken."""

    cell: str
    learning_rate: float | None
    kept: Kept

    @property
    def title(self) -> str:
        """Return the recipe in words."""
        return (
            "untrained"
            if self.learning_rate is None
            else f"learning rate {self.learning_rate:g}, {self.kept}"
        )


def recipes_of(cell: str) -> list[Recipe]:
    """Return the recipes among which one is chosen per cell."""
    rates = CELLS[cell].learning_rates
    if not rates:
        return [Recipe(cell=cell, learning_rate=None, kept="last step")]
    return [Recipe(cell=cell, learning_rate=rate, kept=kept) for rate in rates for kept in KEPT]


def params_of(params: Params, recipe: Recipe, seed: int) -> FusionParams:
    """Return the params of a training, of all steps: early stopping is what `kept` decides."""
    cell = CELLS[recipe.cell]
    variant: FusionVariant = replace(FUSION[cell.preset], **cell.changes)
    if recipe.learning_rate is not None:
        variant = replace(variant, learning_rate=recipe.learning_rate)
    if cell.distilled:  # the velocity to learn is that of generation
        variant = replace(variant, guidance=params.generation.guidance, flow_shift=None)
    section = params.fusion
    return replace(
        section,
        variant=variant,
        seed=seed,
        validate_every=section.validate_every or section.steps,
        patience=section.steps,
    )
