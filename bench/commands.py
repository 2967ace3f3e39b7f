"""The cold start of every command, on the playground: `python -m bench.commands` (after `make demo`, or on a copy).

Each command runs as a new process on a terminal of its own, and its first output, its end and its CPU time are timed.
The first round, which reads the programs into the page cache, does not count. Commands write into that repository.
"""

import argparse
import os
import pty
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

from autolora.cli import app
from autolora.errors import exit_on_error
from autolora.metrics.summary import Headline, update
from bench.timing import today

COMMAND = "python -m bench.commands"
ROUNDS = 3
GOAL_S = 1.5
"""of the first output"""
IMAGE = "images/bench.png"
PROMPT = "a cat in mosaic style"
ADAPTER = "bytebrush/the-beala-thing"
FILE = f"playground/pool/{ADAPTER}/the-beala-thing.safetensors"
CASES: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "search": ("search", PROMPT),
    "search_filter": ("search", PROMPT, "--where", "license = 'mit'"),
    "search_json": ("search", PROMPT, "--json"),
    "search_reasons": ("search", PROMPT, "--reasons"),
    "generate": ("generate", PROMPT, "-o", IMAGE),
    "evaluate": ("evaluate", "--prompts", "cache/bench_prompts.jsonl"),
    "show": ("show", ADAPTER),
    "show_captions": ("show", ADAPTER, "--captions"),
    "show_image": ("show", IMAGE),
    "inspect": ("inspect", FILE),
    "inspect_folder": ("inspect", "playground/pool"),
    "export": ("export", ADAPTER, "-o", "cache/bench_export.safetensors", "--force"),
    "versions": ("versions",),
    "release": ("release",),
    "verify": ("verify",),
}
"""name -> arguments; a command without a case is measured by its help.
`python -m bench.own_folder` measures `index`, `python -m bench.serve` measures `serve`"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command."""

    first_s: float
    """until the first byte on the terminal"""
    total_s: float
    cpu_s: float
    """of the process and its children, which other work on the machine affects little"""
    megabytes: float
    """memory of the largest process, 10^6 bytes"""
    status: int


def main() -> None:
    """Measure, print a table in Markdown, and write the rows of metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    parser.add_argument("--only", nargs="*", help="names of cases; their rows are not written")
    arguments = parser.parse_args()
    root = arguments.root.absolute()
    (root / "cache" / "bench_prompts.jsonl").write_text(
        f'{{"prompt": "{PROMPT}", "adapters": ["{ADAPTER}"]}}\n'
    )
    cases = {name: case for name, case in all_cases().items() if not arguments.only or name in arguments.only}
    runs = {name: measure(root, case) for name, case in cases.items()}
    print(to_markdown(cases, runs))
    if not arguments.only:
        update(root, COMMAND, today(), headlines(runs))


def all_cases() -> dict[str, tuple[str, ...]]:
    """Return CASES, and the help of each command that has no case."""
    measured = {case[0] for case in CASES.values()}
    names: list[str] = sorted(get_command(app).commands)  # type: ignore[attr-defined]  # a click group
    return CASES | {
        f"{name.replace('-', '_')}_help": (name, "--help") for name in names if name not in measured
    }


def measure(root: Path, arguments: Sequence[str]) -> list[Run]:
    """Run a command ROUNDS + 1 times and return all runs but the first. Raises RuntimeError if one crashes."""
    command = [sys.executable, "-m", "autolora", *arguments]
    runs = [run_on_terminal(root, command) for _ in range(ROUNDS + 1)][1:]
    if any(run.status not in (0, 1) for run in runs):
        raise RuntimeError(f"{' '.join(command)} ended with status {[run.status for run in runs]}")
    print(
        f"{' '.join(arguments)}: {median(runs, 'first_s'):.2f} s, {median(runs, 'total_s'):.2f} s",
        file=sys.stderr,
    )
    return runs


def run_on_terminal(root: Path, command: list[str]) -> Run:
    """Run a command whose output is a terminal, and measure it."""
    started = time.perf_counter()
    process, terminal = pty.fork()
    if not process:
        os.chdir(root)
        os.execv(command[0], command)  # the child's image is replaced: nothing after this line runs in it
    first_s = None
    while read_some(terminal):
        first_s = first_s or time.perf_counter() - started
    _, status, usage = os.wait4(process, 0)
    total_s = time.perf_counter() - started
    os.close(terminal)
    return Run(
        first_s=first_s or total_s,
        total_s=total_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        megabytes=usage.ru_maxrss * 1024 / 1e6,
        status=os.waitstatus_to_exitcode(status),
    )


def read_some(terminal: int) -> bytes:
    """Return the next output on a terminal; empty after the end, which Linux reports as an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def median(runs: Sequence[Run], name: str) -> float:
    """Return the median of a field."""
    return float(statistics.median(getattr(run, name) for run in runs))


def to_markdown(cases: dict[str, tuple[str, ...]], runs: dict[str, list[Run]]) -> str:
    """Return the table of medians."""
    lines = ["| command | first output, s | total, s | CPU, s | MB |", "|---|---|---|---|---|"]
    for name, arguments in cases.items():
        quoted = " ".join(f'"{part}"' if " " in part else part for part in arguments)
        seconds = (f"{median(runs[name], field):.2f}" for field in ("first_s", "total_s", "cpu_s"))
        lines.append(
            f"| `autolora {quoted}` | {' | '.join(seconds)} | {median(runs[name], 'megabytes'):.0f} |"
        )
    return "\n".join(lines)


def headlines(runs: dict[str, list[Run]]) -> Iterator[Headline]:
    """Yield the rows of metrics/details.json."""
    for name, measured in runs.items():
        for field, suffix, goal in (
            ("first_s", "first_output_seconds", GOAL_S),
            ("total_s", "seconds", None),
        ):
            yield Headline(
                name=f"reach.command_{name}_{suffix}",
                value=median(measured, field),
                n=len(measured),
                better="lower",
                goal=goal,
            )


if __name__ == "__main__":
    with exit_on_error():
        main()
