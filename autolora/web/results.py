"""Searches of the page: cards of adapters, best first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autolora.errors import MissingArtifact
from autolora.hubs.pages import local_hub, page_of
from autolora.params import Params
from autolora.records import Hit
from autolora.search.retriever import Retriever
from autolora.search.survey import Survey, group_hits
from autolora.show.naming import display_name, file_size, file_stem
from autolora.storage.arrays import Float32Array
from autolora.web.gallery import Gallery
from autolora.web.query import RESULTS, Search
from autolora.web.served import OpenIndex

MATCHES = ((0.9, 3, "strong match"), (0.25, 1, "weak match"), (0.0, 0, "unlikely match"))
"""(minimum relevance, level 0 to 3, words); a good match, level 2, begins at retrieval.min_relevance"""
RESEMBLANCES = (
    (0.98, 3, "nearly the same"),
    (0.7, 3, "very similar"),
    (0.4, 2, "similar"),
    (0.2, 1, "a little similar"),
)
"""(minimum cosine of two adapters' weights, level, words)"""
PYTHON = """\
import autolora

prompt = {prompt!r}
collection = autolora.open(".")
hits = collection.search(prompt, k=1, where="sha256 LIKE '{sha256}%'")
with collection.fuse(pipe, hits):
    image = pipe(prompt).images[0]
"""
"""the lines that a visitor copies"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One adapter as the page shows it."""

    row: dict[str, Any]
    """its columns of the index"""
    prompt: str
    """what the visitor has typed; may be empty"""
    hit: Hit | None
    """how it fits the prompt; None without a prompt"""
    score: float | None
    """cosine with the prompt, or with the weights of the adapter or file that it should resemble"""
    level: int | None
    """0 (does not fit) to 3; None without a prompt, and if the encoder has no calibration"""
    words: str
    """the level in words; empty without a level"""
    name: str
    author: str
    size: str
    page: str | None
    """URL on the hub"""
    local_hub: str | None
    """endpoint of its hub if that is on this machine, instead of a page"""
    images: list[str]
    """sha256"""
    does: str
    """what it does, in a line; empty if nothing says it"""

    @property
    def sha256(self) -> str:
        """Return the sha256 of the adapter's file."""
        return str(self.row["sha256"])

    @property
    def stem(self) -> str:
        """Return the name of the file without its ending, by which other programs call it."""
        return file_stem(self.row["file"])

    @property
    def python(self) -> str:
        """Return the Python lines that generate an image with this adapter, of the prompt if there is one."""
        prompt = self.prompt or next(iter(self.row["trigger_words"] or ()), self.name)
        return PYTHON.format(sha256=self.sha256[:12], prompt=prompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The answer to a search."""

    cards: list[Card]
    num_passing: int
    """adapters that pass the filters"""
    num_adapters: int
    index: str
    """content digest"""
    min_relevance: float
    """retrieval.min_relevance"""
    survey: Survey
    unread: str
    """that the end of the prompt is not read; empty if all of it is"""

    @property
    def lines(self) -> list[str]:
        """Return what is said above the cards, one fact per line."""
        return [*filter(None, [self.unread]), *self.survey.lines]

    @property
    def summary(self) -> str:
        """Return how many of the shown adapters fit, e.g. `3 strong matches, 1 good match`; empty if none does."""
        counts = Counter(card.words for card in self.cards if (card.level or 0) >= 2)
        return ", ".join(f"{count} {words}{'es' if count > 1 else ''}" for words, count in counts.items())

    @property
    def sections(self) -> list[tuple[str, list[Card]]]:
        """Return the cards with the heading of each section: what of the prompt they answer, or how well they fit."""
        hits = [card.hit for card in self.cards if card.hit]
        if any(hit.part for hit in hits):
            of_hit = {card.sha256: card for card in self.cards}
            groups = group_hits(hits, self.min_relevance)
            return [
                (heading[:1].upper() + heading[1:], [of_hit[hit.sha256] for hit in group])
                for heading, group in groups
            ]
        fitting = [card for card in self.cards if (card.level or 0) >= 2]
        others = [card for card in self.cards if (card.level or 0) < 2]
        if not (fitting and others) or self.cards[0].hit is None:
            return [("", self.cards)] if self.cards else []
        return [("", fitting), ("Less likely", others)]

    @property
    def fits(self) -> bool:
        """Return whether the first adapter does what the prompt asks for, or if no prompt was given."""
        return not self.cards or self.cards[0].level is None or self.cards[0].level >= 2


def search(
    opened: OpenIndex, gallery: Gallery, params: Params, wanted: Search, query: Float32Array | None
) -> Results:
    """Return the adapters that pass the filters, best first.

    query: the vector (d,) of an uploaded file's weights if `wanted` names one. Raises MissingArtifact if the index
    does not contain the adapter that others should resemble.
    """
    retriever, k = opened.retriever, wanted.k or RESULTS
    mask = retriever.passing(wanted.conditions)
    if wanted.like is not None:
        query = _weights_of(opened, wanted.like)
    if query is not None:
        positions, scores = retriever.index.nearest_by_weights(query, k + 1, mask)
        found = [(p, s) for p, s in zip(positions.tolist(), scores.tolist(), strict=True)]
        cards = [make_card(opened, gallery, params, wanted, p, score=s) for p, s in found]
        cards = [card for card in cards if card.sha256 != wanted.like][:k]
    elif wanted.q.strip():
        hits = retriever.search(wanted.q, k, wanted.conditions)
        cards = [
            make_card(opened, gallery, params, wanted, opened.positions[hit.sha256], hit=hit) for hit in hits
        ]
    else:
        newest = opened.newest[mask[opened.newest]][:k]
        cards = [make_card(opened, gallery, params, wanted, p) for p in newest.tolist()]
    return Results(
        cards=cards,
        num_passing=int(mask.sum()),
        num_adapters=len(retriever.index.rows),
        index=retriever.index.digest,
        min_relevance=params.retrieval.min_relevance,
        survey=_survey(retriever, wanted, cards),
        unread=retriever.describe_unread(wanted.q) if any(card.hit for card in cards) else "",
    )


def _survey(retriever: Retriever, wanted: Search, cards: Sequence[Card]) -> Survey:
    """Return what a search says beside its hits; nothing if it was none by a prompt, or no adapter passes."""
    hits = [card.hit for card in cards if card.hit]
    asks = bool(hits) or (bool(wanted.q.strip()) and retriever.only_excludes(wanted.q))
    return retriever.survey(wanted.q, wanted.conditions, hits) if asks else Survey()


def cards_of(
    opened: OpenIndex, gallery: Gallery, params: Params, wanted: Search, adapters: Sequence[str]
) -> list[Card]:
    """Return the cards of adapters of the index, given their sha256, in this order; others are left out."""
    positions = [opened.positions[sha256] for sha256 in adapters if sha256 in opened.positions]
    hits: Sequence[Hit | None] = [None] * len(positions)
    if wanted.q.strip() and positions:
        hits = opened.retriever.judge(wanted.q, positions)
    pairs = zip(positions, hits, strict=True)
    return [make_card(opened, gallery, params, wanted, p, hit=hit) for p, hit in pairs]


def make_card(
    opened: OpenIndex,
    gallery: Gallery,
    params: Params,
    wanted: Search,
    position: int,
    *,
    hit: Hit | None = None,
    score: float | None = None,
) -> Card:
    """Return the card of the adapter at a position of the index, which a search by prompt or by weights has found."""
    row = opened.retriever.index.rows[position]
    level, words = None, ""
    if hit is not None:
        score = hit.score
        if hit.exact is not None:
            level, words = MATCHES[0][1], hit.exact
        elif hit.relevance is not None:
            level, words = match(hit.relevance, params.retrieval.min_relevance)
    elif score is not None:
        level, words = resemblance(score)
    name, author = display_name(row["id"] or row["sha256"][:12], row["file"] or "")
    return Card(
        row=row,
        prompt=wanted.q.strip(),
        hit=hit,
        score=score,
        level=level,
        words=words,
        name=name,
        author=author,
        size=file_size(row["size"] or 0),
        page=page_of(params.hubs, row["hub"], row["id"]),
        local_hub=local_hub(params.hubs, row["hub"]),
        images=gallery.of(row["sha256"], wanted.nsfw),
        does=opened.retriever.what_it_does(position),
    )


def _weights_of(opened: OpenIndex, adapter: str) -> Float32Array:
    """Return the vector (d,) of an adapter's weights. Raises MissingArtifact if the index does not contain it."""
    position = opened.positions.get(adapter)
    if position is None:
        raise MissingArtifact(f"the index that is searched contains no adapter '{adapter}'")
    vector: Float32Array = opened.retriever.index.weights_vectors[position]
    return vector


def match(relevance: float, min_relevance: float) -> tuple[int, str]:
    """Return the level (0 to 3) of a relevance, and its words."""
    steps = sorted([*MATCHES, (min_relevance, 2, "good match")], reverse=True)
    return next((level, words) for minimum, level, words in steps if relevance >= minimum)


def resemblance(cosine: float) -> tuple[int, str]:
    """Return the level (0 to 3) of the cosine of two adapters' weights, and its words."""
    return next(
        ((level, words) for minimum, level, words in RESEMBLANCES if cosine >= minimum), (0, "not similar")
    )
