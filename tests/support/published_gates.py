"""Gates as files in the layout of the authors' code, which only tests write."""

from pathlib import Path

from safetensors.torch import save_file

from autolora.fusion.gate import Gates


def save_published(gates: Gates, path: Path) -> None:
    """Write gates per dimension, on fused slots and without a relevance term, in their own precision."""
    save_file({name: tensor.detach().contiguous() for name, tensor in gates.state_dict().items()}, path)
