"""`autolora retrain`: a candidate of a new training, over the pool as it is; an operator promotes it.

The day is written to params.yaml, from which the stages `dataset`, `encoder` and `index` follow. The hubs are not
asked. The gate refuses every new training with a comparison of both, and keeps the run as a branch.
"""

import argparse
from datetime import date

from autolora.errors import ParamsError
from autolora.local.project import set_values
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_lock
from flows import refresh
from flows.stage import ROOT, params, run


def set_until(day: date) -> None:
    """Write the day until which adapters are learned from to params.yaml. Raises ParamsError if it stands there."""
    if params().dataset.train_until == day:
        raise ParamsError(
            f"dataset.train_until is {day} already: give another day, or build what params.yaml says with "
            "`autolora refresh`"
        )
    path = ROOT / "params.yaml"
    write_atomic(path, set_values(path.read_text(), {"dataset.train_until": day.isoformat()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="autolora retrain", description="Build a candidate of a new training."
    )
    parser.add_argument("--until", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    arguments = parser.parse_args()
    with exclusive_lock(ROOT):
        set_until(arguments.until)
    run(refresh.refresh, guard=False, parse=False, with_crawl=False)
