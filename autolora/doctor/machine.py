"""Checks of the machine: the GPU and its memory for images, the memory for the encoder, and the disks."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autolora.doctor import Setting, Trouble
from autolora.doctor.models import models_of
from autolora.errors import MissingArtifact, ParamsError
from autolora.gpu_memory import LOWER, card_bytes, drawing_lack
from autolora.model_sizes import is_known
from autolora.models import check_device, check_quantization
from autolora.storage.files import GB
from autolora.wording import counted

SPARE_GB = 2
"""that a refresh needs beside what it downloads: tables, logs, copies of the index; it stops if there is less"""


def gpu(setting: Setting) -> Iterator[Trouble]:
    """Yield that the device of params.yaml cannot be used, or too few GPUs."""
    models = setting.params.models
    if models.device == "cpu":  # which needs no torch, whose import takes seconds
        return
    try:
        check_device(models)
    except ParamsError as error:
        yield Trouble.of(error)
        return
    import torch

    processes, cards = setting.params.operation.processes, torch.cuda.device_count()
    if processes > cards:
        yield Trouble(
            f"operation.processes is {processes} and each process of a training needs a GPU, but torch finds "
            f"{counted(cards, 'GPU')}",
            "lower it in params.yaml",
            stops=setting.params.encoder.trains_transformer,
        )


def card(setting: Setting) -> Iterator[Trouble]:
    """Yield that `models.memory` cannot be used, or that an image does not fit on the card, and with which it does."""
    models = setting.params.models
    try:
        check_quantization(models)
    except (ParamsError, MissingArtifact) as error:
        yield replace(Trouble.of(error), stops=False)  # a release needs no image
    memory = card_bytes() if models.device.startswith("cuda") and is_known(models.pipeline) else None
    if memory is None:
        return
    from autolora.planning.plan import drawing_needs, make_setting  # imports torch

    if lack := drawing_lack(
        drawing_needs(make_setting(setting.params, None, adapters=1)), models.memory, memory
    ):
        yield Trouble(*lack)


def encoder(setting: Setting) -> Iterator[Trouble]:
    """Yield that the training of the encoder's transformer does not fit; a ridge regression does."""
    if not setting.params.encoder.trains_transformer:
        return
    from autolora.planning.plan import encoder_lack  # imports torch

    with suppress(ParamsError):  # a GPU that is not there is the trouble of another check
        check_device(setting.params.models)
        if lack := encoder_lack(setting.params, setting.root):
            yield Trouble(lack, f"lower {LOWER['encoder']}", stops=True)


def disks(setting: Setting) -> Iterator[Trouble]:
    """Yield each disk that has too little space for what a refresh writes there, and folders that cannot be written."""
    spare = max(SPARE_GB, setting.params.crawl.min_free_gb or 0)
    places = [("the project", setting.root, int(spare * GB))]
    missing = [model for model in models_of(setting.params, setting.is_pipeline) if not model.is_here]
    if missing:
        names = ", ".join(model.id for model in missing)
        places.append((f"models to download ({names})", _hub_cache(), sum(model.size for model in missing)))
    places.append(("temporary files", Path(tempfile.gettempdir()), GB))
    disks = defaultdict[int, list[tuple[str, Path, int]]](list)
    for name, folder, needed in places:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not _is_writable(existing):
            yield Trouble(f"{existing} cannot be written ({name})", "give this user the right to", stops=True)
        disks[existing.stat().st_dev].append((name, existing, needed))
    evicting = " by `python -m flows.evict`" if setting.params.storage.keep_local_gb is not None else ""
    for users in disks.values():
        folder, needed = users[0][1], sum(user[2] for user in users)
        free = shutil.disk_usage(folder).free
        if free < needed:
            yield Trouble(
                f"the disk of {folder} has {free / GB:.0f} GB free and a refresh needs {needed / GB:.0f} "
                f"({'; '.join(name for name, *_ in users)})",
                f"free some{evicting}, lower crawl.min_free_gb, or set HF_HOME to a larger disk (`autolora plan` has "
                "the sizes)",
                stops=free < SPARE_GB * GB,
            )


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


CHECKS, PIPELINE_CHECKS = (gpu, card, disks), (encoder,)
