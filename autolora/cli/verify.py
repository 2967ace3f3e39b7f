"""`autolora verify`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Json
from autolora.cli.output import to_json
from autolora.stages import is_pipeline
from autolora.wording import counted

if TYPE_CHECKING:
    from autolora.integrity.verification import Finding

MAX_LINES, MAX_NAMES = 10, 3
"""findings of one command that are listed; files that are named if there are more"""


def verify(
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of random files to read; default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the pool, the stages' outputs, DVC's cache and the index copies; name what is damaged, and what mends it."""
    announce("reading the files of the pool, of the stages' outputs and of DVC's cache")
    from autolora.integrity.mending import mend
    from autolora.integrity.verification import verify as verify_all

    root, _ = enter_repository()
    result = verify_all(root, sample=sample)
    mended = mend(root, result.findings)
    if as_json:
        print(to_json(result.to_row() | {"commands": [*filter(None, mended)]}))
    else:
        for command, findings in mended.items():
            for line in _describe(findings, command):
                print(line)
        for path in result.unversioned if is_pipeline(root) else ():
            print(f"{path} is not yet versioned: run `python -m flows.dvc`")
        for phrase in result.changed_inputs:
            print(phrase)
        print(
            f"{result.read} of {sum(result.files.values())} files read, {result.bytes / 1e6:.1f} MB in "
            f"{result.seconds:.1f} s ({result.mb_per_s:.0f} MB/s): {len(result.findings)} findings"
        )
        if result.unasked:
            print(f"the files of evicted batches were not checked: {result.unasked}")
        elif result.remote_only:
            print(
                f"{counted(result.remote_only, 'file')} of evicted batches: DVC's remote was asked for their sizes"
            )
    if result.findings or result.unasked:
        raise typer.Exit(1)


def _describe(findings: "Sequence[Finding]", command: str) -> Iterator[str]:
    """Yield a line per finding, or per problem if they are many, and the command that mends them."""
    if len(findings) <= MAX_LINES or not command:
        for row in findings:
            detail = row.detail or ("" if command else "neither DVC nor the last commit has it")
            yield f"{row.problem:8} {row.path}{f' ({detail})' if detail else ''}"
    else:
        for problem, number in Counter(row.problem for row in findings).items():
            names = [row.path for row in findings if row.problem == problem][:MAX_NAMES]
            yield f"{problem:8} {counted(number, 'file')}, e.g. {', '.join(names)}"
    if command:
        yield f"    {command}"
