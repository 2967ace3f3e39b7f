"""LoRA files: reading them into canonical slots, the verdict on each, and the sketch of its update."""
