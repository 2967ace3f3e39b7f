"""What all commands share: the handling of errors, and the repository that they run in."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import typer

from autolora.errors import AutoLoraError, MissingArtifact
from autolora.extras import Extra, libraries_for
from autolora.local.project import PARAMS_FILE, find_project
from autolora.params import Params, load
from autolora.progress import show_progress
from autolora.wording import printable

P = ParamSpec("P")


def command(function: Callable[P, None], extra: Extra = "pipeline") -> Callable[P, None]:
    """Return a function as a command, whose help is its docstring with one line per paragraph.

    extra: the one to install if a library is missing. An AutoLoraError, or a missing library, is printed as one message
    with exit code 1; a closed pipe ends the process with SIGPIPE.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        _show_logs()
        os.environ.setdefault("LANCE_LOG", "error")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy waiting is slow on shared cores
        try:
            with libraries_for(user, extra):
                function(*args, **kwargs)
            sys.stdout.flush()
        except AutoLoraError as error:
            print(printable(f"{type(error).__name__}: {error}"), file=sys.stderr)
            raise typer.Exit(1) from error
        except BrokenPipeError:  # the reader has exited (`| head`): end as other commands do
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)

    user = f"`autolora {function.__name__}`"
    paragraphs = (function.__doc__ or "").split("\n\n")
    wrapped.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return wrapped


class PrintableFormatter(logging.Formatter):
    """Formats log records without characters that control a terminal: names on hubs and prompts may contain some."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable(super().format(record))


def _show_logs() -> None:
    """Show warnings and the progress of long work on stderr."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own
    show_progress()


def announce(text: str) -> None:
    """Print a line to stderr at once, e.g. what follows, before something that takes more than a second."""
    print(printable(text), file=sys.stderr, flush=True)


def enter_repository() -> tuple[Path, Params]:
    """Change the working directory to the root of its project, and return the root and its params.

    A project is a folder with params.yaml, to whose paths the root is relative. Raises MissingArtifact outside of one.
    """
    here = Path.cwd()
    root = find_project(here)
    if root is None:
        raise MissingArtifact(
            f"neither {here} nor a folder above it contains params.yaml: run inside an AutoLoRA repository, or "
            "make your own files searchable here (`autolora index FOLDER`)"
        )
    os.chdir(root)
    return root, load(root / PARAMS_FILE)
