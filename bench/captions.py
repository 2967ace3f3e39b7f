"""Captions by a vLLM server, all lengths of an image together: `python -m bench.captions` (on a CPU; installs vLLM).

Four ways caption the same images with the instructions of params.yaml: `passes`, one length of all images after the
other; `images`, all lengths of an image after each other, as the stage does; and both orders as plain HTTP requests.
Before each, the server's caches are emptied. Images have IMAGE_SIDE px, which makes them most of a prompt, and the
server's cache holds fewer images than there are, both as with a real model and pool. The model is the playground's.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import httpx2
import numpy as np

from autolora import vlm
from autolora.errors import CaptionError, exit_on_error
from autolora.metrics.summary import Headline, update
from autolora.params import Params, load
from autolora.storage.files import write_atomic
from autolora.vlm.captioning import Answer, Captioner, CaptionRequest
from autolora.vlm.vllm_client import VllmClient
from bench.timing import name_processor, timed, today
from playground import world

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.captions"
RESULTS = ROOT / "metrics" / "captions_bench.json"
IMAGE_SIDE = 336
"""px; 144 tokens for the VLM"""
BLOCK_TOKENS = 32
CACHED_IMAGES = 12
"""images that the server's cache holds besides the requests in flight"""
BLOCKS_PER_REQUEST = 7
CONCURRENCY = 8
DRAWN_PER_IMAGE = 2
"""drawings from which the measured images are taken"""
REQUEST_S = 600
START_S = 1200
"""with the installation"""
SERVER = (sys.executable, "-m", "autolora", "vllm", "--cpu")
Captions = dict[tuple[int, str], str]
"""(position of the image, instruction) -> caption"""
Row = dict[str, float]
"""seconds, images_per_s, prefilled_tokens"""


def main() -> None:
    """Measure and print the table; write the metrics."""
    options = read_options()
    values = load(ROOT / "params.yaml")
    with tempfile.TemporaryDirectory() as folder, running_server() as address:
        drawn = draw_images(Path(folder), DRAWN_PER_IMAGE * options.images)
        paths = answered_images(values, address, drawn)[: options.images]
        rounds = [measure(values, address, paths, number % 2 == 1) for number in range(options.rounds)]
    rows = {
        way: {name: statistics.median(row[way][name] for row in rounds) for name in rounds[0][way]}
        for way in rounds[0]
    }
    print(to_markdown(rows))
    content = {
        "images": options.images,
        "rounds": options.rounds,
        "processor": name_processor(),
        "rows": rows,
    }
    write_atomic(RESULTS, json.dumps(content, indent=2) + "\n")
    update(ROOT, COMMAND, today(), headlines(rows, rounds, options.images))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=COMMAND.removeprefix("python -m "), description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    return parser.parse_args()


def headlines(rows: Mapping[str, Row], rounds: Sequence[Mapping[str, Row]], images: int) -> list[Headline]:
    """Return the rows of metrics/details.json: ratios are medians over the rounds' own ratios."""
    values = {
        "images_per_s_before": rows["passes"]["images_per_s"],
        "images_per_s": rows["images"]["images_per_s"],
        "speed_relative_to_plain_requests": statistics.median(
            row["images"]["images_per_s"] / row["plain images"]["images_per_s"] for row in rounds
        ),
    }
    tokens = rows["images"]["prefilled_tokens"] / rows["passes"]["prefilled_tokens"]
    return [
        *(Headline(name=f"bench.captions_{name}", value=value, n=images) for name, value in values.items()),
        Headline(name="bench.captions_prefilled_tokens_ratio", value=tokens, n=images, better="lower"),
    ]


def measure(values: Params, address: str, paths: Sequence[Path], is_reversed: bool) -> dict[str, Row]:
    """Return way -> its cost, in one round; other work on the machine affects the ways less if orders alternate."""
    instructions = tuple(asdict(values.captions.instructions).values())
    model = vlm.digest(values.models)
    client = VllmClient(replace(values.vllm, urls=(f"{address}/v1",)), model, CONCURRENCY)
    tokens = values.captions.max_tokens
    by_pass = [[(i, (text,)) for i in range(len(paths))] for text in instructions]
    by_image = [[(i, instructions) for i in range(len(paths))]]
    ways: dict[str, Callable[[], Captions]] = {
        "passes": lambda: caption(client, paths, by_pass, tokens),
        "images": lambda: caption(client, paths, by_image, tokens),
        "plain passes": lambda: asyncio.run(request_plainly(address, model, paths, by_pass, tokens)),
        "plain images": lambda: asyncio.run(request_plainly(address, model, paths, by_image, tokens)),
    }
    rows, captions = {}, {}
    for way, work in reversed(ways.items()) if is_reversed else ways.items():
        empty_caches(address)
        before = prefilled_tokens(address)
        seconds, captions[way] = timed(work)
        rows[way] = {
            "seconds": round(seconds, 2),
            "images_per_s": round(len(paths) / seconds, 2),
            "prefilled_tokens": prefilled_tokens(address) - before,
        }
    equal = [captions["images"][key] == text for key, text in captions["passes"].items()]
    rows["images"]["equal_captions"] = sum(equal) / len(equal)
    return rows


