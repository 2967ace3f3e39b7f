"""The page from a fabricated root: real rows and pictures, hostile words of a hub."""

import base64
import datetime
import hashlib
import io
import json
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from markupsafe import escape
from PIL import Image

from autolora.errors import MissingArtifact
from autolora.evaluation import stage as evaluation
from autolora.experiments import stage as experiments
from autolora.experiments.cases import Trial
from autolora.metrics.judgments import Judgment
from autolora.params import ExperimentsParams
from autolora.pool import store as pool
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.report.cards import read_cards
from autolora.report.estimates import draw
from autolora.report.figures import captioned
from autolora.report.groups import cluster, group
from autolora.report.images import embed, open_album
from autolora.report.likeness import Likeness, agreement
from autolora.report.maps import draw_map
from autolora.report.page import assemble
from autolora.storage.files import hash_value, write_rows
from autolora.storage.incremental import write_digest
from autolora.storage.tables import write_copy
from tests.evaluation.test_stage import PARAMS, THEMES, fabricate

HOSTILE = (
    "</style></script></noscript><!--<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    "{{ 7 * 7 }}\u202e\u2028&lt;"
)
FUSION = ExperimentsParams(pairs=2, images=3, bootstrap=100, seed=0)


def paint(path: Path, colour: tuple[int, int, int], side: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(colour)).integers(0, 60, (side, side, 3)) + np.array(colour) // 2
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")


def write_pool(root: Path, adapters: int = 12) -> list[str]:
    """Write adapters as `fabricate` numbers them, each with two pictures, and two refused files."""
    listings, read, pictures, captions, lock = [], [], [], [], []
    for number in range(adapters + 2):
        sha256, accepted = f"{number:064x}", number < adapters
        images = [f"{number:04x}{picture}".ljust(64, "0") for picture in range(2)]
        for image in images:
            paint(
                pool.rendering_path(root, image),
                (number * 17 % 255, 40 * (number % 4), 200),
                400 if number == 0 else 64,
            )
            pictures.append(PooledRendering(key=image, sha256=image, width=64, height=64))
            text = f"a {THEMES[number % 4]} thing {HOSTILE}"
            captions += [
                Caption(image=image, prompt=length, vlm="v", length=length, text=f"{length}: {text}")
                for length in ("short", "medium", "long")
            ]
        listings.append(listing(number, sha256, images))
        read.append(adapter(listings[-1].key, sha256, accepted))
        if number < 8:
            split = "test" if number % 2 == 0 else "train"
            lock.append({"sha256": sha256, "family": sha256, "split": split, "renderings": images})
    write_rows(root / "data" / "catalog.jsonl", [one.to_row() for one in listings])
    write_rows(root / "data" / "pool" / "adapters.jsonl", [one.to_row() for one in read])
    write_rows(root / "data" / "pool" / "renderings.jsonl", [asdict(one) for one in pictures])
    write_rows(root / "data" / "captions" / "captions.jsonl", [asdict(one) for one in captions])
    write_rows(root / "data" / "training.jsonl", [{"train_until": "2026-01-01"}, *lock])
    write_digest(root, "pool", {"a": hash_value(1)}, 1)
    return [f"{number:064x}" for number in range(adapters)]


def listing(number: int, sha256: str, images: list[str]) -> Listing:
    return Listing(
        hub="huggingface",
        id=f"author{number}/{THEMES[number % 4]}{HOSTILE if number == 3 else ''}",
        version="a" * 40,
        file="lora.safetensors",
        url="http://127.0.0.1:1/file",
        size=1000,
        sha256=sha256,
        license=None if number % 3 else HOSTILE,
        base_model="FLUX",
        nsfw=number == 5,
        trigger_words=(HOSTILE, "zqxv") if number % 2 else (),
        renderings=tuple(
            ListedRendering(url=f"http://127.0.0.1:1/{one}", sha256=one, prompt="a prompt " + HOSTILE)
            for one in images
        ),
        first_seen=datetime.date(2026, 1, 1),
    )


def adapter(key: str, sha256: str, accepted: bool) -> Adapter:
    return Adapter(
        key=key,
        sha256=sha256,
        size=123456,
        recipe="r",
        verdict=ACCEPTED if accepted else "pickle",
        reason="" if accepted else "The file is a pickle under a safetensors name, which could run code.",
        layout="peft" if accepted else None,
        num_slots=64 if accepted else 0,
        rank_max=8 if accepted else 0,
        norm=1.5,
        dtype="bfloat16",
        keys_used=128,
        keys_seen=128,
        set_aside=(),
    )


