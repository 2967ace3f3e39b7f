"""Check of the card: whether an image can be drawn on it, and by which value of `models.memory`."""

from collections.abc import Iterator

from autolora.doctor import Setting, Trouble
from autolora.gpu_memory import card_bytes


def card(setting: Setting) -> Iterator[Trouble]:
    """Yield that an image does not fit on the card, and with which `models.memory` it does."""
    params = setting.params
    memory = card_bytes() if params.models.device.startswith("cuda") else None
    if memory is None:
        return
    from autolora.planning.drawing import drawing_lack, drawing_needs
    from autolora.planning.plan import make_setting

    known = make_setting(params, None, adapters=1)
    needs = drawing_needs(known.pipeline, params.generation, known.work.rank, known.work.file_bytes)
    if lack := drawing_lack(needs, params.models.memory, memory):
        yield Trouble(*lack)


CHECKS = (card,)
