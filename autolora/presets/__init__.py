"""The presets `paper`, `released` and `best`: everything in which the variants of encoder and gates differ.

`paper` is the method as published, `released` is what the authors' code does, `best` is what measured best here.
A preset fixes architecture, loss, sampling and optimizer; `overrides` in params.yaml replaces single fields.
The seed stands in params.yaml for all presets, and so does the size of the gates' training.

Where the paper is silent (layers, heads, initial values, optimizer, noise levels), `paper` follows the released code,
with four exceptions: a learned temperature that starts at 0.07, as in CLIP; batches of distinct adapters; each layer's
own alpha; and masks for missing slots, because its LoRAs "have different structures".

The released code exists in several versions; `released` is the paper's own repository. Its encoder trains for 2,000
steps with 32 pairs per step on each of 4 GPUs, its gates for 8,000 steps with 1 pair per step. Its command trains the
gate `no_base` with a global LoRA of rank 2; the overrides `gate: full` and `global_rank: 4` give the version in
DiffSynth-Studio, whose gates are published. Not followed: training in bfloat16; an error for an adapter without some
slot; ranking by the norm of the whole index (an index stores unit vectors); and captions that begin with a LoRA's
description.
"""

from typing import Literal

Preset = Literal["paper", "released", "best"]
SlotView = Literal["canonical", "fused"]
Schedule = Literal["constant", "cosine"]
