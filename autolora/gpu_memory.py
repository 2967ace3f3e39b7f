"""What a GPU's memory holds when it does not suffice, and what to lower."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from autolora.errors import OutOfMemory

GB = 1e9
Needs = Mapping[str | None, float]
"""value of models.memory -> bytes of the card that an image needs, in the order in which they are proposed"""
LOWER = {
    "captions": "captions.batch, or caption on a server (captions.engine: vllm)",
    "encoder": "encoder.overrides.batch, or set encoder.overrides.projections: type or encoder.overrides.probe: sketch",
    "fusion": "fusion.image_size or fusion.batch, or set fusion.checkpointing: true",
    "experiments": "generation.width or generation.height, or set models.memory",
    "generate": "generation.width, generation.height or the number of adapters, or set models.memory",
}
"""what needs memory -> the params that decide how much"""


def ask_cards(what: str) -> list[str]:
    """Return what NVIDIA's driver states of each card, such as driver_version; [] if it does not answer."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.split()
    return []


def card_bytes() -> float | None:
    """Return the memory of the smallest NVIDIA card; None if none states it.

    torch would take seconds to say it, and memory of the card.
    """
    with suppress(ValueError):
        return min(map(float, ask_cards("memory.total"))) * 2**20
    return None


def drawing_lack(needs: Needs, memory: str | None, card: float) -> tuple[str, str] | None:
    """Return what an image needs and a card of so many bytes does not have, and what to do; None if it fits."""
    if not needs or needs[memory] <= card:
        return None
    what = (
        f"an image (`autolora generate`, the page) needs {needs[memory] / GB:.1f} GB of GPU memory with models.memory: "
        f"{memory or 'null'}, and the card has {card / GB:.1f}"
    )
    for other, size in needs.items():
        if size <= card:
            return (
                what,
                f"set models.memory: {other or 'null'} in params.yaml, which needs {size / GB:.1f} GB",
            )
    return what, "draw on a larger card; the index and searches do not need it"


@contextmanager
def naming_what_to_lower(user: str) -> Iterator[None]:
    """Raise OutOfMemory in place of torch's error. user: a stage, or `generate`."""
    try:
        yield
    except RuntimeError as error:  # of which torch.OutOfMemoryError is a subclass
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(error, torch.OutOfMemoryError):
            raise
        lower = LOWER.get(user, "the batch, or set models.device: cpu")
        raise OutOfMemory(
            f"{user} needs more GPU memory than there is ({_describe(torch)}): stop what else uses the card, such as "
            f"`autolora vllm` once all captions are written, or lower {lower}; `autolora plan` states what each stage "
            "needs"
        ) from error


def _describe(torch: object) -> str:
    """Return how much of the card this process holds, and how much others do."""
    cuda = torch.cuda  # type: ignore[attr-defined]  # the module, which is not imported here
    if not cuda.is_available():
        return "no GPU answers any more"
    free, total = cuda.mem_get_info()
    own = cuda.memory_reserved()
    others = max(0, total - free - own)
    return f"{own / GB:.1f} GB of {total / GB:.1f} are held by this process, {others / GB:.1f} by others"
