"""A trouble, and what checks look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autolora.params import Params
from autolora.stages import is_pipeline


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that stops a refresh, or that a person should know before one."""

    what: str
    remedy: str
    stops: bool = False
    """whether a refresh cannot succeed with it"""

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Setting:
    """A project on a machine."""

    root: Path
    params: Params
    environment: Mapping[str, str]

    @property
    def is_pipeline(self) -> bool:
        """Whether DVC runs the stages of the project."""
        return is_pipeline(self.root)
