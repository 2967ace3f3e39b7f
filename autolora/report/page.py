"""reports/index.html: one self-contained page from the report parts that exist. Every text from a hub is escaped."""

import base64
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolora.evaluation import store as evaluation_store
from autolora.experiments import store as experiments_store
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.metrics.summary import read_summary
from autolora.params import Params, load
from autolora.pool import store as pool
from autolora.report import browser, similarity
from autolora.report.cards import Card, read_cards
from autolora.report.chart_text import chart_text, metric_text
from autolora.report.charts import make_charts
from autolora.report.groups import Group, group
from autolora.report.heatmap import Heatmap, build_heatmap
from autolora.report.images import PageImage, image_store
from autolora.report.provenance import parameters, provenance
from autolora.report.references import MAX_DISAGREEING, References
from autolora.report.tiles import tiles
from autolora.storage.files import read_json, write_atomic
from autolora.storage.incremental import digest_path

MAX_LARGE_COVERS = 120
"""up to this number of adapters, the overview shows several images of each; beyond, one"""
COVER_IMAGES = 3
MAX_OVERVIEW = 2000
"""adapters in the overview; the browser has all"""
MAX_FULL_GALLERIES = 1000
"""up to this number of adapters, the browser has all their images; beyond, two of each"""
STAGES = ("pool", "captions", "dataset", "encoder", "index", "fusion", "evaluation", "experiments")

logger = logging.getLogger(__name__)


def assemble(root: Path) -> Path:
    """Write reports/index.html from what the stages have written so far; return its path."""
    evaluation = evaluation_store.read_report(root)
    experiments = experiments_store.read_report(root)
    params = load(root / "params.yaml") if (root / "params.yaml").is_file() else None
    cards = read_cards(root, _judgments(root, params, evaluation))
    accepted = [card for card in cards if card.adapter.accepted]
    groups, heatmap, agreement, neighbors = _compare_adapters(root, accepted)
    images = _images(root, accepted)
    references = References(root, cards, images)
    duplicates = similarity.family_members(root)
    content = {
        "tiles": tiles(cards, read_summary(root)),
        "kinds": [(kind, list(members)) for kind, members in groupby(groups, key=lambda group: group.kind)],
        "covers": _covers(groups, images),
        "max_overview": MAX_OVERVIEW,
        "images": images,
        "cards": cards,
        "accepted": accepted,
        "first": {card.sha256: card for card in reversed(accepted)},
        "refused": [card for card in cards if not card.adapter.accepted],
        "odd_files": read_json(root / "metrics" / "odd_files.json"),
        "disagreeing": references.disagreeing(),
        "max_disagreeing": MAX_DISAGREEING,
        "evaluation": evaluation,
        "retrieval": make_charts(evaluation, metrics=evaluation.get("metrics", ())) if evaluation else [],
        "searches": references.searches(evaluation) if evaluation else [],
        "heatmap": heatmap,
        "agreement": make_charts({"similarity": {"methods": agreement}}, tuple(neighbors))
        if agreement
        else [],
        "experiments": experiments,
        "fusion": make_charts(experiments, methods=experiments.get("methods", ())) if experiments else [],
        "cases": references.cases(experiments) if experiments else {},
        "name": references.name,
        "chart_text": chart_text,
        "metric_text": metric_text,
        "facts": provenance(root, params, cards, {"evaluation": evaluation, "experiments": experiments}),
        "parameters": parameters(params),
        "digests": _digests(root),
    }
    data = {
        "adapters": browser.adapter_rows(cards, groups, images, neighbors, duplicates),
        "heatmap": browser.heatmap_data(heatmap, cards),
    }
    path = root / "reports" / "index.html"
    write_atomic(path, render(content, data))
    logger.info("%s: %d adapters", path, len(cards))
    return path


def render(content: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    """Return the page as HTML in UTF-8; every value is escaped, and an unknown one is an error.

    data: what the page's script gets as JSON, besides the images that the markup does not show.
    The parts are encoded one by one, because a string of the whole page takes two bytes per character.
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
    in_markup = {image.number for images in content["covers"].values() for image in images}
    urls = {image.number: image.url for image in content["images"].values() if image.number not in in_markup}
    parts = environment.get_template("index.html").generate(
        **content,
        style=Markup(environment.get_template("style.css").render()),
        script=Markup(script),
        script_digest=digest,
        data=browser.script_json({**data, "images": urls}),
    )
    page = io.BytesIO()
    page.writelines(part.encode() for part in parts)
    return page.getvalue()


def _judgments(
    root: Path, params: Params | None, evaluation: Mapping[str, Any] | None
) -> dict[str, Judgment]:
    """Return the judged themes: those that the evaluation used, replaced by those of the file of judgments."""
    used = evaluation.get("themes", {}) if evaluation else {}
    file = params.evaluation.themes if params else None
    judgments = {sha256: Judgment(theme, None) for sha256, theme in used.items()}
    return judgments | read_judgments(root / file if file else None)


def _compare_adapters(
    root: Path, accepted: Sequence[Card]
) -> tuple[list[Group], Heatmap | None, dict[str, dict[str, Any]], browser.Neighbors]:
    """Return groups, heat map, agreement with themes, and nearest neighbors; the vectors do not stay in memory."""
    sources = _vector_sources(root)
    groups = group(accepted, next(iter(sources.values()), None))
    return (
        groups,
        build_heatmap(groups, sources),
        _theme_agreement(accepted, sources),
        {name: source.nearest() for name, source in sources.items()},
    )


def _vector_sources(root: Path) -> dict[str, similarity.AdapterVectors]:
    """Return the adapters' vectors by source: index and raw sketches; a source that does not exist is left out."""
    sources = {"index": similarity.index_vectors(root), "raw sketch": similarity.sketch_vectors(root)}
    return {name: source for name, source in sources.items() if source}


def _theme_agreement(
    accepted: Sequence[Card], sources: Mapping[str, similarity.AdapterVectors]
) -> dict[str, dict[str, Any]]:
    """Return how often the nearest other adapter has the same theme; empty without themes."""
    themes = {card.sha256: card.theme for card in accepted if card.theme}
    unseen = [card.sha256 for card in accepted if card.split != "train"]
    return similarity.theme_agreement(sources, themes, unseen) if sources and themes else {}


def _images(root: Path, accepted: Sequence[Card]) -> dict[str, PageImage]:
    """Return the images of the page by the sha256 of the rendering."""
    limit = None if len(accepted) <= MAX_FULL_GALLERIES else 2
    wanted = dict.fromkeys(rendering.sha256 for card in accepted for rendering in card.renderings[:limit])
    store = image_store(root, len(wanted))
    images = {sha256: store.load(sha256, pool.rendering_path(root, sha256)) for sha256 in wanted}
    store.remove_others()
    return {sha256: image for sha256, image in images.items() if image}


def _covers(groups: Sequence[Group], images: Mapping[str, PageImage]) -> dict[str, list[PageImage]]:
    """Return adapter sha256 -> its images in the overview."""
    cards = [card for group in groups for card in group.cards][:MAX_OVERVIEW]
    limit = COVER_IMAGES if len(cards) <= MAX_LARGE_COVERS else 1
    return {
        card.sha256: [images[r.sha256] for r in card.renderings if r.sha256 in images][:limit]
        for card in cards
    }


def _digests(root: Path) -> list[dict[str, Any]]:
    digests = {stage: read_json(digest_path(root, stage)) for stage in STAGES}
    return [{"stage": stage} | digest for stage, digest in digests.items() if digest]