def write_halves(root: Path, adapters: list[str]) -> None:
    """Write what the stages evaluation and experiments would, from random numbers."""
    evaluation.write(root, fabricate(), PARAMS, {"index": "i" * 64})
    rng = np.random.default_rng(0)
    shown = []
    for number in range(2):
        both, cluster = (adapters[number], adapters[number + 4]), f"pair {number}"
        for outcome, loaded in (("pairs", both), ("single", both[:1]), ("base kept", both)):
            prompt = f"a red cat {number}, zqxv, {HOSTILE}"
            trial = Trial(
                outcome=outcome,
                prompt=prompt,
                content=prompt,
                adapters=loaded,
                themes=tuple(None for _ in loaded),
                cluster=cluster,
                unseen=1,
            )
            shown.append(fabricate_shown(trial, rng))
    facts = {"clip": "c" * 64, "generation": {"width": 64, "height": 64, "steps": 12, "guidance": 3.5}}
    experiments.write(root, shown, FUSION, facts)


def fabricate_shown(trial: Trial, rng: np.random.Generator) -> experiments.Shown:
    names = {
        "pairs": ("Sim 1", "Sim 2", "text"),
        "single": ("Sim", "text"),
        "base kept": ("like base", "text"),
    }
    values = {m: {n: rng.random(3) for n in names[trial.outcome]} for m in experiments.METHODS}
    pixels = rng.integers(0, 255, (4, 3, 64, 64, 3)).astype(np.uint8)
    pictures = {m: [Image.fromarray(p) for p in pixels[i]] for i, m in enumerate(experiments.METHODS)}
    relevance = tuple(rng.random(len(trial.adapters)).tolist())
    return experiments.Shown(trial=trial, relevance=relevance, pictures=pictures, values=values)


def write_vectors(root: Path, adapters: list[str]) -> None:
    """Write what the page reads of the tables of index and dataset: vectors, fingerprints, families."""
    rng = np.random.default_rng(0)
    names = pa.array(adapters)
    vectors = pa.array(rng.normal(size=(len(adapters), 8)).tolist(), pa.list_(pa.float32(), 8))
    write_copy(root / "data" / "index", "adapters", pa.table({"sha256": names, "vector": vectors}))
    families = pa.array([adapters[0], adapters[0], *adapters[2:]])
    columns = {"sha256": names, "family": families, "fingerprint": vectors}
    write_copy(root / "data" / "dataset", "adapters", pa.table(columns))


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        if tag not in ("img", "meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes nothing"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    adapters = write_pool(root)
    write_halves(root, adapters)
    write_vectors(root, adapters)
    assemble(root)
    return root


def read(root: Path) -> str:
    return (root / "reports" / "index.html").read_text(encoding="utf-8")


def browsed(root: Path) -> dict[str, Any]:
    """Return what the page's script knows."""
    content: dict[str, Any] = json.loads(Page(read(root)).scripts[0][1])
    return content


def test_the_page_asks_nobody_for_anything(full: Path) -> None:
    page = Page(read(full))
    assert not page.open
    assert {source.split(",")[0] for source in page.sources if not source.startswith("#")} == {
        "data:image/png;base64",
        "data:image/webp;base64",
    }
    assert "url(" not in read(full)
    assert "@import" not in read(full)
    assert len(page.ids) == len(set(page.ids))
    links = {source[1:] for source in page.sources if source.startswith("#")}
    assert links <= set(page.ids)


def test_only_the_pages_own_script_may_run(full: Path) -> None:
    text = read(full)
    (kind, _), (other, script) = Page(text).scripts
    assert (kind, other) == ("application/json", None)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    )
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert dangerous not in script


def test_words_of_a_hub_are_never_markup(full: Path) -> None:
    page, text = Page(read(full)), read(full)
    assert page.tags.count("script") == 2
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert not set("<>&\u2028") & set(page.scripts[0][1])
    assert HOSTILE in browsed(full)["adapters"][0]["license"]


def test_the_page_shows_every_adapter_its_pictures_and_why_files_were_refused(full: Path) -> None:
    text = read(full)
    for number in range(14):
        assert f"author{number}/" in text
    assert text.count('<article class="card">') == 12
    assert text.count('class="cover"') == 12
    assert text.count("The file is a pickle") >= 2
    assert 'class="pixels nsfw"' in text
    for words in (
        "rank 8 on 64 layers",
        "peft, bfloat16",
        "not stated",
        "Held out",
        "Learned from",
        "Joined since",
    ):
        assert words in text


