"""The ridge regression at FLUX.1-dev's size: `python -m bench.ridge`.

Synthetic adapters have sketches of 494 slots, each the sum of one of some themes' and of noise, drawn when they are
read, which is timed apart. Measured are the fit, its peak memory, and the embedding of adapters as the stage `index`
does it, each beside the matrix products that it cannot do without, timed in the same run.
"""

import argparse
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.landmarks import ROWS_AT_ONCE
from autolora.encoder.ridge import RidgeEncoder, fit_ridge
from autolora.errors import exit_on_error
from autolora.index.embedding import ADAPTERS_PER_PRODUCT, embed
from autolora.lora.sketch import SketchSpec
from autolora.metrics.summary import Headline, update
from autolora.presets.encoder import ENCODER
from bench.timing import timed, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.ridge"
ADAPTERS, THEMES, WIDTH, SIZE = 30_000, 200, 768, 32
FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
GOAL_EMBED_S, GOAL_GB = 300, 8


class SyntheticSketches:
    """Sketches that are drawn when they are read, by the adapter's number; the time of it is summed up."""

    def __init__(self, slots: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.themes = torch.randn(THEMES, slots, SIZE, SIZE, generator=generator).half()
        self.present = torch.ones(1, slots, dtype=torch.bool)
        self.seconds = 0.0

    def read(self, adapter: str) -> AdapterBatch:
        """Return the sketch of an adapter as a batch of one."""
        seconds, batch = timed(lambda: self._draw(int(adapter)))
        self.seconds += seconds
        return batch

    def _draw(self, number: int) -> AdapterBatch:
        noise = torch.empty(1, *self.themes.shape[1:])
        noise.uniform_(-3, 3, generator=torch.Generator().manual_seed(number))
        return AdapterBatch(noise + self.themes[number % THEMES].float(), self.present)


def main() -> None:
    """Measure, print, and write the rows of metrics/summary.json unless the number of adapters differs."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--adapters", type=int, default=ADAPTERS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = list(measure(options.adapters))
    for row in rows:
        goal = "" if row.goal is None else f" (goal {row.goal:g})"
        print(f"{row.name.removeprefix('bench.ridge_').replace('_', ' ')}: {row.value:.3g}{goal}")
    if options.adapters == ADAPTERS:
        update(ROOT, COMMAND, today(), rows)


def measure(count: int) -> Iterator[Headline]:
    """Yield the measurements of a fit to `count` adapters and of their embedding."""
    encoder = RidgeEncoder(make_config())
    sketches = SyntheticSketches(len(encoder.config.slots))
    adapters = [str(number) for number in range(count)]
    targets = torch.nn.functional.normalize(
        torch.randn(THEMES, WIDTH, generator=torch.Generator().manual_seed(1)), dim=-1
    )[torch.arange(count) % THEMES]
    fit, out_of_fold = timed(lambda: fit_ridge(encoder, adapters, adapters, targets, sketches.read, seed=0))
    drawn, sketches.seconds = sketches.seconds, 0.0
    landmarks = min(count, encoder.config.variant.landmarks)
    products = count * time_product((ROWS_AT_ONCE, len(encoder.mean)), landmarks) / ROWS_AT_ONCE
    cosine = float(torch.nn.functional.cosine_similarity(out_of_fold, targets).mean())
    sample = adapters[: 8 * ADAPTERS_PER_PRODUCT]
    seconds, _ = timed(lambda: embed(encoder, map(sketches.read, sample), torch.device("cpu")))
    each = (seconds - sketches.seconds) / len(sample)
    limit = time_product((ADAPTERS_PER_PRODUCT, len(encoder.mean)), WIDTH) / ADAPTERS_PER_PRODUCT
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    def row(name: str, value: float, goal: float | None = None) -> Headline:
        return Headline(name=f"bench.ridge_{name}", value=value, n=count, goal=goal, better="lower")

    yield row("fit_seconds", fit - drawn)
    yield row("fit_ratio_to_products", (fit - drawn) / products)
    yield row("fit_peak_gb", memory, GOAL_GB)
    yield row("embedding_seconds", each * count, GOAL_EMBED_S)
    yield row("embedding_ratio_to_product", each / limit)
    yield Headline(name="bench.ridge_cosine_out_of_fold", value=cosine, n=count)


def make_config() -> EncoderConfig:
    """Return the config of the preset `best` for FLUX.1-dev and CLIP-L."""
    return EncoderConfig(
        transformer=FLUX,
        variant=ENCODER["best"],
        width=WIDTH,
        dropout=0.0,
        sketch_size=SIZE,
        sketch_key=SketchSpec(SIZE).key,
        text_encoder="synthetic",
    )


def time_product(shape: tuple[int, int], columns: int) -> float:
    """Return the seconds of the product of a matrix of this shape with one of `columns` columns, the second time."""
    left, right = torch.rand(shape), torch.rand(shape[1], columns)
    torch.mm(left, right)
    return timed(lambda: torch.mm(left, right))[0]


if __name__ == "__main__":
    with exit_on_error():
        main()
