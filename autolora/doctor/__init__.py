"""What would stop a refresh hours after its start, found in seconds: `autolora doctor`.

Each check returns the troubles that it finds, with their remedies. Checks run beside each other, since most of them
wait for an answer.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autolora.errors import AutoLoraError
from autolora.params import Params
from autolora.stages import is_pipeline

LIMIT_S = 120.0
"""Seconds that all checks together may take, on a busy machine too; what they ask has shorter limits of its own."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that stops a refresh, or that a person should know before one."""

    what: str
    remedy: str
    stops: bool = False
    """whether a refresh cannot succeed with it"""

    @classmethod
    def of(cls, error: AutoLoraError) -> Self:
        """Return an error, whose message says what is wrong, a colon, and what to do, as a trouble that stops."""
        what, _, remedy = str(error).partition(": ")
        return cls(what, remedy, stops=True)

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


Check = Callable[[Setting], Iterator[Trouble]]


def examine(root: Path, params: Params, environment: Mapping[str, str] = os.environ) -> list[Trouble]:
    """Return the troubles of a project on this machine, those that stop a refresh first.

    environment: with the tokens. A check that does not end within LIMIT_S is a trouble.
    """
    from autolora.doctor import machine, project, services

    setting = Setting(root, params, environment)
    checks: Sequence[Check] = (*machine.CHECKS, *project.CHECKS, *services.CHECKS)
    if setting.is_pipeline:
        checks = (*checks, *machine.PIPELINE_CHECKS, *project.PIPELINE_CHECKS, *services.PIPELINE_CHECKS)
    executor = ThreadPoolExecutor(len(checks))
    running = {executor.submit(_run, check, setting): check for check in checks}
    finished, late = wait(running, LIMIT_S)
    executor.shutdown(wait=False, cancel_futures=True)
    found = [trouble for future in running if future in finished for trouble in future.result()]
    found += [_late(running[future]) for future in running if future in late]
    return sorted(dict.fromkeys(found), key=lambda trouble: not trouble.stops)


def _run(check: Check, setting: Setting) -> list[Trouble]:
    """Return what a check finds; an error of its own is a trouble too."""
    try:
        return list(check(setting))
    except Exception as error:  # of any library that asks a service: it must hide no other trouble
        return [Trouble(f"{_name(check)} failed ({type(error).__name__}: {error})", "look at what it asks")]


def _name(check: Check) -> str:
    return f"the check '{check.__name__.replace('_', ' ')}'"


def _late(check: Check) -> Trouble:
    return Trouble(
        f"{_name(check)} had no result after {LIMIT_S:g} s",
        "look at what it asks: a network, a disk or a server that hardly answers, or a machine with too much to do",
    )
