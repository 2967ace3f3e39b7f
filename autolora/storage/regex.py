"""Regular expressions from untrusted files, matched in linear time by RE2, which Arrow contains.

Python's `re` backtracks: matching a hostile expression could take years.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def find_matching(expression: str, texts: Sequence[str]) -> list[int]:
    """Return the positions of the texts that an expression in RE2's syntax matches somewhere, in order.

    Raises ValueError if RE2 does not support the expression.
    """
    matches = pc.match_substring_regex(pa.array(texts, pa.string()), expression)
    return [position for position, is_match in enumerate(matches.to_pylist()) if is_match]
