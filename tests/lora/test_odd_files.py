"""Odd and hostile files are accepted or refused as they should be, each by the truth of how it was made."""

from pathlib import Path

import pytest

from tests.lora.odd_files import KINDS, draw, judge

UNSEEN = 1000
"""seeds that nothing but `make soak` runs: the reader was developed on the first of each kind"""


@pytest.mark.long(full=len(KINDS) + UNSEEN, sample=len(KINDS))
def test_verdict_is_the_truth(tmp_path: Path, seed: int) -> None:
    odd = draw(tmp_path, seed)
    assert judge(odd) is None, f"{odd.kind}, {odd.path.name}"
