"""Libraries that the core lacks, and the extras of the installation that have them: `pip install 'autolora[EXTRA]'`.

The core searches a released or a published index. All else imports its libraries where it needs them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

from autolora.errors import MissingLibrary

Extra = Literal["pipeline", "serve", "weights"]

WEIGHTS = frozenset({"torch"})
SERVE = frozenset({"PIL", "fastapi", "jinja2", "uvicorn"})
LIBRARIES = (
    WEIGHTS
    | SERVE
    | {"accelerate", "ahocorasick_rs", "diffusers", "dvc", "lance", "lancedb", "openai", "peft", "prefect"}
    | {"dotenv", "psutil", "ruamel", "scipy", "transformers"}
)
EXTRAS: dict[Extra, frozenset[str]] = {"pipeline": LIBRARIES, "serve": SERVE, "weights": WEIGHTS}
"""extra -> modules that autolora imports from its libraries"""


@contextmanager
def libraries_for(user: str, extra: Extra = "pipeline") -> Iterator[None]:
    """Raise MissingLibrary in place of the ModuleNotFoundError of a library that an extra has.

    user: what needs the library. extra: the one to install if it has the library, else it is `pipeline`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in LIBRARIES:
            raise
        raise _missing(user, library, extra) from error


def check_installed(user: str, *libraries: str) -> None:
    """Raise MissingLibrary if one of these libraries, which another process is to import, is not installed."""
    for library in libraries:
        if find_spec(library) is None:
            raise _missing(user, library, "pipeline")


def _missing(user: str, library: str, extra: Extra) -> MissingLibrary:
    named = extra if library in EXTRAS[extra] else "pipeline"
    return MissingLibrary(
        f"{user} needs {library}, which is not installed here: pip install 'autolora[{named}]'"
    )
