"""`autolora evaluate`: files of prompts, right and wrong, and what is measured with them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from autolora import models
from autolora.cli import app
from autolora.errors import MismatchError, MissingArtifact
from autolora.evaluation.prompts import JudgedPrompt, measure_cases, read_cases
from autolora.index.names import AdapterNames
from autolora.index.served import open_index
from autolora.metrics import retrieval
from autolora.params import EvaluationParams, load
from autolora.search.retriever import Retriever
from autolora.storage.arrays import Float64Array, Int64Array
from tests.support import small_root

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=100, seed=0, themes=None)
REPOSITORY = Path(__file__).parents[2]
ROWS = [
    {"sha256": "a1" * 32, "hub": "civitai", "id": "7", "file": "a.st"},
    {"sha256": "b2" * 32, "hub": "huggingface", "id": "ann/cat", "file": "b.st"},
    {"sha256": "c3" * 32, "hub": "huggingface", "id": "ann/cat", "file": "c.st"},
]
NAMES = AdapterNames(ROWS)
CAT = {"prompt": "a cat", "adapters": ["civitai:7"]}


def write(path: Path, *lines: object) -> Path:
    """Write lines of text, or of JSON, into a file."""
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small repository whose params name its own tiny pipeline."""
    root = tmp_path_factory.mktemp("root")
    base = small_root.base(root)
    small_root.build(root, base)
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    params = (REPOSITORY / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("playground/models/flux", base.pipeline))
    return root


@pytest.fixture(scope="module")
def retriever(root: Path) -> Retriever:
    return Retriever(
        open_index(root), models.load_text_encoder(small_root.base(root)), load(root / "params.yaml"), root
    )


def test_adapters_are_named_by_sha256_or_by_hub_and_id(tmp_path: Path) -> None:
    names = ["A1A1A1", "c3" * 32, "civitai:7"]
    path = write(
        tmp_path / "x",
        CAT,
        "",
        {"prompt": "b", "adapters": names},
        {"prompt": "c", "adapters": ["huggingface:ann/cat"]},
    )
    cases = read_cases(path, NAMES)
    assert [(case.line, case.positions.tolist()) for case in cases] == [(1, [0]), (3, [0, 2]), (4, [1, 2])]
    assert cases[1].adapters == tuple(names)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a cat", "not valid JSON"),
        (["a cat"], "not an object with the keys prompt and adapters alone"),
        ({"prompt": "a cat"}, "not an object with the keys prompt and adapters alone"),
        (CAT | {"k": 3}, "not an object with the keys prompt and adapters alone"),
        (CAT | {"prompt": " "}, "the prompt is not a text, or empty"),
        (CAT | {"prompt": 1}, "the prompt is not a text, or empty"),
        (CAT | {"adapters": []}, "adapters is not a list of at least one text"),
        (CAT | {"adapters": "civitai:7"}, "adapters is not a list of at least one text"),
        (CAT | {"adapters": [7]}, "adapters is not a list of at least one text"),
        (CAT | {"prompt": "\ud800"}, "a text is not valid Unicode"),
        (CAT | {"adapters": ["civitai:7", "\udfff"]}, "a text is not valid Unicode"),
    ],
)
def test_malformed_line_is_named_by_its_number(line: object, problem: str, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=rf"is not a file of prompts \(line 2: {problem}") as error:
        read_cases(write(tmp_path / "x", CAT, line, CAT), NAMES)
    assert '{"prompt": "…", "adapters"' in str(error.value)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_at_a_line_feed_only(separator: str, tmp_path: Path) -> None:
    line = json.dumps(CAT | {"prompt": f"a{separator}cat"}, ensure_ascii=False)
    cases = read_cases(write(tmp_path / "x", line, CAT), NAMES)
    assert [(case.line, case.prompt) for case in cases] == [(1, f"a{separator}cat"), (2, "a cat")]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([json.dumps(CAT).encode()] * 2) + b"\r\n")
    assert [case.line for case in read_cases(path, NAMES)] == [1, 2]


def test_all_bad_lines_are_named_up_to_a_limit(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"line 10: .*; and 3 more"):
        read_cases(write(tmp_path / "x", *["?"] * 13), NAMES)


def test_file_without_a_line_or_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="it has no line"):
        read_cases(write(tmp_path / "x", "", " "), NAMES)
    with pytest.raises(MissingArtifact, match="cannot be read"):
        read_cases(tmp_path / "none", NAMES)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MissingArtifact, match="cannot be read"):
        read_cases(tmp_path / "binary", NAMES)


