"""Files with known updates in every layout, with FLUX.1-dev's real sizes and with a tiny FLUX.

Each slot's B·A must match the known update to 1e-5 of its largest entry. The tiny FLUX is compared entry by entry;
at real sizes, 64 rows are compared by entry and the whole update by the norm of the difference, from the factors.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.lora.formats import LAYOUTS, find_module, parse_key
from autolora.lora.read import read
from autolora.lora.scales import METADATA_KEY
from tests.lora.known_updates import BASES, assert_close, draw, unscaled
from tests.lora.layout_cases import CASES
from tests.lora.writing import BOUNDS, lay_out, write

MATRIX = [(case, base) for case in CASES for base in BASES]


@pytest.mark.parametrize(("name", "base"), MATRIX, ids=[f"{case} / {base}" for case, base in MATRIX])
def test_updates_are_read_as_written(tmp_path: Path, name: str, base: str) -> None:
    case, (known, fused) = CASES[name], BASES[base]
    expected = draw(case, fused)
    written = expected if case.metadata is None else unscaled(expected)
    tensors = case.change(lay_out(written, case.key_format, fused))
    metadata = {METADATA_KEY: json.dumps(case.metadata(expected))} if case.metadata else None
    reading = read(write(tmp_path / "l.safetensors", tensors, metadata), known, replace(BOUNDS, max_rank=256))
    assert (reading.layout, reading.ignored_keys, reading.warnings) == (
        case.layout,
        case.ignored_keys,
        case.warnings,
    )
    assert reading.keys_seen == len(tensors)
    assert reading.keys_used == len(tensors) - len([key for key in tensors if tensors[key].shape == (2, 2)])
    assert_close(reading.lora, expected, base)


def test_every_layout_has_a_case() -> None:
    assert {case.layout for case in CASES.values()} == {layout for layout, *_ in LAYOUTS}


def test_every_layout_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "howto" / "layouts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| `(\S+)` \|", text, flags=re.MULTILINE)
    assert {layout for layout, _ in rows} == {layout for layout, *_ in LAYOUTS}
    for layout, key in rows:
        part = parse_key(key)
        module = find_module(part.path, part.style) if part else None
        assert module is not None and module.layout == layout, key
