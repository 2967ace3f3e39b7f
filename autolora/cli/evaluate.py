"""`autolora evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Json, Rev
from autolora.cli.output import print_table, to_json
from autolora.cli.paths import to_absolute


def evaluate(
    prompts: Annotated[
        Path,
        typer.Option(
            "--prompts", help='File of lines {"prompt": "…", "adapters": ["sha256 or hub:id", …]} (JSON).'
        ),
    ],
    k: Annotated[
        list[int] | None,
        typer.Option("-k", min=1, help="k of recall at k; repeat it for several. Default from params.yaml."),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            metavar="SOURCE",
            help="Also rank by the captions in the space of this sentence encoder: a folder, package:NAME, or a "
            "Hugging Face id with its commit (owner/name@COMMIT); repeat it to compare several.",
        ),
    ] = None,
    rev: Rev = None,
    as_json: Json = False,
) -> None:
    """Measure how well searches find the adapters that your own prompts should find."""
    prompts = to_absolute(prompts)
    from autolora import models
    from autolora.evaluation.prompts import measure_cases, read_cases
    from autolora.index.names import AdapterNames
    from autolora.index.served import open_index
    from autolora.search.retriever import NoTextEncoder, Retriever
    from autolora.text_encoder.sentences import open_sentence_encoder

    root, params = enter_repository()
    index = open_index(root, rev)
    cases = read_cases(prompts, AdapterNames.of_index(index.rows.columns))
    announce("loading the text encoder")
    # of torch, since all captions are encoded, perhaps on a GPU
    text_encoder = models.load_text_encoder(params.models) if index.has_weights else NoTextEncoder()
    retriever = Retriever(index, text_encoder, params, root)
    encoders = {}
    for source in languages or ():
        name, _, commit = source.partition("@")
        encoders[source] = open_sentence_encoder(root, name, commit or None, root / "cache")
    ks = sorted(set(k or params.evaluation.ks))
    report = measure_cases(root, retriever, cases, ks, params.evaluation, encoders)
    if as_json:
        print(to_json(report))
    else:
        _print_evaluation(report)


def _print_evaluation(report: Mapping[str, Any]) -> None:
    """Print a table of metrics by method, and a table of the prompts whose first hit is wrong."""
    metrics = list(report["methods"]["search"])
    title = f"{report['prompts']} prompts, {report['adapters']} adapters, index {report['index'][:12]}"
    methods = [
        (method, *(f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in values.values()))
        for method, values in report["methods"].items()
    ]
    print_table(("method", *metrics), methods, title)
    if not report["failures"]:
        print("every first hit is one of the prompt's adapters")
        return
    failures = [
        (str(row["line"]), row["prompt"], str(row["rank"]), row["first_hit"]) for row in report["failures"]
    ]
    title = "first hit not among the adapters"
    print_table(("line", "prompt", "rank", "first hit"), failures, title)
