"""What `autolora generate` prints: what an image is drawn with, and how it differs from the one that it repeats."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autolora.cli.repetition import ImageRequest, describe_repetition

if TYPE_CHECKING:
    from autolora.generation.images import GeneratedImage
    from autolora.records import Hit


def print_image(
    image: "GeneratedImage",
    request: ImageRequest,
    hits: "Sequence[Hit]",
    no_hit: str,
) -> None:
    """Print what an image was drawn with, and how it differs from the one that it repeats.

    no_hit: why there is no adapter although some were looked for.
    """
    from autolora.generation.provenance import describe_method
    from autolora.wording import printable

    if image.provenance["text"] != request.prompt:
        print(f"  prompt with trigger words: {printable(image.provenance['text'])}")
    acting = sum(hit.strength != 0 for hit in hits)
    if acting:
        print(f"  method: {describe_method(request.method, acting)}")
    else:
        print("  the base model alone" + (f": {no_hit}" if no_hit else ""))
    for line in _describe_adapters(hits):
        print(f"  {printable(line)}")
    if request.recipe:
        for line in describe_repetition(request.recipe, image):
            print(f"  {line}")


def _describe_adapters(hits: "Sequence[Hit]") -> Iterator[str]:
    """Yield a line per adapter: relevance, strength, name, license and trigger words."""
    from autolora.generation.provenance import describe_strength

    for hit in hits:
        relevance = "" if hit.relevance is None else f"relevance {hit.relevance:.2f}"
        before = ", ".join(filter(None, (relevance, describe_strength(hit.strength))))
        words = f"; trigger words: {', '.join(hit.trigger_words)}" if hit.trigger_words else ""
        name = f"{hit.hub}:{hit.id} ({hit.license or 'license unknown'}{words})"
        yield f"{before}: {name}" if before else name
