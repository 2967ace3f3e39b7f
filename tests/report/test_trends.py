"""The small charts of pool size and recall over the releases."""

from dataclasses import replace

from autolora.refresh.history import Recall, Release
from autolora.report.trends import HEIGHT, PADDING, WIDTH, trends
from autolora.storage.git import Commit


def release(day: int, adapters: int, recall: float | None) -> Release:
    measured = None
    if recall is not None:
        measured = Recall(
            value=recall,
            low=recall - 0.1,
            high=recall + 0.1,
            chance=None,
            queries=9,
            level="theme",
        )
    commit = Commit("a" * 40, f"2026-01-0{day}T00:00:00Z", "refresh")
    return Release(
        commit=commit,
        tags=("v1", f"release/2026-01-0{day}"),
        index="d" * 64,
        adapters=adapters,
        recall=measured,
    )


def test_trends_need_two_releases_that_have_the_number() -> None:
    assert trends([]) == [] and trends([release(1, 5, 0.5)]) == []
    (size,) = trends([release(1, 5, None), release(2, 10, 0.5)])
    assert size.title == "adapters in the index"


def test_releases_of_those_who_wrote_the_repository_do_not_count() -> None:
    theirs, ours = [replace(release(day, 5, 0.5), tags=("v2",)) for day in (1, 2)], [release(3, 5, 0.5)]
    assert trends([*theirs, *ours]) == []
    assert [point.label for point in trends([*theirs, *ours, release(4, 6, 0.5)])[0].points] == [
        "2026-01-03",
        "2026-01-04",
    ]


def test_points_lie_between_zero_and_the_top() -> None:
    size, recall = trends([release(1, 5, 0.5), release(2, 10, None), release(3, 10, 1.0)])
    assert (size.first, size.last) == ("5", "10")
    assert [point.x for point in size.points] == [PADDING, WIDTH / 2, WIDTH - PADDING]
    assert [point.y for point in size.points] == [HEIGHT / 2, PADDING, PADDING]
    assert [point.label for point in recall.points] == ["2026-01-01", "2026-01-03"]
    assert recall.points[0].low_y > recall.points[0].y > recall.points[0].high_y
    assert (
        size.line == f"{PADDING:g},{HEIGHT / 2:g} {WIDTH / 2:g},{PADDING:g} {WIDTH - PADDING:g},{PADDING:g}"
    )
    assert recall.band.count(",") == 4