def test_the_page_says_how_far_to_trust_the_verdicts(full: Path) -> None:
    assert "How far to trust these verdicts" not in read(full)
    (full / "metrics").mkdir(exist_ok=True)
    measured = full / "metrics/odd_files.json"
    shutil.copy(Path(__file__).parents[2] / "metrics/odd_files.json", measured)
    assemble(full)
    text, odd = read(full), json.loads(measured.read_text())
    assert f"of {odd['totals']['files']} odd and hostile files" in text
    assert all(f'<th scope="row">{escape(kind)}</th>' in text for kind in odd["kinds"])
    measured.unlink()
    assemble(full)


def test_the_browser_knows_captions_beside_pictures_and_neighbors(full: Path) -> None:
    known = browsed(full)
    adapters = known["adapters"]
    assert [one["accepted"] for one in adapters] == [True] * 12 + [False] * 2
    assert all(one["verdict"].startswith("refused (pickle): The file is a pickle") for one in adapters[12:])
    first = next(one for one in adapters if one["sha256"] == f"{1:064x}")
    assert [length for length, _ in first["pictures"][0]["captions"]] == ["short", "medium", "long"]
    assert first["pictures"][0]["prompt"] == "a prompt " + HOSTILE
    assert first["theme"] == "mosaic"
    markup = set(re.findall(r'data-p="(\d+)"', read(full)))
    shown = {str(picture["p"]) for one in adapters for picture in one["pictures"]}
    assert shown == markup | known["pictures"].keys()
    assert not markup & known["pictures"].keys()
    assert adapters[first["copies"][0]]["sha256"] == f"{0:064x}"
    assert {source: len(near) for source, near in first["near"].items()} == {"index": 4, "raw sketch": 4}
    assert len(known["map"]["order"]) == 12


def test_the_page_shows_numbers_with_intervals_chance_and_n(full: Path) -> None:
    text = re.sub(r"\s+", " ", read(full))
    report = json.loads((full / "data" / "evaluation" / "report.json").read_text())
    ours = report["levels"]["theme"]["methods"]["encoder"]["R@1"]
    assert f"{ours['value']:.3f}</b> <small>[{ours['low']:.3f}, {ours['high']:.3f}]</small>" in text
    assert "chance 0.25" in text
    assert "24 queries, 6 adapters" in text
    for words in (
        "nearest other adapter",
        "mosaic: 3",
        "caption centroid",
        "encoder − random",
        "gated − direct",
        "selected",
        "like base",
        "Sim 2",
    ):
        assert words in text
    assert text.count('class="panel search"') == 2
    assert text.count('class="hit right"') == 6


@pytest.mark.parametrize("half", ["pool", "evaluation", "experiments"])
def test_the_page_is_made_of_the_halves_that_exist(half: str, tmp_path: Path) -> None:
    adapters = write_pool(tmp_path)
    if half in ("evaluation", "experiments"):
        write_halves(tmp_path, adapters)
        other = {"evaluation": "experiments", "experiments": "evaluation"}[half]
        (tmp_path / "data" / other / "report.json").unlink()
    text = assemble(tmp_path).read_text()
    assert ('id="retrieval"' in text) == (half == "evaluation")
    assert ('id="fusion"' in text) == (half == "experiments")
    assert 'id="pool"' in text
    Page(text)


def test_without_a_catalog_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="catalog"):
        assemble(tmp_path)


def test_the_same_artifacts_make_the_same_page(full: Path) -> None:
    path = full / "reports" / "index.html"
    before = path.stat().st_mtime_ns
    assemble(full)
    assert path.stat().st_mtime_ns == before


def test_an_adapter_that_has_left_the_pool_is_named_by_its_hash(tmp_path: Path) -> None:
    adapters = write_pool(tmp_path)
    write_halves(tmp_path, adapters)
    write_rows(tmp_path / "data" / "catalog.jsonl", [])
    text = assemble(tmp_path).read_text()
    assert adapters[0][:12] in text
    assert 'id="pool"' not in text


def test_large_pictures_become_thumbnails(tmp_path: Path) -> None:
    paint(tmp_path / "large.png", (200, 10, 10), side=1024)
    paint(tmp_path / "small.png", (200, 10, 10))
    large, small = embed(tmp_path / "large.png", 256), embed(tmp_path / "small.png", 256)
    assert large is not None and large[0].startswith("data:image/webp") and not large[1]
    assert small is not None and small[0].startswith("data:image/webp") and small[1]
    assert len(large[0]) < 200_000
    assert embed(tmp_path / "none.png", 256) is None
    content = base64.b64decode(small[0].split(",")[1])
    with Image.open(io.BytesIO(content)) as kept, Image.open(tmp_path / "small.png") as original:
        assert kept.convert("RGB").tobytes() == original.convert("RGB").tobytes()


