"""reports/index.html: one self-contained page from the halves that exist. Every hub string is escaped."""

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolora.files import write_atomic
from autolora.report.cards import Card, Rendering, read_cards
from autolora.report.pictures import embed_strip, embed_whole

CARDS = 300
"""adapters shown at most, so that a page of a large pool still opens"""
CAPTIONED = 12
OUTCOMES = {
    "pairs": ("A pair, both asked for", "Two adapters loaded, a prompt that asks for both."),
    "single": ("One adapter, asked for", "One adapter loaded, a prompt that asks for it."),
    "base kept": ("A pair, neither asked for", "Two adapters loaded, a prompt that names neither."),
}
STAGES = ("pool", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments")

logger = logging.getLogger(__name__)


def assemble(root: Path) -> Path:
    """Write reports/index.html from what the stages have made so far and return its path."""
    evaluation = _read(root / "data" / "evaluation" / "report.json")
    experiments = _read(root / "data" / "experiments" / "report.json")
    themes = evaluation["themes"] if evaluation else {}
    cards = read_cards(root, themes)
    accepted = [card for card in cards if card.adapter.accepted]
    known = {card.adapter.sha256: card for card in reversed(accepted)}
    content = {
        "tiles": tiles(cards, evaluation, experiments),
        "evaluation": evaluation,
        "searches": [_search(item, known) for item in evaluation["gallery"]] if evaluation else [],
        "heatmap": embed_whole(root / "data" / "evaluation" / "heatmap.png"),
        "experiments": experiments,
        "grids": _grids(root, experiments, known) if experiments else [],
        "shelves": _shelves(accepted[:CARDS]),
        "shown": min(CARDS, len(accepted)),
        "accepted": len(accepted),
        "refused": [card for card in cards if not card.adapter.accepted],
        "captions": _captioned(accepted),
        "name": lambda sha256: _name(sha256, known),
        "outcomes": OUTCOMES,
        "digests": _digests(root),
    }
    path = root / "reports" / "index.html"
    write_atomic(path, render(content))
    logger.info("%s: %d adapters", path, len(cards))
    return path


def render(content: Mapping[str, Any]) -> str:
    """Return the page as HTML; every value is escaped, and an unknown one is an error."""
    environment = Environment(
        loader=PackageLoader("autolora.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = environment.get_template("style.css").render()
    return environment.get_template("index.html").render(**content, style=Markup(source))


def tiles(
    cards: Sequence[Card], evaluation: Mapping[str, Any] | None, experiments: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    """Return the headline numbers: number, what it is, and what it must be read with."""
    refused = sum(not card.adapter.accepted for card in cards)
    pictures = {rendering.sha256 for card in cards for rendering in card.renderings}
    found = [
        _tile(
            str(len(cards) - refused),
            "adapters in the pool",
            f"{refused} files refused, {len(pictures)} renderings",
        )
    ]
    if evaluation and evaluation["levels"]:
        level = "theme" if "theme" in evaluation["levels"] else "adapter"
        found += [_found(evaluation["levels"][level]["methods"], level, metric) for metric in ("R@1", "MRR")]
    if experiments and "pairs" in experiments["outcomes"]:
        minus = experiments["outcomes"]["pairs"]["differences"]["gated − direct"]["text"]
        interval = f"[{minus['low']:+.3f}, {minus['high']:+.3f}], {minus['clusters']} pairs"
        found.append(_tile(f"{minus['value']:+.3f}", "gated − direct, similarity to the prompt", interval))
    return found


def _found(methods: Mapping[str, Any], level: str, metric: str) -> dict[str, str]:
    ours, chance = methods["encoder"][metric], methods["random"][metric]["value"]
    interval = f"[{ours['low']:.2f}, {ours['high']:.2f}], chance {chance:.2f}"
    interval += f"; {ours['n']} queries, {ours['clusters']} adapters"
    return _tile(f"{ours['value']:.2f}", f"{metric} of the right {level}, unseen adapters", interval)


def _tile(number: str, what: str, note: str) -> dict[str, str]:
    return {"number": number, "what": what, "note": note}


def _shelves(cards: Sequence[Card]) -> list[tuple[str | None, list[Card]]]:
    """Return the cards by theme; they come sorted."""
    return [(theme, list(members)) for theme, members in groupby(cards, key=lambda card: card.theme)]


def _captioned(cards: Sequence[Card]) -> list[tuple[Card, Rendering]]:
    """Return one captioned rendering an adapter, spread evenly over the pool."""
    found = [(card, next(r for r in card.renderings if r.captions)) for card in cards if card.spoken]
    step = max(1, len(found) // CAPTIONED)
    return found[::step][:CAPTIONED]


def _search(item: Mapping[str, Any], known: Mapping[str, Card]) -> dict[str, Any]:
    """Return one query of the gallery with its pictures."""
    asked = [(card, r) for card in known.values() for r in card.renderings if r.sha256 == item["image"]]
    hits = [hit | _known(hit["sha256"], known) for hit in item["hits"]]
    judged = bool(item["themes"])
    return {
        "text": item["text"],
        "themes": item["themes"],
        "rendering": asked[0][1] if asked else None,
        "nsfw": bool(asked) and asked[0][0].listing.nsfw,
        "hits": [hit | {"right": hit["right theme"] if judged else hit["own"]} for hit in hits],
    }


def _grids(root: Path, experiments: Mapping[str, Any], known: Mapping[str, Card]) -> list[dict[str, Any]]:
    """Return the trials that are worth a look, with their strips."""
    folder = root / "data" / "experiments"
    grids = []
    for trial in experiments["shown"]:
        names = {method: trial["strips"][method] for method in experiments["methods"]}
        strips = {method: embed_strip(folder / name) for method, name in names.items()}
        adapters = [
            _known(sha256, known) | {"relevance": relevance}
            for sha256, relevance in zip(trial["adapters"], trial["relevance"], strict=True)
        ]
        rows = [(method, strip) for method, strip in strips.items() if strip]
        nsfw = any(adapter["nsfw"] for adapter in adapters)
        grids.append(trial | {"adapters": adapters, "rows": rows, "nsfw": nsfw})
    return grids


def _known(sha256: str, known: Mapping[str, Card]) -> dict[str, Any]:
    """Return what the page shows of an adapter that is only mentioned."""
    card = known.get(sha256)
    return {
        "name": _name(sha256, known),
        "title": card.theme if card else None,
        "renderings": card.renderings[:3] if card else (),
        "nsfw": card.listing.nsfw if card else False,
    }


def _name(sha256: str, known: Mapping[str, Card]) -> str:
    return known[sha256].listing.id if sha256 in known else sha256[:12]


def _digests(root: Path) -> list[dict[str, Any]]:
    read = {stage: _read(root / "digests" / f"{stage}.json") for stage in STAGES}
    return [{"stage": stage} | digest for stage, digest in read.items() if digest]


def _read(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; None where the stage has not written it yet."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
