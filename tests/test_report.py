"""The page from a fabricated root: real rows and pictures, hostile words of a hub."""

import datetime
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolora import evaluation, experiments, pool
from autolora.errors import MissingArtefact
from autolora.files import hash_value, write_rows
from autolora.incremental import write_digest
from autolora.params import ExperimentsParams
from autolora.records import ACCEPTED, Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.report.page import assemble
from autolora.report.pictures import embed
from autolora.trials import Trial
from tests.test_evaluation import PARAMS, THEMES, fabricate

HOSTILE = "</style><script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7 * 7 }}"
FUSION = ExperimentsParams(pairs=2, images=3, bootstrap=100, seed=0)


def paint(path: Path, colour: tuple[int, int, int], side: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(colour)).integers(0, 60, (side, side, 3)) + np.array(colour) // 2
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")


def write_pool(root: Path) -> list[str]:
    """Write twelve adapters as `fabricate` numbers them, each with two pictures, and two refused files."""
    listings, adapters, pictures, captions, lock = [], [], [], [], []
    for number in range(14):
        sha256, accepted = f"{number:064x}", number < 12
        images = [f"{number}-{picture}".ljust(64, "0") for picture in range(2)]
        for image in images:
            paint(
                pool.rendering_path(root, image),
                (number * 17 % 255, 40 * (number % 4), 200),
                64 if number else 400,
            )
            pictures.append(PooledRendering(key=image, sha256=image, width=64, height=64))
            text = f"a {THEMES[number % 4]} thing {HOSTILE}"
            captions += [
                Caption(image=image, prompt=length, vlm="v", length=length, text=f"{length}: {text}")
                for length in ("short", "medium", "long")
            ]
        listings.append(listing(number, sha256, images))
        adapters.append(adapter(listings[-1].key, sha256, accepted))
        if number < 8:
            split = "test" if number % 2 == 0 else "train"
            lock.append({"sha256": sha256, "family": sha256, "split": split, "renderings": images})
    write_rows(root / "data" / "catalog.jsonl", [one.to_row() for one in listings])
    write_rows(root / "data" / "pool" / "adapters.jsonl", [one.to_row() for one in adapters])
    write_rows(root / "data" / "pool" / "renderings.jsonl", [asdict(one) for one in pictures])
    write_rows(root / "data" / "captions" / "captions.jsonl", [asdict(one) for one in captions])
    write_rows(root / "data" / "training.jsonl", [{"train_until": "2026-01-01"}, *lock])
    write_digest(root, "pool", {"a": hash_value(1)}, 1)
    return [f"{number:064x}" for number in range(12)]


def listing(number: int, sha256: str, images: list[str]) -> Listing:
    return Listing(
        hub="huggingface",
        id=f"author{number}/{THEMES[number % 4]}{HOSTILE if number == 3 else ''}",
        version="a" * 40,
        file="lora.safetensors",
        url="http://127.0.0.1:1/file",
        size=1000,
        sha256=sha256,
        licence=None if number % 3 else HOSTILE,
        base_model="FLUX",
        nsfw=number == 5,
        trigger_words=(HOSTILE, "zqxv") if number % 2 else (),
        renderings=tuple(
            ListedRendering(url=f"http://127.0.0.1:1/{one}", sha256=one, prompt=None) for one in images
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
            trial = Trial(outcome=outcome, prompt=prompt, adapters=loaded, cluster=cluster, unseen=1)
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


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes nothing"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_halves(root, write_pool(root))
    assemble(root)
    return root


def read(root: Path) -> str:
    return (root / "reports" / "index.html").read_text(encoding="utf-8")


def test_the_page_asks_nobody_for_anything(full: Path) -> None:
    page = Page(read(full))
    assert not page.open
    assert {source.split(",")[0] for source in page.sources if not source.startswith("#")} <= {
        "data:image/png;base64",
        "data:image/webp;base64",
    }
    assert "url(" not in read(full)
    assert "@import" not in read(full)
    assert "default-src &#39;none&#39;" in read(full) or "default-src 'none'" in read(full)


def test_words_of_a_hub_are_never_markup(full: Path) -> None:
    page = Page(read(full))
    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "&lt;script&gt;" in read(full)
    assert "{{ 7 * 7 }}" in read(full)


def test_the_page_shows_every_adapter_its_pictures_and_why_files_were_refused(full: Path) -> None:
    text = read(full)
    for number in range(14):
        assert f"author{number}/" in text
    assert text.count('<article class="card">') == 12
    assert text.count("The file is a pickle") == 2
    assert re.search(r'class="pixels nsfw"', text)
    for words in (
        "rank",
        "8 on 64 slots",
        "peft, bfloat16",
        "not stated",
        "held out",
        "learned from",
        ">new<",
    ):
        assert words in text


def test_the_page_shows_numbers_with_intervals_chance_and_n(full: Path) -> None:
    text = re.sub(r"\s+", " ", read(full))
    report = json.loads((full / "data" / "evaluation" / "report.json").read_text())
    ours = report["levels"]["theme"]["methods"]["encoder"]["R@1"]
    assert f"{ours['value']:.3f} <small>[{ours['low']:.3f}, {ours['high']:.3f}]</small>" in text
    assert "chance 0.25" in text
    assert "24 / 6" in text
    for words in ("caption centroid", "encoder − random", "gated − direct", "selected", "like base", "Sim 2"):
        assert words in text
    assert text.count('class="search"') == 2
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
    with pytest.raises(MissingArtefact, match="catalog"):
        assemble(tmp_path)


def test_the_same_artefacts_make_the_same_page(full: Path) -> None:
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
    large, small = embed(tmp_path / "large.png"), embed(tmp_path / "small.png")
    assert large is not None and large.url.startswith("data:image/webp") and not large.pixels
    assert small is not None and small.url.startswith("data:image/png") and small.pixels
    assert len(large.url) < 200_000
    assert embed(tmp_path / "none.png") is None
