"""The exceptions of AutoLoRA. Each message says what is wrong, where, what was expected and what to do.

AutoLoraError
├── ParamsError          params.yaml has an unknown, missing or mistyped key
├── RefusedFile          a LoRA file or image is damaged, hostile or unsupported; has a reason code
├── ReadingFailed        one file or image cannot be read, because of an error that is not one of these
├── HubError             a hub is unreachable, refuses a request, or returns an invalid response
│   └── DownloadsFailed  some files that a hub lists could not be downloaded or read
├── DiskFull             the disk has no space left for a file
├── OutOfMemory          a GPU has less memory than a stage or an image needs
├── CaptionError         the captioning engine is unreachable or returns an invalid response
│   └── ImageFailed      the captioning engine cannot caption one image
├── FilterError          the filter of a search is not a condition over the columns of the index
├── MissingArtifact      the output of an earlier stage does not exist here or in a revision
│   └── MissingLibrary   a library of an extra (autolora/extras.py) is not installed
└── MismatchError        two artifacts do not belong together, such as an adapter and another base model
"""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any


class AutoLoraError(Exception):
    """Base class; the command line prints the message and exits with 1. Processes send each other errors by pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle makes an equal error; the constructor of a subclass may take other arguments."""
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[AutoLoraError], args: tuple[Any, ...]) -> AutoLoraError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ParamsError(AutoLoraError):
    """A key or value of params.yaml is not valid."""


class RefusedFile(AutoLoraError):
    """A file is damaged, hostile or unsupported; `code` is its reason code in docs/howto/verdicts.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ReadingFailed(AutoLoraError):
    """One file or image cannot be read, for a reason that says nothing about others; it has no verdict."""


class HubError(AutoLoraError):
    """A hub is unreachable, refuses a request, or returns something other than its API promises."""


class DownloadsFailed(HubError):
    """Some files or images of a hub could not be downloaded or read; `reasons` maps the key of each to its error.

    `unread` are the keys of those that could not be read.
    """

    def __init__(self, reasons: Mapping[str, str], unread: Set[str] = frozenset()) -> None:
        super().__init__(" | ".join(dict.fromkeys(reasons.values())))
        self.reasons, self.unread = reasons, unread


class DiskFull(AutoLoraError):
    """The disk has no space left, or only what crawl.min_free_gb keeps free; no partly written file stays."""


class OutOfMemory(AutoLoraError):
    """A GPU or the machine has less memory than a stage or an image needs; names what to lower."""


class CaptionError(AutoLoraError):
    """The captioning engine is unreachable or returns an invalid response."""


class ImageFailed(CaptionError):
    """The captioning engine cannot caption one image: it is damaged, refused, or not answered with a text."""


class FilterError(AutoLoraError):
    """A filter is not an SQL condition, or names columns or operators that do not exist; lists the columns."""


class MissingArtifact(AutoLoraError):
    """Something that a stage has written, or that the user named, does not exist or is damaged."""


class MissingLibrary(MissingArtifact):
    """A library that the core installation lacks is not installed; names the extra that has it."""


class MismatchError(AutoLoraError):
    """Two artifacts or files do not belong together."""


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the process with one line on stderr and status 1, in place of a traceback, if an AutoLoraError occurs."""
    try:
        yield
    except AutoLoraError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def rerun(stage: str) -> str:
    """Return the advice to run a stage again even if DVC finds nothing changed."""
    return f"run `dvc repro --force --single-item {stage}`"
