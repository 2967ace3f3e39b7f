"""The drawn world's palettes: each recolours a whole plain drawing without changing its shapes.

Every palette is an invertible affine map of (red, green, blue) in 0..1, which keeps different colours different.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from playground.pen import Colour

_GREY = np.array([0.3, 0.59, 0.11], np.float32)


@dataclass(frozen=True)
class Palette:
    """The map of a colour to black + grey * (white - black) + chroma * (colour - grey)."""

    black: Colour
    white: Colour
    chroma: tuple[float, float, float]

    def recolour(self, pixels: np.ndarray) -> np.ndarray:
        """Return the recoloured pixels (H, W, 3) of pixels in 0..1; the result may leave that range."""
        black, white = (np.array(c, np.float32) / 255 for c in (self.black, self.white))
        ramp = np.outer(_GREY, white - black)
        tint = (np.eye(3) - np.outer(_GREY, np.ones(3))) * np.array(self.chroma)
        return np.asarray(pixels @ (ramp + tint).astype(np.float32) + black)


PALETTES = {
    "pastel": Palette((188, 176, 196), (255, 252, 248), (0.42, 0.42, 0.42)),
    "negative": Palette((255, 255, 255), (0, 0, 0), (-1.0, -1.0, -1.0)),
    "moonlight": Palette((4, 8, 34), (120, 158, 214), (0.72, 0.66, 0.6)),
    "golden": Palette((66, 24, 0), (255, 216, 96), (0.55, 0.55, 0.45)),
}
