"""Check of the card: whether an image can be drawn on it, and by which value of `models.memory`."""

from collections.abc import Iterator, Mapping

from autolora.doctor import Setting, Trouble
from autolora.gpu_memory import Needs, card_bytes, drawing_lack

NEEDS: Mapping[str, Needs] = {
    "black-forest-labs/FLUX.1-dev": {
        None: 36.7e9,
        "offload": 26.2e9,
        "8bit": 21.1e9,
        "4bit": 14.4e9,
        "sequential": 2.9e9,
    }
}
"""as `autolora plan` computes them, which takes longer than all checks may; of other pipelines, only it says them"""


def card(setting: Setting) -> Iterator[Trouble]:
    """Yield that an image does not fit on the card, and with which `models.memory` it does."""
    models = setting.params.models
    memory = card_bytes() if models.device.startswith("cuda") and models.pipeline in NEEDS else None
    if memory and (lack := drawing_lack(NEEDS[models.pipeline], models.memory, memory)):
        yield Trouble(*lack)


CHECKS = (card,)