@pytest.mark.parametrize("name", ["a1", "d4d4d4", "ann/dog", "huggingface:ann/dog", "civitai:ann/cat", ""])
def test_unknown_adapters_are_named_with_their_lines(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x", CAT, {"prompt": "b", "adapters": ["civitai:7", name]})
    with pytest.raises(MissingArtifact, match=rf"the index does not hold \(line 2: '{name}'\)"):
        read_cases(path, NAMES)


def case(retriever: Retriever, prompt: str, rank: int, line: int = 1) -> JudgedPrompt:
    """Return a case whose only adapter has this rank in a search of the index."""
    position = retriever.ranking(prompt)[rank - 1]
    return JudgedPrompt(line, prompt, ("x",), np.array([position]))


def measure(root: Path, retriever: Retriever, *cases: JudgedPrompt) -> dict[str, Any]:
    return measure_cases(root, retriever, cases, (1, 3), PARAMS)


def test_metrics_follow_from_the_ranks(root: Path, retriever: Retriever) -> None:
    cases = [case(retriever, prompt, rank) for rank, prompt in enumerate(("a", "b", "c", "d"), 1)]
    report = measure(root, retriever, *cases)
    values = {name: row["value"] for name, row in report["methods"]["search"].items()}
    assert values == pytest.approx(
        {"R@1": 1 / 4, "R@3": 3 / 4, "MRR": (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4}, abs=1e-6
    )
    chance = report["methods"]["random"]
    assert (chance["R@1"]["value"], chance["R@3"]["value"]) == pytest.approx((1 / 12, 3 / 12), abs=1e-6)
    assert (report["adapters"], report["prompts"], report["index"]) == (12, 4, retriever.index.digest)
    assert [row["rank"] for row in report["failures"]] == [2, 3, 4]


def test_failures_name_the_first_hit(root: Path, retriever: Retriever) -> None:
    right, wrong = (case(retriever, "a neon cat", rank, line=rank) for rank in (1, 2))
    (failure,) = measure(root, retriever, right, wrong)["failures"]
    first = retriever.index.rows[int(right.positions[0])]
    assert (failure["line"], failure["first_hit"]) == (2, f"{first['hub']}:{first['id']}")


def test_caption_centroid_finds_the_captions_theme(root: Path, retriever: Retriever) -> None:
    themes = [row["id"].split("/")[1] for row in retriever.index.rows]
    cases = [
        JudgedPrompt(line, f"a {theme} drawing", ("x",), np.flatnonzero([theme == name for name in themes]))
        for line, theme in enumerate(small_root.THEMES, start=1)
    ]
    methods = measure(root, retriever, *cases)["methods"]
    assert methods["caption centroid"]["R@1"]["value"] > methods["random"]["R@1"]["value"]


def test_scores_are_computed_in_blocks_of_prompts(
    root: Path, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case(retriever, prompt, rank) for rank, prompt in enumerate(("a", "b", "c", "d", "e"), 1)]
    expected = measure(root, retriever, *cases)
    shapes, ranks = [], retrieval.ranks

    def record(scores: Float64Array, relevant: retrieval.Relevant) -> Int64Array:
        shapes.append(scores.shape)
        return ranks(scores, relevant)

    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 2 * 12 * 8)
    monkeypatch.setattr(retrieval, "ranks", record)
    assert measure(root, retriever, *cases) == expected
    assert shapes == [(2, 12), (2, 12), (1, 12)] * 2


def test_command_refuses_a_text_encoder_that_the_index_was_not_built_with(
    root: Path, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(root, tmp_path / "root")
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace(str(root), str(copy)))
    (copy / "flux/tokenizer/extra").write_text("changes the digest")
    monkeypatch.chdir(copy)
    path = write(copy / "x", {"prompt": "a", "adapters": [retriever.index.rows[0]["sha256"]]})
    result = CliRunner().invoke(app, ["evaluate", "--prompts", str(path)])
    assert result.exit_code == 1 and "was built with text encoder" in result.output


def test_command_prints_tables_and_json(
    root: Path, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    rows = [
        {"prompt": f"prompt {n}", "adapters": [row["sha256"]]} for n, row in enumerate(retriever.index.rows)
    ]
    path = write(root / "prompts.jsonl", *rows)
    result = CliRunner().invoke(app, ["evaluate", "--prompts", path.name], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "12 prompts, 12 adapters" in result.output and "caption centroid" in result.output
    options = ["--prompts", str(path), "-k", "2", "-k", "1", "--json"]
    result = CliRunner().invoke(app, ["evaluate", *options])
    report = json.loads(result.stdout)
    assert list(report["methods"]["search"]) == ["R@1", "R@2", "MRR"]
    failed = 12 - 12 * report["methods"]["search"]["R@1"]["value"]
    assert len(report["failures"]) == pytest.approx(failed, abs=1e-4)


def test_command_reports_that_nothing_failed(
    root: Path, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    position = int(case(retriever, "a cat", 1).positions[0])
    path = write(
        root / "one.jsonl", {"prompt": "a cat", "adapters": [retriever.index.rows[position]["sha256"]]}
    )
    result = CliRunner().invoke(app, ["evaluate", "--prompts", str(path)])
    assert "every first hit is one of the prompt's adapters" in result.output
