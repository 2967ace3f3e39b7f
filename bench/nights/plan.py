"""What happens in each night: what the hubs publish and withdraw, what breaks, what an operator does before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Expected = Literal["promoted", "refused", "pinned", "failed", "killed", "nothing"]
"""what should become of a night's index; `nothing`: it is as it was"""
Hazard = Literal["", "down", "cut", "404", "kill", "disk", "same caption", "no captioner", "bug", "clock"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """One night."""

    what: str
    new: int = 0
    """adapters that appear"""
    expected: Expected = "promoted"
    hazard: Hazard = ""
    hub: str = ""
    """of the hazards `down` and `404`"""
    changes: tuple[str, ...] = ()
    """changes of the hubs: `license`, `version`, `withdraw`, and those of EXTRA, which add repositories"""
    actions: tuple[str, ...] = ()
    """what the operator does before: `restore`, `promote`, `take down`, `roll back`, `lift`"""


EXTRA: Mapping[str, int] = {"mislabel": 1, "duplicate": 1, "near-duplicate": 1, "flood": 12}
"""changes that add so many repositories"""
PLAN: tuple[Night, ...] = (
    Night(what="twelve adapters, five bad files", new=12),
    Night(what="two adapters", new=2),
    Night(what="three adapters, a new license", new=3, changes=("license",)),
    Night(what="one adapter comes, one leaves", new=1, changes=("withdraw",)),
    Night(what="nothing new", expected="nothing"),
    Night(what="two adapters, a new version of one", new=2, changes=("version",)),
    Night(what="Civitai is down", new=2, hazard="down", hub="civitai"),
    Night(what="Civitai is down again", new=1, hazard="down", hub="civitai"),
    Night(what="three adapters, one with another's images", new=3, changes=("mislabel",)),
    Night(what="a duplicate and a near-duplicate", new=2, changes=("duplicate", "near-duplicate")),
    Night(what="bodies are cut", new=2, hazard="cut"),
    Night(what="killed during the captions", new=2, hazard="kill", expected="killed"),
    Night(what="completes the killed night", new=1),
    Night(what="four adapters, one leaves, a new license", new=4, changes=("withdraw", "license")),
    Night(what="ModelScope answers 404 to everything", new=2, hazard="404", hub="modelscope"),
    Night(what="ModelScope answers 404, second night", new=1, hazard="404", hub="modelscope"),
    Night(what="ModelScope answers 404, third night", new=1, hazard="404", hub="modelscope"),
    Night(what="ModelScope is back, one adapter leaves", new=2, changes=("withdraw",)),
    Night(what="the disk is full", new=3, hazard="disk", expected="failed"),
    Night(what="the disk has space again", new=1),
    Night(what="a takedown", new=2, actions=("take down",)),
    Night(
        what="poisoned: one text for all images",
        new=10, hazard="same caption", expected="refused",
    ),
    Night(what="the captioner is repaired", new=1, actions=("restore",)),
    Night(what="without the captioner", new=2, hazard="no captioner", expected="failed"),
    Night(
        what="poisoned: a flood of near-duplicates", new=1, changes=("flood",), expected="refused"
    ),
    Night(what="promoted by hand; an older release is served again", new=2, expected="pinned",
          actions=("promote", "roll back")),
    Night(what="the pin is lifted", new=1, changes=("version",), actions=("lift",)),
    Night(what="poisoned: a bug alters vectors", new=2, hazard="bug", expected="refused"),
    Night(what="the bug is mended; the clock is set back a day", new=1, hazard="clock", actions=("restore",)),
    Night(what="two adapters", new=2),
)  # fmt: skip
"""the month"""
