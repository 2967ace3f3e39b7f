"""The gate beside its checks: what it compares with, and what happens if that is lost or damaged."""

import datetime
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.errors import AutoLoraError, MismatchError, ParamsError
from autolora.index.served import copies_folder, open_copy_of, release, served_digest, served_path
from autolora.index.store import content_digest
from autolora.releases.checks import ALL_HUBS, GATE, read_decisions, record
from autolora.releases.gate import judge, judge_former
from autolora.releases.pin import Pin, read_pin, write_pin
from autolora.releases.queries import QUERIES_FILE
from autolora.releases.rollback import lift, roll_back
from autolora.search.retriever import Retriever
from autolora.storage.files import write_atomic
from autolora.storage.incremental import write_digest
from autolora.text_encoder.clip import load_numpy_text_encoder
from tests.support.healthy import HEALTHY, finish
from tests.support.nights import QUERIES, Delivery, Nights
from tests.support.poisons import POISONS, withdraw_all

pytestmark = pytest.mark.slow

ROWS = "data/pool/adapters.jsonl"
QUIET = Delivery(size=6, withdrawn=0)


def names(bed: Nights) -> set[str]:
    """Return the names of the checks because of which the last decision refused."""
    return {check.name for check in read_decisions(bed.root)[-1].refusals}


def commit(root: Path) -> None:
    """Commit the history of the gate."""
    for command in (
        ["init", "-q"],
        ["add", str(GATE)],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)


def test_the_first_release_is_compared_with_nothing(bed: Nights) -> None:
    first = read_decisions(bed.root)[0]
    assert first.former is None and first.verdict == "promoted"
    assert {"score changes", "adapters lost"}.isdisjoint(check.name for check in first.checks)
    assert "evidence that follows from no weights, captions and texts" in {
        check.name for check in first.checks
    }


def test_without_cache_served_the_last_promoted_index_is_compared(bed: Nights) -> None:
    served = served_digest(bed.root)
    served_path(bed.root).unlink()
    decision = bed.refresh(QUIET)
    assert decision.former == served and decision.verdict == "promoted"


def test_without_copies_the_served_index_is_read_from_an_older_version_of_the_working_one(
    bed: Nights,
) -> None:
    shutil.rmtree(copies_folder(bed.root))
    decision = bed.refresh(QUIET)
    assert decision.verdict == "promoted" and "score changes" in {check.name for check in decision.checks}


def test_without_copies_versions_and_tags_nothing_can_be_compared_and_the_index_is_refused(
    bed: Nights,
) -> None:
    shutil.rmtree(copies_folder(bed.root))
    shutil.rmtree(bed.root / "data/index")
    decision = bed.refresh(QUIET)
    assert [check.name for check in decision.refusals] == ["served index missing"]
    assert "has no copy in cache/index" in decision.refusals[0].detail


def test_a_damaged_copy_of_the_served_index_is_compared_with_nothing(bed: Nights) -> None:
    path = copies_folder(bed.root) / str(served_digest(bed.root)) / "weights_vectors.npy"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    assert [check.name for check in bed.refresh(QUIET).refusals] == ["served index missing"]


def test_a_damaged_history_promotes_nothing(bed: Nights) -> None:
    served = served_digest(bed.root)
    (bed.root / GATE).write_text("{}\n")
    with pytest.raises(MismatchError, match="git checkout"):
        bed.refresh(QUIET)
    assert served_digest(bed.root) == served


def test_a_deleted_history_is_restored_from_git(bed: Nights) -> None:
    before = read_decisions(bed.root)
    commit(bed.root)
    (bed.root / GATE).unlink()
    bed.refresh(QUIET)
    assert read_decisions(bed.root)[:-1] == before


def test_a_clock_that_was_set_back_changes_no_decision(bed: Nights) -> None:
    HEALTHY["an ordinary night"](bed)
    digest, outcomes = content_digest(bed.root), bed.outcomes()
    days = (bed.today, datetime.date(1970, 1, 1))
    made = [judge(bed.root, digest, bed.params, outcomes, day) for day in days]
    assert made[0] == replace(made[1], day=bed.today) and made[0].verdict == "promoted"


def test_hubs_dropped_from_the_params_are_no_reason_to_lose_adapters(bed: Nights) -> None:
    bed.deliver(QUIET)
    bed.files = {key: item for key, item in bed.files.items() if item.listing.hub == "civitai"}
    finish(bed)
    decision = bed.judge()
    check = next(check for check in decision.refusals if check.name == "adapters lost without a reason")
    assert check.value > 3 and "and" in check.detail


