"""The progress bars of libraries that load models, which would stand between the lines of a long run."""

from importlib import import_module

from autolora.models import LOGGING_MODULES


def hide_loading_bars() -> None:
    """Turn the bars off, for judges too: `autolora.models` hides those of the base model only."""
    for name in LOGGING_MODULES:
        import_module(name).disable_progress_bar()
