"""The stage `pool` of the repository of these tests: `python -m tests.integrity.pool_stage ENDPOINT`."""

import sys
from pathlib import Path

from autolora.params import load
from autolora.pool.recipe import ReadRecipe
from tests.lora.writing import CONFIG
from tests.pool.site import run_pool

if __name__ == "__main__":
    root = Path.cwd()
    run_pool(sys.argv[1], root, ReadRecipe.for_base_model(CONFIG, load(root / "params.yaml").pool))
