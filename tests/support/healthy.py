"""Healthy nights that look unusual, each a function of a bed that ends before the gate."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from autolora.records import ACCEPTED
from autolora.storage.arrays import Float32Array
from autolora.storage.hashes import hash_value
from tests.support.nights import HUBS, THEMES, Delivery, Nights, draw_delivery
from tests.support.poisons import mislabel, rewrite_index
from tests.support.synthetic_repo import make_lora

Night = Callable[[Nights], None]


def of_size(low: int, high: int) -> Night:
    """Return an ordinary night with so many new files."""
    return lambda bed: end(bed, draw_delivery(bed.rng, bed.rng.randint(low, high)))


def of(**fields: object) -> Night:
    """Return an ordinary night but for some fields of what is delivered."""
    return lambda bed: end(bed, replace(draw_delivery(bed.rng), **fields))  # type: ignore[arg-type]


def end(bed: Nights, delivery: Delivery) -> None:
    """Run an ordinary night up to the gate."""
    bed.deliver(delivery)
    finish(bed)


def finish(bed: Nights) -> None:
    """Run the stages."""
    bed.write()
    bed.run_stages()


def new_theme(bed: Nights) -> None:
    """Deliver files of a theme that no adapter had, which may be most of them."""
    delivery = draw_delivery(bed.rng)
    bed.deliver(delivery)
    for _ in range(bed.rng.randint(5, 25)):
        bed.add(replace(delivery, themes=THEMES[-1:]))
    finish(bed)


def new_hub(bed: Nights) -> None:
    """Deliver files of a hub that has been added to the params."""
    end(bed, replace(draw_delivery(bed.rng, bed.rng.randint(15, 50)), hubs={**HUBS, "folder": 2.0}))


def late_captions(bed: Nights) -> None:
    """Describe tonight what came last night, when the captioner was down."""
    bed.refresh(replace(draw_delivery(bed.rng), captioned=False))
    end(bed, draw_delivery(bed.rng))


def copies(bed: Nights) -> None:
    """Deliver several copies by one uploader."""
    delivery = draw_delivery(bed.rng, bed.rng.randint(15, 40))
    bed.deliver(delivery)
    for _ in range(bed.rng.randint(2, 6)):
        bed.add(replace(delivery, refused=0.0, copied=1.0, hubs={"civitai": 1.0}))
    finish(bed)


def cleaned_hub(bed: Nights) -> None:
    """Withdraw a few percent of a hub at once."""
    bed.deliver(draw_delivery(bed.rng))
    own = [item for item in bed.active if item.listing.hub == "civitai"]
    for item in bed.rng.sample(own, math.ceil(bed.rng.uniform(0.02, 0.06) * len(own))):
        bed.withdraw(item)
    finish(bed)


def takedowns(bed: Nights) -> None:
    """Take down adapters, of which catalog and pool are then without."""
    bed.deliver(draw_delivery(bed.rng))
    for item in bed.rng.sample(bed.accepted, bed.rng.randint(1, 5)):
        bed.take_down(item)
        bed.withdraw(item)
    finish(bed)


def relicensed_hub(bed: Nights) -> None:
    """Deliver other licenses for all files of a hub."""
    bed.deliver(draw_delivery(bed.rng))
    for item in bed.active:
        if item.listing.hub == "huggingface":
            bed.put(replace(item, listing=replace(item.listing, license="openrail")))
    finish(bed)


def renamed_author(bed: Nights) -> None:
    """Deliver files that are listed under another name than before."""
    bed.deliver(draw_delivery(bed.rng))
    for item in bed.rng.sample(bed.accepted, 8):
        bed.put(replace(item, listing=replace(item.listing, id=f"renamed/{item.listing.id}")))
    finish(bed)


def replaced_files(bed: Nights) -> None:
    """Deliver new versions of files."""
    bed.deliver(draw_delivery(bed.rng))
    for item in bed.rng.sample(bed.accepted, bed.rng.randint(2, 8)):
        bed.made += 1
        listing = replace(
            item.listing, sha256=hash_value(["version", bed.made]), version="b" * 40, first_seen=bed.today
        )
        del bed.files[item.sha256]
        bed.put(replace(item, listing=listing, lora=make_lora(item.theme, bed.made)))
        bed.verdicts[listing.sha256 or ""] = ACCEPTED
    finish(bed)


def two_nights(bed: Nights) -> None:
    """Judge two nights at once, as after a refresh that was killed."""
    end(bed, draw_delivery(bed.rng))
    end(bed, draw_delivery(bed.rng))


def corrected(bed: Nights) -> None:
    """Judge a night after one that was refused, whose wrong captions have been replaced."""
    mislabel(bed, draw_delivery(bed.rng, 40))
    finish(bed)
    bed.judge()
    for item in bed.newcomers:
        bed.put(bed.shown(item, [rendering.key for rendering in item.listing.renderings], item.theme))
    end(bed, draw_delivery(bed.rng))


def other_processor(bed: Nights) -> None:
    """Change the last bits of all vectors, as a rebuild on another processor does."""
    end(bed, draw_delivery(bed.rng))
    noise = np.random.default_rng(bed.rng.getrandbits(32))

    def rounded(vector: Float32Array) -> Float32Array:
        changed: Float32Array = (vector * (1 + 1e-7 * noise.standard_normal(vector.shape))).astype(np.float32)
        return changed

    rewrite_index(
        bed,
        lambda rows: [
            row | {name: rounded(row[name]) for name in ("weights_vector", "texts_vector")} for row in rows
        ],
    )


HEALTHY: Mapping[str, Night] = {
    "one new file": of_size(1, 1),
    "a few new files": of_size(2, 8),
    "an ordinary night": of_size(10, 30),
    "sixty new files": of_size(60, 60),
    "no new file": of_size(0, 0),
    "a hub that delivers rarely delivers much": of(hubs={"modelscope": 1.0}, size=15),
    "one hub is down": of(hubs={"civitai": 1.0}, size=20),
    "a new theme": new_theme,
    "a new hub": new_hub,
    "captions a night late": late_captions,
    "an uploader's copies": copies,
    "files of a tool that is not read": of(refused=0.3, size=30),
    "a hub cleans up": cleaned_hub,
    "adapters are taken down": takedowns,
    "other licenses": relicensed_hub,
    "other galleries": of(recaptioned=0.08),
    "an author is renamed": renamed_author,
    "new versions of files": replaced_files,
    "two nights at once": two_nights,
    "the night after a refusal": corrected,
    "a rebuild on another processor": other_processor,
}