Order = Sequence[Sequence[tuple[int, tuple[str, ...]]]]
"""passes; in each, (position of the image, instructions)"""


def caption(engine: Captioner, paths: Sequence[Path], order: Order, max_tokens: int) -> Captions:
    """Caption all images with the client of the stage, one pass after the other."""
    captions: Captions = {}
    for one_pass in order:
        requests = [CaptionRequest(image=paths[i], instructions=texts) for i, texts in one_pass]
        for result in engine.describe(requests, max_tokens, IMAGE_SIDE):
            if not isinstance(result, Answer):
                raise RuntimeError(f"{paths[one_pass[result.position][0]]}: {result.reason}")
            captions[one_pass[result.position][0], result.instruction] = result.text
    return captions


async def request_plainly(
    address: str, model: str, paths: Sequence[Path], order: Order, max_tokens: int
) -> Captions:
    """Send the same requests without checks, retries and records."""
    captions: Captions = {}
    limit = asyncio.Semaphore(CONCURRENCY)
    async with httpx2.AsyncClient(base_url=address, timeout=REQUEST_S) as http:

        async def ask(position: int, instructions: Sequence[str]) -> None:
            async with limit:
                data = base64.b64encode(paths[position].read_bytes()).decode()
                image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
                for text in instructions:
                    content = [image, {"type": "text", "text": text}]
                    request = {"model": model, "temperature": 0, "max_tokens": max_tokens}
                    request["messages"] = [{"role": "user", "content": content}]
                    answer = await http.post("/v1/chat/completions", json=request)
                    captions[position, text] = answer.raise_for_status().json()["choices"][0]["message"][
                        "content"
                    ]

        for one_pass in order:
            await asyncio.gather(*itertools.starmap(ask, one_pass))
    return captions


def draw_images(folder: Path, count: int) -> list[Path]:
    """Write different drawings, enlarged to IMAGE_SIDE px."""
    rng = np.random.default_rng(5)
    paths = []
    for number in range(count):
        paths.append(folder / f"{number}.png")
        world.draw(world.sample_scene(rng), rng).resize((IMAGE_SIDE, IMAGE_SIDE)).save(paths[-1])
    return paths


def answered_images(values: Params, address: str, paths: Sequence[Path]) -> list[Path]:
    """Return the images that get a text for each length: in this size, the model answers some with nothing."""
    instructions = tuple(asdict(values.captions.instructions).values())
    order = [[(i, instructions) for i in range(len(paths))]]
    model, tokens = vlm.digest(values.models), values.captions.max_tokens
    captions = asyncio.run(request_plainly(address, model, paths, order, tokens))
    silent = {position for (position, _), text in captions.items() if not any(map(str.isalpha, text or ""))}
    return [path for position, path in enumerate(paths) if position not in silent]


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server whose VLM sees images in IMAGE_SIDE px and whose cache is small, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    blocks = (CACHED_IMAGES + CONCURRENCY) * BLOCKS_PER_REQUEST
    pixels = json.dumps({"min_pixels": IMAGE_SIDE**2, "max_pixels": IMAGE_SIDE**2 + 1000})
    command = [*SERVER, "--port", str(port), "--", "--block-size", str(BLOCK_TOKENS)]
    command += ["--num-gpu-blocks-override", str(blocks)]
    command += ["--mm-processor-kwargs", pixels]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}  # for the requests that empty its caches
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until_ready(f"{address}/health", process)
            yield address
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def wait_until_ready(health: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers. Raises CaptionError if it ends or takes longer than START_S."""
    for _ in range(START_S):
        if process.poll() is not None:
            raise CaptionError(
                "the vLLM server ended before it answered: start it by hand (`autolora vllm --cpu`) to see why"
            )
        try:
            urllib.request.urlopen(health, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise CaptionError(
        f"the vLLM server did not start within {START_S} s: start it by hand (`autolora vllm --cpu`) to see why"
    )


def empty_caches(address: str) -> None:
    """Empty the server's caches of prefixes and images."""
    for path in ("reset_prefix_cache", "reset_mm_cache"):
        httpx2.post(f"{address}/{path}", timeout=60).raise_for_status()


def prefilled_tokens(address: str) -> int:
    """Return how many prompt tokens the server has computed, not found in its cache, since it started."""
    metrics = httpx2.get(f"{address}/metrics", timeout=60).raise_for_status().text
    pattern = r'^vllm:prompt_tokens_by_source_total\{.*source="local_compute".*\} (\S+)$'
    return int(sum(float(value) for value in re.findall(pattern, metrics, re.M)))


def to_markdown(rows: Mapping[str, Row]) -> str:
    """Return the table."""
    lines = ["| way | images/s | prefilled tokens |", "|---|---|---|"]
    lines += [
        f"| {way} | {row['images_per_s']:.1f} | {row['prefilled_tokens']:,.0f} |" for way, row in rows.items()
    ]
    return "\n".join([*lines, f"equal captions: {rows['images']['equal_captions']:.1%}"])


if __name__ == "__main__":
    with exit_on_error():
        main()
