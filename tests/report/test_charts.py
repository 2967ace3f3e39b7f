"""Charts from tables of estimates."""

from autolora.experiments import stage as experiments
from autolora.report.chart_text import METRICS, chart_text, metric_text
from autolora.report.charts import make_charts
from tests.support.report_root import METRICS as TEST_METRICS


def test_any_table_of_estimates_becomes_a_chart() -> None:
    row = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "clusters": 3}
    methods = {"new method": {"new metric": row, "count": 3}, "random": {"new metric": row | {"value": 0.1}}}
    difference = row | {"low": -0.75, "value": -0.5, "high": -0.25}
    report = {
        "levels": {
            "author": {"methods": methods, "differences": {"encoder − random": {"new metric": difference}}}
        },
        "queries": 9,
        "examples": [row],
    }
    (chart,) = make_charts(report)
    assert chart.path == ("levels", "author")
    assert chart_text(chart.path).title == "levels · author."
    assert chart.counts == (9, 3)
    (panel,) = chart.panels
    values, differences = panel.plots
    assert [line.name for line in values.lines] == ["new method", "random"]
    line = values.lines[0]
    assert (values.reference_at, values.reference, line.low_at, line.value_at) == (10.0, "chance", 25.0, 50.0)
    assert [(line.name, line.verdict) for line in differences.lines] == [("encoder − random", "worse")]
    assert (differences.reference_at, differences.reference) == (50.0, "zero")


def test_every_metric_of_the_stages_is_explained() -> None:
    metrics = {metric for names in TEST_METRICS.values() for metric in names}
    metrics |= {metric for _, metric in experiments.HEADLINES.values()}
    metrics |= {"R@1", "MRR", "VQAScore", "theme 1 shown", "theme shown"}
    assert all(metric_text(metric) for metric in metrics)
    assert {metric_text(metric) for metric in metrics} == set(METRICS.values())
    assert metric_text("adapter 1 similarity").startswith("CLIP")
    assert metric_text("theme 1 shown").startswith("classifier")
