"""Checks of the machine: the GPU, the disks, and the port of the page."""

import json
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autolora.doctor import Setting, Trouble
from autolora.doctor.models import models_of
from autolora.errors import ParamsError
from autolora.gpu_memory import LOWER
from autolora.models import check_device
from autolora.web import PORT

GB = 10**9
HEALTH = f"http://127.0.0.1:{PORT}/health"
SPARE_GB = 2
"""that a refresh needs beside what it downloads: tables, logs, copies of the index; it stops if there is less"""


def gpu(setting: Setting) -> Iterator[Trouble]:
    """Yield that the device of params.yaml cannot be used, or that the base model does not fit on the card."""
    models = setting.params.models
    try:
        check_device(models)
    except ParamsError as error:
        yield Trouble(str(error), explain_missing_gpu(), stops=True)
        return
    if models.device == "cpu":
        return
    import torch

    memory = torch.cuda.get_device_properties(models.device).total_memory
    needed = next((model.size for model in models_of(setting.params, True) if model.id == models.pipeline), 0)
    if needed > memory:
        yield Trouble(
            f"{models.pipeline} needs {needed / GB:.0f} GB of GPU memory, and the card has {memory / GB:.0f}",
            "fusion, experiments and `generate` need a larger card; the index and searches do not",
        )


def explain_missing_gpu() -> str:
    """Return why torch finds no GPU, and what to do."""
    import torch

    if torch.version.cuda is None:
        return "torch is a build without CUDA: install another one (https://pytorch.org), or set models.device: cpu"
    driver = _driver_version()
    if driver is None:
        return "no NVIDIA driver answers (nvidia-smi): install one, or set models.device: cpu"
    return (
        f"the driver is {driver} and torch was built for CUDA {torch.version.cuda}, which needs a newer one: "
        "update the driver, install a torch for an older CUDA, or set models.device: cpu"
    )


def _driver_version() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return answer.stdout.split("\n")[0].strip() or None
    return None


def encoder(setting: Setting) -> Iterator[Trouble]:
    """Yield that the training of the encoder's transformer does not fit; a ridge regression does."""
    from autolora.planning.risks import encoder_lack

    with suppress(ParamsError):  # a GPU that is not there is the trouble of another check
        check_device(setting.params.models)
        if setting.is_pipeline and (lack := encoder_lack(setting.params, setting.root)):
            yield Trouble(lack, f"lower {LOWER['encoder']}", stops=True)


def disks(setting: Setting) -> Iterator[Trouble]:
    """Yield each disk that has too little space for what a refresh writes there, and folders that cannot be written."""
    places = [("the project", setting.root, _daily_bytes(setting) + SPARE_GB * GB)]
    missing = [model for model in models_of(setting.params, setting.is_pipeline) if not model.is_here]
    if missing:
        names = ", ".join(model.id for model in missing)
        places.append((f"models to download ({names})", _hub_cache(), sum(model.size for model in missing)))
    places.append(("temporary files", Path(tempfile.gettempdir()), GB))
    needs, users = defaultdict[int, int](int), defaultdict[int, list[str]](list)
    folders: dict[int, Path] = {}
    for name, folder, needed in places:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not _is_writable(existing):
            yield Trouble(f"{existing} cannot be written ({name})", "give this user the right to", stops=True)
        device = existing.stat().st_dev
        needs[device] += needed
        users[device].append(name)
        folders.setdefault(device, existing)
    for device, needed in needs.items():
        free = shutil.disk_usage(folders[device]).free
        if free < needed:
            yield Trouble(
                f"the disk of {folders[device]} has {free / GB:.0f} GB free and a refresh may need {needed / GB:.0f} "
                f"({'; '.join(users[device])})",
                "free some, lower crawl.budget.gb, or set HF_HOME to a larger disk (`autolora plan` has the sizes)",
                stops=free < SPARE_GB * GB,
            )


def _daily_bytes(setting: Setting) -> int:
    """Return what a day of the crawl may download."""
    if not setting.is_pipeline or setting.params.crawl.hubs == ("folder",):
        return 0
    return int((setting.params.crawl.budget.gb or 0) * GB)


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def port_of_the_page(_: Setting) -> Iterator[Trouble]:
    """Yield that another program listens where the page is served."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", PORT))
            return
        except OSError:
            pass
    with suppress(OSError, ValueError, TypeError), urllib.request.urlopen(HEALTH, timeout=3) as answer:
        if "index" in json.load(answer):
            return
    yield Trouble(
        f"another program listens at port {PORT}, that of the page", "start it with `autolora serve --port N`"
    )


CHECKS = (gpu, encoder, disks, port_of_the_page)
