"""The paper's metrics of image quality, each in a process with Python packages of its own.

Their packages need an older transformers than this project, so they are installed apart:

    python -m venv cache/quality
    cache/quality/bin/pip install "diffsynth<2" "transformers<5" t2v-metrics

A worker (studies/paper/quality_worker.py) gets a line of JSON per batch of images and answers with their scores.
Weights are downloaded when a worker starts: 4 GB each, VQAScore 22 GB.
"""

import json
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autolora.errors import MissingArtifact
from studies.paper.quality_worker import METRICS

WORKER = Path(__file__).with_name("quality_worker.py")
__all__ = ["METRICS", "QualityScorer", "start_scorers"]


class QualityScorer:
    """One metric in a process of its own, which ends with the `with` block."""

    def __init__(self, name: str, python: Path, device: str) -> None:
        """name: a key of METRICS. python: an interpreter that has the metric's package. device: as `models.device`."""
        self.name, self._python = name, python
        try:
            self._process = subprocess.Popen(
                [str(python), str(WORKER), name, device],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise MissingArtifact(f"{python} cannot be started ({error}): {self._advice()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def score(self, paths: Sequence[Path], text: str) -> list[float]:
        """Return the score of each image for a text.

        Raises MissingArtifact with the reason and what to install if the metric cannot be computed.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"images": [str(path.absolute()) for path in paths], "text": text}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the worker has ended; its last line says why
        line = self._process.stdout.readline()
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": "the process ended without an answer"}
        )
        if "error" in answer:
            raise MissingArtifact(f"{self.name} cannot be computed ({answer['error']}): {self._advice()}")
        scores: list[float] = answer["scores"]
        return scores

    def _advice(self) -> str:
        package = METRICS[self.name]
        return (
            f'run `{self._python.with_name("pip")} install "{package}"`, name the Python that has it '
            "(--quality-python), or leave this metric out"
        )


def start_scorers(stack: ExitStack, names: Sequence[str], python: Path, device: str) -> list[QualityScorer]:
    """Return a scorer per metric, all of which end with the stack."""
    return [stack.enter_context(QualityScorer(name, python, device)) for name in names]
