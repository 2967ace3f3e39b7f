"""reports/index.html: one self-contained page from the halves that exist. Every hub string is escaped."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolora.metrics.judgments import Judgment, read_judgments
from autolora.params import Params, load
from autolora.pool import store as pool
from autolora.report import browser, likeness
from autolora.report.cards import Card, read_cards
from autolora.report.estimates import draw
from autolora.report.figures import captioned, explained
from autolora.report.groups import Group, group
from autolora.report.images import Picture, open_album
from autolora.report.maps import draw_map
from autolora.report.mentions import Mentions
from autolora.report.provenance import parameters, provenance
from autolora.report.tiles import tiles
from autolora.storage.files import write_atomic

COVERED = 120
"""up to so many adapters, the contact sheet shows several pictures of each; beyond, one"""
COVERS = 3
SHEET = 2000
"""adapters on the contact sheet at most; the browser has all"""
PICTURED = 1000
"""up to so many adapters, the browser has all their pictures; beyond, two of each"""
STAGES = ("pool", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments")

logger = logging.getLogger(__name__)


def assemble(root: Path) -> Path:
    """Write reports/index.html from what the stages have made so far and return its path."""
    evaluation = _read(root / "data" / "evaluation" / "report.json")
    experiments = _read(root / "data" / "experiments" / "report.json")
    params = load(root / "params.yaml") if (root / "params.yaml").is_file() else None
    cards = read_cards(root, _judgments(root, params, evaluation))
    accepted = [card for card in cards if card.adapter.accepted]
    sources = _sources(root)
    groups = group(accepted, next(iter(sources.values()), None))
    pictures = _pictures(root, accepted)
    mentions = Mentions(root, cards, pictures)
    heatmap = draw_map(groups, sources)
    alike = _agreement(accepted, sources)
    nearest = {name: source.nearest() for name, source in sources.items()}
    copies = likeness.read_copies(root)
    content = {
        "tiles": tiles(cards, evaluation, experiments),
        "shelves": [(kind, list(of)) for kind, of in groupby(groups, key=lambda group: group.kind)],
        "covers": _covers(groups, pictures),
        "sheet": SHEET,
        "pictures": pictures,
        "cards": cards,
        "accepted": accepted,
        "first": {card.sha256: card for card in reversed(accepted)},
        "refused": [card for card in cards if not card.adapter.accepted],
        "odd": _read(root / "metrics" / "odd_files.json"),
        "evaluation": evaluation,
        "retrieval": draw(evaluation, metrics=evaluation.get("metrics", ())) if evaluation else [],
        "searches": mentions.searches(evaluation) if evaluation else [],
        "map": heatmap,
        "alike": draw({"likeness": {"methods": alike}}, methods=tuple(sources)) if alike else [],
        "experiments": experiments,
        "fusion": draw(experiments, methods=experiments.get("methods", ())) if experiments else [],
        "trials": mentions.trials(experiments) if experiments else {},
        "name": mentions.name,
        "captioned": captioned,
        "explained": explained,
        "facts": provenance(root, params, cards, {"evaluation": evaluation, "experiments": experiments}),
        "parameters": parameters(params),
        "digests": _digests(root),
    }
    data = {
        "adapters": browser.browse(cards, groups, pictures, nearest, copies),
        "map": browser.drawn(heatmap, cards),
    }
    path = root / "reports" / "index.html"
    write_atomic(path, render(content, data))
    logger.info("%s: %d adapters", path, len(cards))
    return path


def render(content: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the page as HTML; every value is escaped, and an unknown one is an error.

    data: what the page's script gets as JSON, beside the pictures that the markup does not show.
    """
    environment = Environment(
        loader=PackageLoader("autolora.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("browser.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = {picture.number for row in content["covers"].values() for picture in row}
    rest = {p.number: p.url for p in content["pictures"].values() if p.number not in shown}
    return environment.get_template("index.html").render(
        **content,
        style=Markup(environment.get_template("style.css").render()),
        script=Markup(script),
        script_digest=digest,
        data=browser.to_script({**data, "pictures": rest}),
    )


def _judgments(
    root: Path, params: Params | None, evaluation: Mapping[str, Any] | None
) -> dict[str, Judgment]:
    """Return what is judged about adapters: what evaluation went by, and the kinds of the file of judgments."""
    judged = evaluation.get("themes", {}) if evaluation else {}
    named = params.evaluation.themes if params else None
    return {sha256: Judgment(theme, None) for sha256, theme in judged.items()} | read_judgments(
        root / named if named else None
    )


def _sources(root: Path) -> dict[str, likeness.Likeness]:
    """Return what is known of likeness: by the index, by raw sketches; what is missing is left out."""
    found = {"index": likeness.read_index(root), "raw sketch": likeness.read_sketches(root)}
    return {name: source for name, source in found.items() if source}


def _agreement(
    accepted: Sequence[Card], sources: Mapping[str, likeness.Likeness]
) -> dict[str, dict[str, Any]]:
    """Return how often the nearest other adapter has the same theme; empty without themes."""
    themes = {card.sha256: card.theme for card in accepted if card.theme}
    unseen = [card.sha256 for card in accepted if card.split != "train"]
    return likeness.agreement(sources, themes, unseen) if sources and themes else {}


def _pictures(root: Path, accepted: Sequence[Card]) -> dict[str, Picture]:
    """Return the pictures of the page by the sha256 of the rendering."""
    most = None if len(accepted) <= PICTURED else 2
    wanted = dict.fromkeys(r.sha256 for card in accepted for r in card.renderings[:most])
    album = open_album(len(wanted))
    found = {sha256: album.picture(sha256, pool.rendering_path(root, sha256)) for sha256 in wanted}
    return {sha256: picture for sha256, picture in found.items() if picture}


def _covers(groups: Sequence[Group], pictures: Mapping[str, Picture]) -> dict[str, list[Picture]]:
    """Return the pictures of each adapter that the contact sheet shows, by the adapter's sha256."""
    cards = [card for group in groups for card in group.cards][:SHEET]
    most = COVERS if len(cards) <= COVERED else 1
    return {
        card.sha256: [pictures[r.sha256] for r in card.renderings if r.sha256 in pictures][:most]
        for card in cards
    }


def _digests(root: Path) -> list[dict[str, Any]]:
    read = {stage: _read(root / "digests" / f"{stage}.json") for stage in STAGES}
    return [{"stage": stage} | digest for stage, digest in read.items() if digest]


def _read(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; None where the stage has not written it yet."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
