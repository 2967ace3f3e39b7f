"""The project that is measured: its index, what its training gives to the fit of a language, and the prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autolora.encoder import store as encoder_store
from autolora.encoder.caching import CachingTextEncoder
from autolora.encoder.language import general_language
from autolora.encoder.model import TextEncoder, caption_rule
from autolora.errors import MismatchError
from autolora.index.copies import Index
from autolora.index.evidence import EvidenceReader, evidence_reader
from autolora.matching.caption_rule import CaptionRule
from autolora.matching.language import Language
from autolora.metrics.judgments import Judgment, read_judgments
from autolora.params import Params, load
from autolora.search.retriever import Retriever, open_retriever
from autolora.text_encoder.sentences import load_saved
from bench.language import pools, prompts
from bench.language.encoders import BatchedEncoder, RandomWords, Remembered
from bench.language.pools import Captions, Pool
from bench.language.prompts import Context, Prompt, read_lines
from bench.language.scoring import Answers, answer
from bench.language.variants import MINILM, RANDOM_WORDS, Inputs, Reading, Variant, read_inputs
from bench.language.ways import Parts


@dataclass(frozen=True, eq=False)
class Project:
    """What is measured: a project with an index, and the prompts."""

    root: Path
    params: Params
    retriever: Retriever
    themes: tuple[str, ...]
    """of the adapters (N,) of the index"""
    kinds: Sequence[Judgment]
    """of these"""
    captions: Sequence[Captions]
    """of these, also those that disagree with the weights"""
    inputs: Inputs
    """of a training"""
    embed: Remembered
    """from texts to unit vectors in the space of CLIP"""
    project: Remembered
    """the same before they are made unit vectors"""
    text_encoder: TextEncoder
    """of the space of CLIP"""
    encoders: Mapping[str, TextEncoder]
    prompts: Sequence[Prompt]
    contexts: Mapping[str, Context]

    @property
    def index(self) -> Index:
        """Return the index."""
        return self.retriever.index

    @property
    def served(self) -> list[Captions]:
        """Return the captions that the index uses."""
        uses = self.index.has_captions.tolist()
        return [row if used else {} for row, used in zip(self.captions, uses, strict=True)]

    @cached_property
    def rule(self) -> CaptionRule:
        """The rule by which the index decides whether captions count."""
        rule = caption_rule(encoder_store.load_encoder(encoder_store.folder(self.root)))
        assert rule is not None, "the preset's index holds no captions"
        return rule

    @cached_property
    def reader(self) -> EvidenceReader:
        """What the index reads captions and texts with."""
        encoder = encoder_store.load_encoder(encoder_store.folder(self.root))
        language = self.index.language
        return evidence_reader(encoder, self.text_encoder, language, self.encoders[MINILM])

    @cached_property
    def general(self) -> Reading:
        """How a folder without an encoder reads prompts."""
        sentences = self.encoders[MINILM]
        return Reading(Variant(), general_language(sentences), Remembered(sentences.encode), self.project)

    @cached_property
    def present(self) -> Reading:
        """How the present way reads prompts."""
        return self.read(Variant(), self.inputs)

    def read(self, variant: Variant, inputs: Inputs) -> Reading:
        """Return how a variant reads prompts that is fitted to these training adapters."""
        sentences = self.encoders[variant.sentences]
        language = variant.fit(inputs, sentences)
        return Reading(variant, language, Remembered(sentences.encode), self.project)

    def pool(self, language: Language, captions: Sequence[Captions], sentences: str = MINILM) -> Pool:
        """Return the adapters of the index with these captions."""
        features = self.encoders[sentences].encode
        weights = self.index.weights_directions
        return Pool.of(self.themes, captions, weights, language, features)

    def answer(self, reading: Reading, pool: Pool, asked: Sequence[Prompt]) -> Answers:
        """Return the answers of a language to prompts."""
        return answer(Parts(reading, pool, self.params.retrieval), asked, self.contexts)


def open_project(root: Path, with_new: bool) -> Project:
    """Return the project in a folder. Raises MismatchError if its index has no language."""
    params, retriever = load(root / "params.yaml"), open_retriever(root)
    folder = retriever.index.language_folder
    if folder is None:
        raise MismatchError("the index has no language: set encoder.language in params.yaml, and `dvc repro`")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    kinds = [judgments[row["sha256"]] for row in retriever.index.rows]
    batched = BatchedEncoder(load_saved(folder))
    batched.check([prompt["text"] for prompt in read_lines("unrelated.jsonl")])
    text_encoder = CachingTextEncoder(retriever.text_encoder)
    return Project(
        root=root,
        params=params,
        retriever=retriever,
        text_encoder=text_encoder,
        themes=tuple(judgment.theme for judgment in kinds),
        kinds=kinds,
        captions=pools.read_captions(root, retriever.index),
        inputs=read_inputs(root, params, text_encoder),
        embed=Remembered(retriever.embed_all),
        project=Remembered(
            lambda texts: retriever.index.text_map.project(retriever.text_encoder.encode(texts))
        ),
        encoders={MINILM: CachingTextEncoder(batched), RANDOM_WORDS: CachingTextEncoder(RandomWords())},
        prompts=prompts.make_prompts(kinds, params.seed, with_new),
        contexts=prompts.read_contexts(),
    )
