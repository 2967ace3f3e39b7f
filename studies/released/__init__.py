"""What the code of the paper's authors does: its presets, and its files of encoders and gates.

The released code exists in several versions; the presets are those of the paper's own repository. Its encoder trains
for 2,000 steps with 32 pairs per step on each of 4 GPUs, its gates for 8,000 steps with 1 pair per step. Its command
trains the gate `no_base` with a global LoRA of rank 2; `gate: full` and `global_rank: 4` give the version in
DiffSynth-Studio, whose gates are published. Not followed: training in bfloat16; an error for an adapter without some
slot; ranking by the norm of the whole index (an index stores unit vectors); and captions that begin with a LoRA's
description.
"""
