"""What drawings follow from: the base model, how it draws, and the prompts."""

from dataclasses import dataclass, replace
from pathlib import Path

from autolora.params import GenerationParams, Params, PoolParams
from autolora.pool.drawings import NUM_ALONE
from autolora.storage.hashes import hash_value

SCHEMA = 1
PROMPTS = (*["{word}"] * NUM_ALONE, "a red car, {word}", "a green tree on a grass field, {word}")
"""of the drawings of an adapter: its word alone shows a style, everyday things an object beside them"""
SEED = 1000
"""of the first drawing"""
MAX_SIDE, MAX_STEPS = 512, 12
"""px of a drawing and denoising steps, if images do not have fewer"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What draws: the base model and how."""

    model: str
    """`models.pipeline`, with the commit if it is a model of a hub; of a folder its name"""
    dtype: str
    bounds: PoolParams
    """of the headers, in which words are looked for"""
    generation: GenerationParams
    """with the size and the steps of drawings"""

    @classmethod
    def of(cls, params: Params) -> "Base":
        """Return what draws by these params."""
        models, generation = params.models, params.generation
        folder, side = Path(models.pipeline).name, min(MAX_SIDE, generation.width, generation.height)
        steps = min(MAX_STEPS, generation.steps)
        return cls(
            model=f"{models.pipeline}@{models.pipeline_revision}" if models.pipeline_revision else folder,
            dtype=models.dtype,
            bounds=params.pool,
            generation=replace(generation, width=side, height=side, steps=steps, batch=len(PROMPTS)),
        )

    @property
    def recipe(self) -> str:
        """The digest of all that drawings follow from but the adapter and its word."""
        params = self.generation
        sizes = [params.width, params.steps, params.guidance, params.max_sequence_length]
        return hash_value([SCHEMA, self.model, self.dtype, *sizes, list(PROMPTS), SEED])
