"""reports/index.html: one page from the report parts that exist. Every text from a hub is escaped.

The page of a small pool embeds its images and loads nothing; that of a large one has them beside it, in reports/images.
"""

import base64
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolora.lora.remedies import REMEDIES
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.params import Params, load
from autolora.pool import store as pool
from autolora.report import browser
from autolora.report.cards import Card, read_cards
from autolora.report.chart_text import chart_text, metric_text
from autolora.report.charts import make_charts
from autolora.report.comparison import compare_adapters
from autolora.report.decimals import decimal, tick
from autolora.report.headlines import headlines
from autolora.report.history import read_refresh, releases
from autolora.report.images import PageImage, image_store
from autolora.report.last_refresh import failure_notice, read_last_refresh
from autolora.report.measured import Measured, read_digests, read_measured
from autolora.report.outcomes import KINDS
from autolora.report.provenance import parameters, provenance
from autolora.report.references import MAX_DISAGREEING, References
from autolora.report.refresh_summary import LABELS
from autolora.report.studies import read_studies
from autolora.report.timeline import trends
from autolora.storage.files import read_json, write_atomic

MAX_EMBEDDED = 500
"""up to this number of adapters, the images are embedded in the page; beyond, they are files beside it"""
MAX_FULL_GALLERIES = 1000
"""up to this number of adapters, the page has all their images; beyond, two of each"""
MAX_LISTED = 200
"""accepted adapters, and refused files, that the page lists without a script"""
ASSETS = (
    *(f"components/{name}.css" for name in ("tokens", "cards", "trends", "gates")),
    "assets/style.css",
)
SCRIPTS = (
    "components/copy.js",
    "assets/elements.js",
    "assets/detail.js",
    "assets/browse.js",
    "assets/heatmap.js",
)

logger = logging.getLogger(__name__)


def assemble(root: Path) -> Path:
    """Write reports/index.html from what the stages have written so far; return its path."""
    params = load(root / "params.yaml") if (root / "params.yaml").is_file() else None
    measured = read_measured(root)
    cards = read_cards(root, _judgments(root, params, measured))
    accepted = [card for card in cards if card.adapter.accepted]
    comparison = compare_adapters(root, accepted)
    images = _images(root, accepted)
    content = {
        **_pool(cards, accepted),
        **_news(root),
        **_numbers(measured, References(root, cards, images)),
        "heatmap": comparison.heatmap,
        "agreement": comparison.agreement_charts(),
        "studies": read_studies(root),
        "odd_files": read_json(root / "metrics" / "odd_files.json"),
        "facts": provenance(
            root, params, cards, {"evaluation": measured.evaluation, "experiments": measured.experiments}
        ),
        "parameters": parameters(params),
        "digests": read_digests(root),
        "chart_text": chart_text,
        "metric_text": metric_text,
    }
    data = {
        "adapters": browser.to_columns(browser.adapter_rows(
            cards, comparison.groups, images, comparison.neighbors, comparison.duplicates,
            params.hubs if params else None,
        )),
        "heatmap": browser.heatmap_data(comparison.heatmap, cards),
        "images": browser.image_table(images),
    }  # fmt: skip
    path = root / "reports" / "index.html"
    write_atomic(path, render(content, data, len(accepted) > MAX_EMBEDDED))
    logger.info("%s: %d adapters", path, len(cards))
    return path


def render(content: Mapping[str, Any], data: Mapping[str, Any], are_files: bool) -> bytes:
    """Return the page as HTML in UTF-8; every value is escaped, and an unknown one is an error.

    data: what the page's script gets as JSON. are_files: whether the page loads images from files beside it.
    The parts are encoded one by one, because a string of the whole page takes two bytes per character.
    """
    environment = Environment(
        loader=PackageLoader("autolora.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"decimal": decimal, "tick": tick}
    script = '"use strict";\n' + "\n".join(environment.get_template(name).render() for name in SCRIPTS)
    style = "\n".join(environment.get_template(name).render() for name in ASSETS)
    parts = environment.get_template("templates/index.html").generate(
        **content,
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        image_sources="'self' data:" if are_files else "data:",
        data=browser.script_json(data),
    )
    page = io.BytesIO()
    page.writelines(part.encode() for part in parts)
    return page.getvalue()


def _pool(cards: Sequence[Card], accepted: Sequence[Card]) -> dict[str, Any]:
    """Return the values of the page about the pool."""
    return {
        "num_adapters": len({card.sha256 for card in accepted}),
        "num_images": len({image.sha256 for card in accepted for image in card.renderings}),
        "cards": cards,
        "listed": accepted[:MAX_LISTED],
        "accepted": accepted,
        "anchors": {card.sha256 for card in cards},
        "refused": [card for card in cards if not card.adapter.accepted],
        "max_refused": MAX_LISTED,
        "remedies": REMEDIES,
    }


def _news(root: Path) -> dict[str, Any]:
    """Return the values of the page about the last refresh and the releases."""
    record, found, last = read_refresh(root), releases(root), read_last_refresh(root)
    return {
        "notice": failure_notice(root, last),
        "refresh": record,
        "outcome_labels": LABELS,
        "outcome_counts": [
            (LABELS[kind], record.counts[kind]) for kind in KINDS if record and record.counts.get(kind)
        ],
        "releases": list(reversed(found)),
        "trends": trends(found),
    }


def _numbers(measured: Measured, references: References) -> dict[str, Any]:
    """Return the values of the page about what was measured on this pool."""
    evaluation, experiments = measured.evaluation, measured.experiments
    return {
        "tiles": headlines(measured),
        "left_out": measured.left_out,
        "disagreeing": references.disagreeing(),
        "max_disagreeing": MAX_DISAGREEING,
        "evaluation": evaluation,
        "retrieval": make_charts(evaluation, metrics=evaluation.get("metrics", ())) if evaluation else [],
        "searches": references.searches(evaluation) if evaluation else [],
        "experiments": experiments,
        "fusion": make_charts(experiments, methods=experiments.get("methods", ())) if experiments else [],
        "cases": references.cases(experiments) if experiments else {},
        "name": references.name,
    }


def _judgments(root: Path, params: Params | None, measured: Measured) -> dict[str, Judgment]:
    """Return the judged themes: those that the evaluation used, replaced by those of the file of judgments."""
    used = measured.evaluation.get("themes", {}) if measured.evaluation else {}
    file = params.evaluation.themes if params else None
    judgments = {sha256: Judgment(theme, None) for sha256, theme in used.items()}
    return judgments | read_judgments(root / file if file else None)


def _images(root: Path, accepted: Sequence[Card]) -> dict[str, PageImage]:
    """Return the images of the page by the sha256 of the rendering."""
    limit = None if len(accepted) <= MAX_FULL_GALLERIES else 2
    wanted = {image.sha256: image.size for card in accepted for image in card.renderings[:limit]}
    store = image_store(root, len(wanted), len(accepted) > MAX_EMBEDDED)
    images = {
        sha256: store.load(sha256, size, pool.rendering_path(root, sha256)) for sha256, size in wanted.items()
    }
    store.remove_others()
    return {sha256: image for sha256, image in images.items() if image}
