"""The exception tree. Every message says what was wrong, where, and what to do.

AutoLoraError
├── ParamsError        params.yaml is not what the loader accepts
├── RefusedFile        a LoRA file or image that is not what it claims to be (has a reason code)
├── HubError           a hub could not be reached or answered nonsense
│   └── NotGiven       files that a hub lists could not be had
├── DiskFull           the disk has no room for what is to be written
├── CaptionError       the captioning engine is down or answered nonsense
├── MissingArtifact    something an earlier stage makes is not there (or not in that revision)
└── MismatchError      two artifacts that do not belong together (other base, other encoder)
"""

from collections.abc import Mapping


class AutoLoraError(Exception):
    """Anything AutoLoRA reports to its user; the command line prints it and exits with 1."""


class ParamsError(AutoLoraError):
    """A key or value of params.yaml that the strict loader does not accept."""


class RefusedFile(AutoLoraError):
    """A hostile, broken or foreign file; `code` is its reason code in the table of verdicts."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class HubError(AutoLoraError):
    """A hub that cannot be reached, refuses, or answers something that is not its API."""


class NotGiven(HubError):
    """Files that a hub lists and does not give; `reasons` says why, by the key of each."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(" | ".join(dict.fromkeys(reasons.values())))
        self.reasons = reasons


class DiskFull(AutoLoraError):
    """No room is left on the disk; what was half written was removed."""


class CaptionError(AutoLoraError):
    """A captioning engine that cannot be reached or answers nonsense."""


class MissingArtifact(AutoLoraError):
    """An artifact that an earlier stage makes is missing here or in the named revision."""


class MismatchError(AutoLoraError):
    """Artifacts or files that do not belong together."""
