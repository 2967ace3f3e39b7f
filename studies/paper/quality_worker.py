"""Computes one metric of image quality: a line {"images": [paths], "text": ...} in, a line {"scores": [...]} out.

    python quality_worker.py METRIC DEVICE

It runs in an environment of its own and imports nothing of this project. HPSv2.1, MPS (its overall condition) and the
LAION aesthetic predictor are those of DiffSynth-Studio 1, whose checkpoints are safe to load: HPSv2.1 is a cosine, MPS
is multiplied by its logit scale. VQAScore is clip-flant5-xxl with the question of t2v-metrics.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

METRICS = {
    "HPSv2.1": "diffsynth<2",
    "MPS": "diffsynth<2",
    "Aesthetic": "diffsynth<2",
    "CLIP-FlanT5 VQAScore": "t2v-metrics",
}
"""metric -> the package that computes it"""
Score = Callable[[Sequence[str], str], Sequence[float]]


def load_metric(name: str, device: str) -> Score:
    """Return the function that scores images (paths) for a text; raises ImportError without the package."""
    if name in METRICS and METRICS[name] == "t2v-metrics":
        model = import_module("t2v_metrics").VQAScore(model="clip-flant5-xxl", device=device)
        return lambda paths, text: [
            float(value) for value in model(images=list(paths), texts=[text])[:, 0].tolist()
        ]
    from PIL import Image

    library = import_module("diffsynth.extensions.ImageQualityMetric")
    metric: Any = library.load_preference_model(
        name, device=device, path=library.download_preference_model(name, cache_dir="cache/quality-models")
    )

    def score(paths: Sequence[str], text: str) -> Sequence[float]:
        images = [Image.open(path).convert("RGB") for path in paths]
        return [float(value) for value in metric.score(images, text)]

    return score


def main() -> None:
    """Answer line by line; the first line is an error if the metric cannot be loaded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the caller, which then closes stdin
    name, device = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    try:
        with contextlib.redirect_stdout(sys.stderr):
            score = load_metric(name, device)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, object] = {"scores": list(score(request["images"], request["text"]))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
