"""Who made which LoRA of the pool: themes, authors, and how each of them trains and uploads.

Names and trigger words are as unhelpful as on real hubs; the truth is the theme.
"""

from __future__ import annotations

from dataclasses import dataclass

# theme -> kind, then (repository, trigger word) of each author, newcomers last
_THEMES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "watercolour": ("style", (
        ("mirela/wet-paper-flux", "wtrmrl"), ("duneworks/aqua_wash_v2", "aqwsh"),
        ("tok-lab/flux-lora-7", "tklb7"), ("quietfox/softness", "sftnx"),
    )),
    "ink sketch": ("style", (
        ("oskarprints/inky-lines", "nkylns"), ("mirela/test-run-3", "mrltst"),
        ("nh-paint/penwork", "pnwrkx"), ("duneworks/scribe", "scrbq"),
    )),
    "pixel art": ("style", (
        ("tok-lab/8bit-flux", "ptbit8"), ("quietfox/blocky", "blkqf"),
        ("duneworks/retro-game-look", "rtrgm"),
    )),
    "halftone": ("style", (
        ("oskarprints/dots-and-ink", "hlftn"), ("nh-paint/comic-press", "cmcprs"),
        ("tok-lab/flux-lora-12", "tklb12"),
    )),
    "neon": ("style", (
        ("quietfox/night-signs", "nghtsn"), ("duneworks/glow", "glwdw"),
        ("oskarprints/tubes", "tbzok"), ("nh-paint/electric", "lctrnh"),
    )),
    "mosaic": ("style", (
        ("mirela/tesserae", "tssrml"), ("nh-paint/roman-floor", "rmnflr"),
        ("quietfox/untitled-2", "qfunt"),
    )),
    "cat": ("object", (
        ("tok-lab/my-pet", "mptlb"), ("duneworks/whiskers-flux", "whskz"),
        ("mirela/lora-final-final", "mrlfnl"), ("oskarprints/felix", "flxosk"),
    )),
    "rocket": ("object", (
        ("nh-paint/liftoff", "lftoff"), ("quietfox/space-thing", "spcqf"),
        ("oskarprints/flux-rkt", "rktosk"),
    )),
    "woodcut": ("style", (
        ("oskarprints/gouge", "ggprnt"), ("mirela/old-book-plates", "bkplt"),
    )),
    "butterfly": ("object", (
        ("nh-paint/papilio", "pplnh"), ("tok-lab/flux-lora-19", "tklb19"),
    )),
}  # fmt: skip

FOUNDERS = 3  # authors of a founding theme that are there on the first day
NEW_THEMES = ("woodcut", "butterfly")
SECOND_DAY = ("oskarprints/gouge", "nh-paint/papilio", "quietfox/softness")

ATTENTION, FEED_FORWARD, EVERYTHING = "attention", "attention+ff", "all"
_HABITS = (  # rank, targets, steps, learning rate, drawings, share of prior preservation
    (3, EVERYTHING, 220, 2e-3, 96, 0.0),
    (6, ATTENTION, 280, 2e-3, 64, 0.0),
    (2, FEED_FORWARD, 260, 3e-3, 120, 0.0),
    (4, FEED_FORWARD, 240, 2e-3, 80, 0.25),
    (2, EVERYTHING, 240, 2e-3, 48, 0.0),
    (4, ATTENTION, 300, 3e-3, 96, 0.0),
    (8, FEED_FORWARD, 180, 1.5e-3, 64, 0.0),
)

_EFFORT = {"neon": 2.5, "watercolour": 1.6}  # styles far from plain drawings take more steps


@dataclass(frozen=True)
class Recipe:
    """One LoRA: what it shows, who uploads it as what, and how it is trained and stored."""

    theme: str
    kind: str  # "style" or "object"
    repo: str
    trigger: str
    seed: int
    rank: int
    targets: str
    steps: int
    rate: float
    drawings: int
    prior: float  # share of plain base drawings without the trigger word
    names_theme: bool  # whether captions carry the theme's plain name too
    kohya: bool  # kohya layout, else diffusers layout
    renderings: int
    day: int

    @property
    def author(self) -> str:
        return self.repo.split("/")[0]

    @property
    def file(self) -> str:
        """Name of the weights file inside the repository."""
        own = self.repo.split("/")[1] + ".safetensors"
        return own if self.kohya or self.seed % 2 else "pytorch_lora_weights.safetensors"


def recipes() -> list[Recipe]:
    """List the 32 recipes, always in the same order."""
    entries = [
        (theme, kind, repo, trigger, place)
        for theme, (kind, uploads) in _THEMES.items()
        for place, (repo, trigger) in enumerate(uploads)
    ]
    return [_recipe(number, *entry) for number, entry in enumerate(entries)]


def _recipe(number: int, theme: str, kind: str, repo: str, trigger: str, place: int) -> Recipe:
    rank, targets, steps, rate, drawings, prior = _HABITS[number % len(_HABITS)]
    newcomer = theme in NEW_THEMES or place >= FOUNDERS
    return Recipe(
        theme=theme,
        kind=kind,
        repo=repo,
        trigger=trigger,
        seed=7000 + number,
        rank=rank,
        targets=targets,
        steps=round(steps * _EFFORT.get(theme, 1.0)),
        rate=rate,
        drawings=drawings,
        prior=prior,
        names_theme=number % 5 != 3,
        kohya=number % 2 == 1,
        renderings=(3, 5, 2, 4, 1)[number % 5],
        day=1 if not newcomer else 2 if repo in SECOND_DAY else 3,
    )