@pytest.mark.parametrize(("count", "side", "exact"), [(10, 256, True), (1000, 160, False), (5000, 96, False)])
def test_the_more_pictures_the_smaller_each(count: int, side: int, exact: bool) -> None:
    album = open_album(count)
    assert (album.largest, album.exact) == (side, exact)


def test_any_table_of_estimates_becomes_a_figure() -> None:
    row = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "clusters": 3}
    methods = {"new method": {"new metric": row, "count": 3}, "random": {"new metric": row | {"value": 0.1}}}
    minus = {"random": {"new metric": row | {"low": -0.75, "value": -0.5, "high": -0.25}}}
    report = {
        "levels": {"author": {"methods": methods, "encoder minus": minus}},
        "queries": 9,
        "gallery": [row],
    }
    (drawn,) = draw(report)
    assert drawn.path == ("levels", "author")
    assert captioned(drawn.path).title == "levels · author."
    assert drawn.counts == (9, 3)
    (panel,) = drawn.panels
    ours, theirs = panel.blocks
    assert [line.name for line in ours.lines] == ["new method", "random"]
    assert (ours.mark, ours.marked, ours.lines[0].start, ours.lines[0].at) == (10.0, "chance", 25.0, 50.0)
    assert [(line.name, line.sense) for line in theirs.lines] == [("encoder − random", "worse")]
    assert (theirs.mark, theirs.marked) == (50.0, "zero")


def test_neighbors_and_their_agreement_with_themes() -> None:
    vectors = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0, 1]], dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = Likeness(adapters=("a", "b", "c", "d", "e"), vectors=vectors)
    assert [other for other, _ in found.nearest(2)["a"]] == ["b", "c"]
    assert found.among(["d", "x", "a"]).adapters == ("d", "a")
    themes = {"a": "cat", "b": "cat", "c": "neon", "d": "neon", "e": "alone"}
    table = agreement({"index": found}, themes, unseen=["a"])
    assert table["index"]["all adapters"]["value"] == 1.0
    assert table["index"]["all adapters"]["n"] == 4
    assert table["chance"]["unseen adapters"]["value"] == pytest.approx(1 / 4)
    assert agreement({"index": found}, {"a": "cat", "b": "dog"}, unseen=["a"]) == {}


def test_without_judgments_like_adapters_are_grouped_and_named_by_their_captions(full: Path) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(16, 4)))[0].T
    cards = [card for card in read_cards(full, {}) if card.adapter.accepted]
    vectors = np.stack([directions[int(card.sha256, 16) % 4] for card in cards])
    vectors = vectors + 0.01 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = group(cards, Likeness(adapters=tuple(card.sha256 for card in cards), vectors=vectors))
    assert sorted(card.sha256 for one in groups for card in one.cards) == sorted(c.sha256 for c in cards)
    for one in groups:
        assert any(THEMES[int(card.sha256, 16) % 4] in one.name for card in one.cards)
    assert cluster(vectors) == cluster(vectors)
    assert cluster(np.ones((1, 3)) / np.sqrt(3)) == [0]


def test_the_map_names_groups_along_its_axes_and_keeps_every_cosine(full: Path) -> None:
    themes = {f"{number:064x}": Judgment(THEMES[number % 4], None) for number in range(12)}
    cards = [card for card in read_cards(full, themes) if card.adapter.accepted]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = Likeness(adapters=tuple(card.sha256 for card in cards), vectors=vectors)
    drawn = draw_map(group(cards, source), {"index": source})
    assert drawn is not None
    assert [(band.name, band.count) for band in drawn.bands] == [(theme, 3) for theme in sorted(THEMES)]
    (layer,) = drawn.layers
    steps = np.frombuffer(base64.b64decode(layer.cells), dtype=np.uint8)
    kept = layer.low + steps / 255 * (layer.high - layer.low)
    assert np.allclose(kept, source.cosines()[np.triu_indices(12, 1)], atol=0.005)
    assert draw_map([], {"index": source}) is None


def test_a_large_pool_makes_a_page_that_still_opens(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=600)
    text = assemble(tmp_path).read_text()
    assert len(text) < 15_000_000
    assert len(browsed(tmp_path)["adapters"]) == 602
    assert text.count("<img") < 1500
