"""Copies of the content outside batches: sketches and thumbnails."""

from pathlib import Path

import pytest

from tests.flows.takedown.erasure import take_down
from tests.support.takedown_repo import IMAGES, INK, OWN


@pytest.mark.slow
def test_a_file_outside_of_batches_is_removed(root: Path) -> None:
    sketch = root / f"data/pool/open/sketches/{INK}.safetensors"
    served = root / f"cache/web_images/320/{OWN[:2]}/{OWN}.webp"
    for path in (sketch, served, served.with_name(f"{IMAGES[2]}.webp")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    take_down("civitai:7")
    assert not sketch.exists() and not served.exists()
    assert served.with_name(f"{IMAGES[2]}.webp").exists()
