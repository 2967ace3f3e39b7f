"""Rules of fusion: how several adapters that are attached to one pipeline act together.

A rule is a file of this package: its formula, its source, and in what other code of the same name differs from it.
`autolora.fusion.methods` chooses one by the name of its method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autolora.fusion.install import Attachment
from autolora.lora.factors import Lora


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """An adapter as rules see it."""

    sha256: str
    lora: Lora
    """its updates, multiplied by its strength: a rule that uses them once applies the strength once"""
    relevance: float | None = None
    """to the prompt, 0 to 1; None if it is unknown"""


class Rule(Protocol):
    """Combines adapters."""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let two or more adapters act together in a pipeline; return what removes them.

        Raises MismatchError if they do not fit the pipeline or cannot be combined by this rule.
        """
