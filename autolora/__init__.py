"""AutoLoRA: retrieve FLUX LoRAs by their weights, fuse them through gates, keep the pool fresh."""

__version__ = "0.1.0"
