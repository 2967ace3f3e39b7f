"""The answers of bench.sealed and their tables: selections, levels, intervals, and all rows on a small repository."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora import models
from autolora.concepts.store import Concept, Concepts
from autolora.dataset import store as dataset
from autolora.params import EvaluationParams
from bench.encoders import CachingTextEncoder
from bench.sealed_answers import HELD_OUT, UNSEEN, Answer, _judge, chance, to_outcome
from bench.sealed_methods import HYBRID, WEIGHTS, MethodMaker, for_prompt
from bench.sealed_pool import SealedLora, SealedPool, SealedPrompt
from bench.sealed_rows import SealedRows
from bench.sealed_tables import Margins, above, mislabelled, nothing_fits, resample, to_markdown
from bench.selection import Result
from bench.selection_cases import Case
from tests.support import small_root
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1,), bootstrap=100, seed=0, themes=None)
NAMES = ("cat", "neon", "cat + neon", "clay")
CAT_IN_NEON = frozenset({"cat", "neon", "cat + neon"})


def prompt(kind: str, themes: frozenset[str], subject: str = "cat", *images: str) -> SealedPrompt:
    """Return a prompt whose text tells its kind and subject."""
    return SealedPrompt(f"{kind} {subject}", kind, subject, themes, images, frozenset(images))


def result(*used: str) -> Result:
    """Return a selection of LoRAs of these themes."""
    return Result(Case("", "", frozenset(), ""), (*used, "clay"), (0.9,) * len(used) + (0.1,), len(used))


@pytest.mark.parametrize(
    ("used", "all_found", "exact"),
    [
        (("cat", "neon"), 1.0, 1.0),
        (("cat + neon",), 1.0, 1.0),
        (("cat + neon", "clay"), 1.0, 0.0),
        (("cat",), 0.0, 0.0),
        ((), 0.0, 0.0),
    ],
)
def test_a_selection_is_judged_by_the_parts_of_mixtures(
    used: tuple[str, ...], all_found: float, exact: float
) -> None:
    row = _judge(prompt("described 2", CAT_IN_NEON), np.array([0, 1, 0, 0.5]), result(*used), NAMES, {"clay"})
    assert (row.right, row.all_found, row.exact, row.none) == (1.0, all_found, exact, float(not used))
    assert np.isnan(row.right_held_out) and row.confidence == (0.9 if used else 0.1)


def test_ties_count_against_a_method_and_nothing_is_right_if_nothing_fits() -> None:
    asked, scores = prompt("described 1", frozenset({"clay"})), np.array([0.5, 0, 0, 0.5])
    row = _judge(asked, scores, None, NAMES, {"clay"})
    assert (row.right, row.right_held_out, row.confidence) == (0.0, 0.0, 0.5) and np.isnan(row.exact)
    nothing = _judge(prompt("unknown", frozenset()), scores, result(), NAMES, {"clay"})
    assert np.isnan(nothing.right) and np.isnan(nothing.all_found) and (nothing.exact, nothing.none) == (1, 1)


def test_chance_and_levels() -> None:
    prompts = [
        prompt("described 1", frozenset({"cat"}), "cat", "seen"),
        prompt("described 1", frozenset({"clay"}), "clay", "unseen"),
        prompt("described 2", CAT_IN_NEON, "cat", "seen", "unseen"),
        prompt("other grammar", frozenset({"clay"}), "clay"),
        prompt("unknown", frozenset(), "whale"),
    ]
    rows = chance(prompts, NAMES, {"clay"})
    assert [row.right for row in rows][:4] == [0.25, 0.25, 0.75, 0.25] and np.isnan(rows[4].right)
    outcome = to_outcome(prompts, [replace(row, none=1.0) for row in rows], {"seen"})
    columns = {key[1:]: values for key, values in outcome.columns.items() if key[0] == "described"}
    assert np.array_equal(columns["1 rendering", "R@1"], [0.25, 0.25, np.nan], equal_nan=True)
    assert np.array_equal(columns[UNSEEN, "R@1"], [np.nan, 0.25, np.nan], equal_nan=True)
    assert np.array_equal(columns[HELD_OUT, "R@1"], [np.nan, 0.25, np.nan], equal_nan=True)
    assert np.array_equal(
        outcome.columns["out of distribution", "unknown", "none selected"], [np.nan, 1.0], equal_nan=True
    )
    assert outcome.queries["out of distribution"][1] == ("whale", "unknown", "unknown whale")


def test_order_of_confidences_and_resamples_of_clusters() -> None:
    order = above(np.array([0.5, 1.0]), np.array([0.5, 0.0, np.nan]))
    assert np.array_equal(order, [[0.5, 1.0, np.nan], [1.0, 1.0, np.nan]], equal_nan=True)
    counts = resample(["a", "b", "a"], 50, np.random.default_rng(0))
    assert counts.shape == (50, 3) and np.array_equal(counts[:, 0], counts[:, 2])
    assert np.array_equal(counts[:, 0] + counts[:, 1], np.full(50, 2.0))


def test_prompts_that_nothing_fits_are_told_from_others() -> None:
    prompts = [prompt("other grammar", frozenset({"cat"}), name) for name in "abcd"]
    prompts += [prompt("unknown", frozenset(), name) for name in "efgh"]
    good = [Answer(1, 1, confidence=value) for value in (0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1)]
    bad = [replace(row, confidence=0.5) for row in good]
    rows = {"good": [good], "bad": [bad], "undefined": [[Answer(1, 1)] * 8]}
    table = nothing_fits(prompts, rows, dict.fromkeys(rows, "bad"), PARAMS)
    assert set(table) == {"nothing fits", "unknown"} and set(table["unknown"]) == {"good", "bad"}
    cell = table["unknown"]["good"]
    assert (cell["value"], cell["low"], cell["high"], cell["n"]) == (1.0, 1.0, 1.0, 8)
    assert cell["difference"]["value"] == 0.5 and table["unknown"]["bad"]["value"] == 0.5


def test_mislabelled_loras_are_found_at_two_percent_false_alarms() -> None:
    names = tuple(map(str, range(100)))
    values = np.array([-0.5, -0.4, -0.3, 0.3, *np.linspace(-0.2, 0.2, 96)])
    seeds = [Margins(names, values, threshold=-0.25)] * 2
    table = mislabelled({HYBRID: seeds}, frozenset("0123"), frozenset(names), PARAMS)[HYBRID]
    found = {name: cell["value"] for name, cell in table.items()}
    assert found == {"AUC": 0.75, "recall at 2 % false alarms": 0.75, "found": 0.75, "false alarms": 0.0}
    assert table["AUC"]["low"] < 0.75 < table["AUC"]["high"] and table["AUC"]["mislabelled"] == 4
    assert mislabelled({HYBRID: seeds}, frozenset(), frozenset(names), PARAMS) == {}


def test_texts_about_described_renderings_are_left_out() -> None:
    benchmark = synthetic_benchmark()
    (adapter, image), vector = next(iter(benchmark.captions.by_rendering.items()))
    one = for_prompt(benchmark, 3, (image,))
    assert np.allclose(one.captions.by_adapter[adapter] + vector, benchmark.captions.by_adapter[adapter])
    assert one.captions.renderings.sum() == benchmark.captions.renderings.sum() - 1
    for name, counts in benchmark.words.items():
        described = counts.by_rendering.get((adapter, image), {})
        assert sum(one.words[name].by_adapter[adapter].values()) == sum(
            counts.by_adapter[adapter].values()
        ) - sum(described.values())
    assert one.queries == benchmark.queries[3:4]
    everything = [key[1] for key in benchmark.captions.by_rendering if key[0] == adapter]
    assert benchmark.captions.renderings[adapter] == len(everything)
    assert not for_prompt(benchmark, 0, everything).captions.by_adapter[adapter].any()
    assert np.array_equal(for_prompt(benchmark, 0, ()).captions.by_adapter, benchmark.captions.by_adapter)


def test_all_rows_are_measured_on_a_small_repository(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    values = replace(small_root.params(), models=small_root.base(root))
    judged = small_root.build(root, values.models)
    (root / "params.yaml").write_text((small_root.REPOSITORY / "params.yaml").read_text())
    galleries = {
        row["sha256"]: row["renderings"] for row in dataset.rows(root, "adapters", ("sha256", "renderings"))
    }
    prompts = [
        SealedPrompt(
            f"a {theme}",
            "described 1",
            theme,
            frozenset({theme}),
            (galleries[sha256][0],),
            frozenset({sha256}),
        )
        for sha256, theme in judged.items()
    ]
    prompts += [prompt("other grammar", frozenset({theme}), theme) for theme in small_root.THEMES]
    prompts += [prompt("unknown", frozenset(), name) for name in ("whale", "owl")]
    pool = SealedPool(tmp_path)
    pool.__dict__["loras"] = [
        SealedLora(sha256=sha256, repo=sha256, theme=theme, shown=theme if row else "owl", quality="good",
                   captioning="tags", held_out=theme == "neon")
        for row, (sha256, theme) in enumerate(sorted(judged.items()))
    ]  # fmt: skip
    text_encoder = CachingTextEncoder(models.load_text_encoder(values.models))
    makers = (MethodMaker(root, prompts, judged, values, text_encoder, steps=1),)
    rows = SealedRows(tmp_path / "answers", pool, makers)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, len(small_root.SLOTS), 8, 8, generator=generator)
    concepts = [Concept(theme, (f"a {theme}",), frozenset()) for theme in small_root.THEMES]
    captions = tuple(f"a {theme}" for theme in small_root.THEMES)
    rows.add_seeded(0)
    for seed in (0, 1):
        rows.add_concepts("corpus", Concepts(tuple(concepts), gradients, captions), seed)
    tables = rows.tables(PARAMS)
    level = tables["retrieval"]["described"]["1 rendering"]
    assert {HYBRID, WEIGHTS, "caption centroid", "BM25 of captions", "popularity", "chance"} <= set(level)
    assert level["chance"]["R@1"]["value"] == pytest.approx(3 / 12)
    assert level["BM25 of captions"]["R@1"]["value"] > level["chance"]["R@1"]["value"]
    assert set(tables["nothing fits"]["unknown"]) >= {HYBRID, WEIGHTS}
    text = to_markdown(tables)
    assert "## described, R@1" in text and "| BM25 of captions |" in text
    seeds = {f"{HYBRID} + corpus": 2, f"{WEIGHTS} + corpus": 2, "paper": 1, "released": 1, HYBRID: 1}
    assert {name: len(level[name]["R@1"]["seeds"]) for name in seeds} == seeds
    reference = level[HYBRID]["R@1"]["value"]
    cell = level[f"{HYBRID} + corpus"]["R@1"]
    assert cell["difference"]["value"] == pytest.approx(cell["value"] - reference)
    assert set(tables["mislabelled"]["all"]) == {HYBRID, f"{HYBRID} + corpus"}
    again = SealedRows(tmp_path / "answers", pool, makers)
    for name in (HYBRID, "BM25 of captions"):
        assert repr(again.answers[name]) == repr(rows.answers[name])  # nan is not equal to itself
