"""Scores, sizes and names in the words of the page."""

from autolora.params import HubsParams

MATCHES = ((0.9, 3, "strong match"), (0.25, 1, "weak match"), (0.0, 0, "unlikely match"))
"""(minimum relevance, level 0 to 3, words); a good match, level 2, begins at retrieval.min_relevance"""
RESEMBLANCES = (
    (0.98, 3, "nearly the same"),
    (0.7, 3, "very similar"),
    (0.4, 2, "similar"),
    (0.2, 1, "a little similar"),
)
"""(minimum cosine of two adapters' weights, level, words)"""
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def match(relevance: float | None, min_relevance: float) -> tuple[int, str]:
    """Return the level (0 to 3) of a relevance and its words; without a relevance, level 1."""
    if relevance is None:
        return 1, "not calibrated"
    steps = sorted([*MATCHES, (min_relevance, 2, "good match")], reverse=True)
    return next((level, words) for minimum, level, words in steps if relevance >= minimum)


def resemblance(cosine: float) -> tuple[int, str]:
    """Return the level (0 to 3) of the cosine of two adapters' weights, and its words."""
    return next(
        ((level, words) for minimum, level, words in RESEMBLANCES if cosine >= minimum), (0, "not similar")
    )


def file_size(size: int) -> str:
    """Return a number of bytes with its unit, two or three digits long."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if size >= factor), (1, "bytes"))
    value = size / factor
    return f"{value:.1f} {unit}" if value < 10 and factor > 1 else f"{value:.0f} {unit}"


def page_of(hubs: HubsParams, hub: str, id: str) -> str | None:
    """Return the URL of an adapter's page on its hub; None for a folder of files."""
    pages = {
        "civitai": f"{hubs.civitai.endpoint}/models/{id}",
        "huggingface": f"{hubs.huggingface.endpoint}/{id}",
        "modelscope": f"{hubs.modelscope.endpoint}/models/{id}",
    }
    return pages.get(hub)


def display_name(id: str, file: str) -> tuple[str, str]:
    """Return the name of an adapter as its own part and its author's; an id that is a number is named by the file."""
    author, _, name = id.rpartition("/")
    if not author and name.isdecimal():
        return file.rpartition("/")[2].removesuffix(".safetensors"), f"model {id}"
    return name, author
