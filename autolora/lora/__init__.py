"""LoRA files: read into canonical slots, accepted or refused with a reason code, and reduced to sketches."""
