"""The numbers in the rules of fusion, as params.yaml has them."""

from pathlib import Path

from autolora.params import load

RULES = load(Path(__file__).parents[2] / "params.yaml").generation.rules
