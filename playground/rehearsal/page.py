"""The commands of docs/howto/flux.md."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "flux.md"
OWN_COLLECTION, POOL = "Your own collection", "A pool of the hubs"


def commands(section: str) -> list[str]:
    """Return the commands of a section, without comments. Raises IndexError if there is no such section."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines]
