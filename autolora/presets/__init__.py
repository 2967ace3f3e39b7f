"""The presets `paper` and `best`: everything in which the variants of encoder and gates differ.

`paper` is the method as published, `best` is what measured best here. A preset fixes architecture, loss, sampling and
optimizer; `overrides` in params.yaml replaces single fields. The seed stands in params.yaml for both presets, and so
does the size of the gates' training.

Where the paper is silent (layers, heads, initial values, optimizer, noise levels), `paper` follows its authors' code
(studies/released), with four exceptions: a learned temperature that starts at 0.07, as in CLIP; batches of distinct
adapters; each layer's own alpha; and masks for missing slots, because its LoRAs "have different structures".
"""

from typing import Literal

Preset = Literal["paper", "best"]
SlotView = Literal["canonical", "fused"]
