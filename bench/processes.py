"""Run a command as a process of its own, and measure its time and the memory of its largest process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.timing import timed

PROJECT = Path(__file__).parents[1]
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""a small process that runs a command: right after a fork, a child's peak includes the memory of its parent"""
Row = dict[str, float]
"""seconds, cpu_seconds, megabytes"""


def run_measured(root: Path, *command: str) -> Row:
    """Run a command; return its seconds, its CPU seconds, and the memory of its largest process (10^6 bytes)."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "PYTHONPATH": str(PROJECT), "DVC_NO_ANALYTICS": "1"}
    seconds, process = timed(
        lambda: subprocess.run(
            [sys.executable, "-c", MEASURED, *command],
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stdout}\n{process.stderr}")
    print(f"{' '.join(command)}: {seconds:.1f} s\n{stage_lines(process.stdout)}", file=sys.stderr, flush=True)
    *_, cpu_seconds, kilobytes = process.stdout.split()
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),
        "megabytes": round(int(kilobytes) * 1024 / 1e6),
    }


def stage_lines(output: str) -> str:
    """Return the lines in which the stages report their own time."""
    return "\n".join(f"  {line}" for line in output.splitlines() if line.startswith("["))


def log_time(step: str, work: Callable[[], object]) -> None:
    """Do a step that is not part of the result, and log how long it takes."""
    print(f"{step}: {timed(work)[0]:.1f} s", file=sys.stderr, flush=True)