def test_adapters_that_are_read_by_another_recipe_are_compared_by_an_operator(bed: Nights) -> None:
    bed.deliver(QUIET)
    bed.write()
    recipe = "f" * 64
    rows = [json.loads(line) | {"recipe": recipe} for line in (bed.root / ROWS).read_text().splitlines()]
    (bed.root / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_digest(bed.root, "pool", {}, 1, recipe=recipe)
    bed.run_stages()
    check = next(check for check in bed.judge().refusals if check.name == "adapters read again")
    assert 0 < check.value < len(bed.accepted) and "versions promote" in check.detail


def test_an_index_without_adapters_is_refused_and_the_next_one_is_no_new_training(bed: Nights) -> None:
    withdraw_all(bed, replace(QUIET, size=0))
    finish(bed)
    assert bed.judge().verdict == "refused" and names(bed) == {"index without any adapter"}
    record(bed.root, replace(read_decisions(bed.root)[-1], verdict="promoted by hand"))
    release(bed.root, content_digest(bed.root))
    assert bed.refresh(Delivery(size=20)).verdict == "promoted"


def test_a_pinned_release_stays(bed: Nights) -> None:
    served = served_digest(bed.root)
    write_pin(bed.root, Pin(release="release/2026-01-01", day="2026-01-02", reason="bad hats"))
    decision = bed.refresh(QUIET)
    assert (decision.verdict, decision.refusals) == ("pinned", []) and "bad hats" in decision.reason
    assert served_digest(bed.root) == served
    next(poison for poison in POISONS if poison.name == "NaN in texts' vectors").night(bed)
    assert bed.judge().verdict == "refused"


def test_lifting_the_pin_serves_the_newest_index_that_has_passed(bed: Nights) -> None:
    first = str(served_digest(bed.root))
    assert bed.refresh(QUIET).verdict == "promoted"
    write_pin(bed.root, Pin(release="release/2026-01-01", day="2026-01-02", reason="bad hats"))
    release(bed.root, first)
    promoted = read_decisions(bed.root)[-1].index
    assert lift(bed.root, bed.today) == read_decisions(bed.root)[-1] and served_digest(bed.root) == promoted
    assert lift(bed.root, bed.today) is None and read_pin(bed.root) is None
    write_pin(bed.root, Pin(release="release/2026-01-01", day="2026-01-02", reason="bad hats"))
    pinned = bed.refresh(QUIET)
    assert pinned.verdict == "pinned" and served_digest(bed.root) == promoted
    lift(bed.root, bed.today)
    assert served_digest(bed.root) == pinned.index
    assert bed.refresh(QUIET).former == pinned.index


def test_pinned_queries_are_counted_as_searches_find_them(bed: Nights) -> None:
    HEALTHY["an ordinary night"](bed)
    index = open_copy_of(bed.root, content_digest(bed.root))
    encoder = load_numpy_text_encoder(bed.root, bed.params.models, index.tokenizers)
    searched = Retriever(index, encoder, bed.params)
    first = Counter(hit.sha256 for query in QUERIES for hit in searched.search(query, 1))
    newcomers = {item.sha256 for item in bed.newcomers}
    checks = [check for check in bed.judge().checks if check.name == "pinned queries won"]
    (all_hubs,) = [check for check in checks if check.hub == ALL_HUBS] or checks
    assert (all_hubs.value, all_hubs.trials) == (
        sum(first[sha256] for sha256 in newcomers),
        len(QUERIES),
    )
    by_weights = np.argmax(index.text_map.apply(encoder.encode(QUERIES)) @ index.weights_directions.T, axis=1)
    assert [index.rows[row]["sha256"] for row in by_weights] != [
        hit.sha256 for query in QUERIES for hit in searched.search(query, 1)
    ], "the space of the weights ranks otherwise"


def test_a_former_release_is_checked_by_itself(bed: Nights) -> None:
    index = open_copy_of(bed.root, str(served_digest(bed.root)))
    assert judge_former(bed.root, index, "why", bed.today).verdict == "promoted by hand"
    bed.take_down(bed.accepted[0])
    bed.write()
    assert judge_former(bed.root, index, "why", bed.today).verdict == "refused"


def test_a_rollback_to_what_was_taken_down_is_refused_and_pins_nothing(
    bed: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_copy_of(bed.root, str(served_digest(bed.root)))
    monkeypatch.setattr("autolora.releases.rollback.open_index", lambda root, rev: index)
    bed.take_down(bed.accepted[0])
    bed.write()
    with pytest.raises(MismatchError, match="taken down"):
        roll_back(bed.root, "release/x", "why", bed.today)
    assert not (bed.root / "cache/pin.json").exists()


@pytest.mark.parametrize("text", ["", "# a comment\n\n"])
def test_without_pinned_queries_nothing_is_promoted(bed: Nights, text: str) -> None:
    write_atomic(bed.root / QUERIES_FILE, text)
    with pytest.raises(ParamsError, match="one per line"):
        bed.refresh(QUIET)


def test_other_pinned_queries_are_asked_of_both_indexes(bed: Nights) -> None:
    write_atomic(bed.root / QUERIES_FILE, "".join(f"{query} at night\n" for query in QUERIES))
    assert bed.refresh(QUIET).verdict == "promoted"


def test_a_text_encoder_that_is_gone_is_an_error(bed: Nights) -> None:
    bed.deliver(QUIET)
    finish(bed)
    shutil.rmtree(bed.root / "pipeline/text_encoder")
    with pytest.raises(AutoLoraError, match="text_encoder"):
        bed.judge()
