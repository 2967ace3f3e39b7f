"""The numbers in the README are those of metrics/*.json."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def test_the_readme_quotes_the_metrics() -> None:
    text = (ROOT / "README.md").read_text()
    for line in (*retrieval_lines(), *probe_lines(), *fusion_lines()):
        assert line in text, f"README.md lacks:\n{line}"


def retrieval_lines() -> list[str]:
    """Return the README's rows on retrieval: each method at theme level."""
    methods = json.loads((ROOT / "metrics/evaluation.json").read_text())["levels"]["theme"]["methods"]
    return [
        f"| {name} | {quoted(row['R@1'])} | {quoted(row['R@3'])} | {quoted(row['MRR'])} |"
        for name, row in methods.items()
    ]


def probe_lines() -> list[str]:
    """Return the README's rows on probes: each method at the levels of themes and adapters."""
    levels = json.loads((ROOT / "metrics/probes.json").read_text())["searched"]["all"]
    theme, adapter = levels["theme"], levels["adapter"]
    methods = ("encoder, sketch", "encoder, full", "caption centroid", "nearest raw sketch", "chance")
    return [f"| {name} | {quoted(theme[name])} | {quoted(adapter[name])} |" for name in methods]


def fusion_lines() -> list[str]:
    """Return the README's rows on fusion: each method's similarity to prompt and base."""
    outcomes = json.loads((ROOT / "metrics/experiments.json").read_text())["outcomes"]
    rows = {name: outcomes[name]["methods"] for name in ("pairs", "single", "base kept")}
    return [
        f"| {method} | {quoted(rows['pairs'][method]['text'])} | {quoted(rows['single'][method]['text'])} "
        f"| {quoted(rows['base kept'][method]['like base'])} |"
        for method in ("base", "direct", "selected", "gated")
    ]


def quoted(estimate: dict[str, Any]) -> str:
    """Return an estimate as the README writes it: 0.70 [0.45, 0.90]."""
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


if __name__ == "__main__":
    print("\n".join((*retrieval_lines(), *probe_lines(), *fusion_lines())))
