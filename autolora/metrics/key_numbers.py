"""The key numbers: the few of a stage's headline numbers that `dvc metrics diff` and `dvc exp show` compare.

Each stage that measures writes one flat file: DVC makes a column of every value in it, so that a file with intervals,
commands and dates, such as metrics/summary.json, gives tables that nobody can read.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline
from autolora.storage.files import write_atomic


def write_key_numbers(
    path: Path, headlines: Iterable[Headline], names: Collection[str], **counts: int
) -> None:
    """Write the values of the headline numbers with these names, without their area, and of `counts`.

    A name that no headline number has is left out: not every preset has all methods.
    """
    values: dict[str, float] = {
        headline.name.partition(".")[2]: headline.value for headline in headlines if headline.name in names
    }
    write_atomic(path, to_json(rounded(values | counts)))
