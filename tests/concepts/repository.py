"""A repository with a small corpus, in which the stage `concepts` can run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from autolora.concepts import stage
from autolora.params import ConceptsParams, ModelsParams
from autolora.storage.incremental import read_digest
from tests.support import small_root
from tests.support.synthetic_repo import file_states
from tests.support.tiny_flux import TOKENS

CAPTIONS = {
    "0": "a cat in snow",
    "1": "a cat at night",
    "2": "a dog in snow",
    "3": "a dog at night",
    "4": "a ship",
}
OUTPUTS = ("data/concepts", "metrics/concepts.json", "digests/concepts.json")


@dataclass
class Repository:
    """A repository with a corpus of five images, and the params of its stage `concepts`."""

    root: Path
    base: ModelsParams
    params: ConceptsParams

    def run(
        self, batches: int | None = None, max_px: int | None = None, **changes: Any
    ) -> tuple[int, stage.Result | None]:
        """Run the stage; return how many gradients were computed. batches: end without `finish` after as many.

        max_px: value of `pool.max_image_px`, if another one.
        """
        params = replace(self.params, **changes)
        limits = replace(small_root.params().pool, sketch_size=8)
        limits = replace(limits, max_image_px=max_px or limits.max_image_px)
        plan = stage.make_plan(self.root, params, self.base, limits, TOKENS)
        steps = stage.compute_gradients(self.root, plan, params, self.base, limits, TOKENS)
        if batches is not None:
            return sum(islice(steps, batches)), None
        return sum(steps), stage.finish(self.root, plan, params)

    @property
    def digest(self) -> str:
        return str(read_digest(self.root, "concepts")["sha256"])


def outputs(root: Path) -> Mapping[str, Any]:
    return {name: state for name, state in file_states(root).items() if name.startswith(OUTPUTS)}
