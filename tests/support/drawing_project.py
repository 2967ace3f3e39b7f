"""A project that can draw: a tiny base model, pool, index and gates, and images of 32 px in 3 steps."""

from pathlib import Path

import yaml

from tests.support import small_root


def build_project(root: Path) -> Path:
    """Write the project into a folder and return it."""
    content = yaml.safe_load((small_root.REPOSITORY / "params.yaml").read_text())
    base = small_root.base(root)
    content["models"] |= {"threads": 1, "pipeline": base.pipeline, "vlm": base.pipeline}
    content["pool"] |= {"sketch_size": small_root.SKETCH_SIZE}
    content["generation"] |= {"width": 32, "height": 32, "steps": 3, "max_sequence_length": 8}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    small_root.build(root, base)
    return root
