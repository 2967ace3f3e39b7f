"""The measured part of docs/sketch.md, as Markdown tables."""

from pathlib import Path

from autolora.storage.files import write_atomic
from bench.findings import Findings, square_shapes

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MAX_RECALL_LOSS, MIN_TRUE_POSITIVES, MAX_FALSE_POSITIVES = 0.01, 0.99, 0.001
"""requirements for a sketch's size, as shares"""


def update(path: Path, findings: Findings) -> None:
    """Replace the measured part of the document, which is between BEGIN and END."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomic(path, "\n".join((before + BEGIN, "", *measured_lines(findings), "", END + after)))


def measured_lines(findings: Findings) -> list[str]:
    """Return the lines of the measured part of the document."""
    sections = (_setting, _shapes, _sizes_that_meet_requirements, _shares, _kinds, _thresholds, _costs)
    return [line for section in sections for line in (*section(findings), "")][:-1]


def _setting(findings: Findings) -> list[str]:
    pool = findings["pool"]
    subsets = ", ".join(f"{name} {count}" for name, count in pool["subsets"].items())
    return [
        f"Measured on {findings['date']} on {findings['hardware']}, by `{findings['command']}`, "
        f"in {findings['seconds'] / 60:.0f} minutes.",
        "",
        f"{pool['adapters']} adapters of {pool['themes']} themes and {pool['authors']} authors; "
        f"ranks {', '.join(map(str, pool['ranks']))}; {pool['slots']} linears; trained linears: {subsets}; "
        f"{pool['megabytes'] / 1e3:.1f} GB of files, each written, read and deleted.",
    ]


def _shapes(findings: Findings) -> list[str]:
    threshold = str(findings["family_cosine"])
    lines = [
        "| m × p | MB per adapter | error, mean | p95 | within a theme, mean | p95 "
        f"| theme 1-NN | exact | difference, points | copies found, ≥ {threshold} | false positives |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in findings["shapes"].items():
        near = findings["near"][name]["thresholds"][threshold]
        mark = "**" if name == findings["profile shape"] else ""
        error, recall = row["error"], row["recall"]
        lines.append(
            f"| {mark}{name.replace('x', ' × ')}{mark} | {row['megabytes']:.2f} "
            f"| {error['mean']:.4f} | {error['p95']:.4f} "
            f"| {error['theme']['mean']:.4f} | {error['theme']['p95']:.4f} "
            f"| {recall['sketch']:.1%} | {recall['exact']:.1%} | {_points(recall['difference'])} "
            f"| {_rate(near['true positives'])} | {_rate(near['false positives'])} |"
        )
    return lines


def _sizes_that_meet_requirements(findings: Findings) -> list[str]:
    threshold = str(findings["family_cosine"])
    sizes = [
        str(size)
        for size, row in square_shapes(findings).items()
        if meets_requirements(row["recall"], findings["near"][f"{size}x{size}"]["thresholds"][threshold])
    ]
    return [
        f"Requirements: theme 1-NN within {MAX_RECALL_LOSS * 100:.0f} point of exact, at least "
        f"{MIN_TRUE_POSITIVES:.0%} of the copies found, at most {MAX_FALSE_POSITIVES:.1%} false positives. "
        f"Measured sizes m = p that meet them: {', '.join(sizes) or 'none'}."
    ]


def meets_requirements(recall: Findings, near: Findings) -> bool:
    """Return whether a sketch preserves the nearest neighbors, and its threshold separates copies from others."""
    found, alarms = (near[name]["k"] / near[name]["n"] for name in ("true positives", "false positives"))
    loss = abs(float(recall["difference"]["value"]))
    return loss <= MAX_RECALL_LOSS and found >= MIN_TRUE_POSITIVES and alarms <= MAX_FALSE_POSITIVES


def _shares(findings: Findings) -> list[str]:
    shapes = list(findings["shapes"])
    first = findings["shapes"][shapes[0]]["recall"]["shares"]
    lines = [
        "| theme's share | exact cosine within, median | highest | 1-NN exact | "
        + " | ".join(shape.replace("x", " × ") for shape in shapes)
        + " |",
        "|---" * (4 + len(shapes)) + "|",
    ]
    for share in first:
        exact = findings["exact cosines"][share]
        recalls = [findings["shapes"][shape]["recall"]["shares"][share]["sketch"] for shape in shapes]
        lines.append(
            f"| {float(share):.0%} | {exact['median']:.3f} | {exact['highest']:.3f} "
            f"| {first[share]['exact']:.1%} | " + " | ".join(f"{value:.1%}" for value in recalls) + " |"
        )
    other = findings["exact cosines"]["other themes"]
    return [
        *lines,
        "",
        f"Adapters of different themes: the median exact cosine is {other['median']:.3f}, "
        f"the highest {other['highest']:.3f}.",
    ]


def _kinds(findings: Findings) -> list[str]:
    statistics = (findings["profile shape"], "fingerprint", "slots")
    lines = [
        "| copy | n | exact cosine, median | lowest | found at 0.98: sketch, fingerprint, slots | at 0.95 |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in findings["kinds"].items():
        high, low = (
            ", ".join(str(row["true positives"][name][threshold]) for name in statistics)
            for threshold in ("0.98", "0.95")
        )
        name = kind if row["required"] else f"*{kind}*"
        exact = row["exact"]
        lines.append(
            f"| {name} | {row['n']} | {exact['median']:.5f} | {exact['lowest']:.5f} | {high} | {low} |"
        )
    return lines


def _thresholds(findings: Findings) -> list[str]:
    names = {
        findings["profile shape"]: "sketch cosine",
        "fingerprint": "fingerprint cosine",
        "slots": "mean of slot cosines",
    }
    rows = {"exact cosine": findings["exact"]}
    rows |= {title: findings["near"][name] for name, title in names.items()}
    lines = [
        "| statistic | lowest copy | highest distinct | threshold | copies found | false positives |",
        "|---|---|---|---|---|---|",
    ]
    for title, row in rows.items():
        for threshold, rates in row["thresholds"].items():
            lines.append(
                f"| {title} | {row['lowest copy']:.5f} | {row['highest distinct']:.4f} | {threshold} "
                f"| {_rate(rates['true positives'])} | {_rate(rates['false positives'])} |"
            )
    return lines


def _costs(findings: Findings) -> list[str]:
    pool, largest, fused = findings["pool"], findings["largest"], findings["fused"]
    megabytes, seconds, median = pool["megabytes"], pool["seconds"], pool["median"]
    steps = ("hash", "parse", "sketch")
    per_megabyte = ", ".join(f"{step} {seconds[step] / megabytes * 1e3:.1f}" for step in steps)
    share = seconds["sketch"] / sum(seconds[step] for step in steps)
    lines = [
        f"- CPU milliseconds per MB of file, over all adapters: {per_megabyte}; sketching takes {share:.0%} "
        "of the sum of the three steps.",
        f"- CPU milliseconds per adapter, median: parse {median['parse'] * 1e3:.0f}, "
        f"sketch {median['sketch'] * 1e3:.0f}, encode {median['encode'] * 1e3:.0f}.",
        f"- The largest adapter (rank {largest['rank']}, all linears, {largest['file']:.0f} MB) is read and sketched "
        f"in {largest['seconds']:.1f} s; the peak memory of the process is {largest['peak']:.0f} MB, of which "
        f"{largest['peak'] - largest['before']:.0f} MB are for the adapter.",
        f"- A fused slot's sketch differs from the sum of its parts' sketches by at most {fused['millionths']:.2g} "
        f"millionths of its largest entry ({fused['slots']} slots).",
        "",
        "| m = p | sketch, ms | encode, ms |",
        "|---|---|---|",
    ]
    for name, row in findings["sizes"].items():
        lines.append(f"| {name} | {row['sketch'] * 1e3:.0f} | {row['encode'] * 1e3:.0f} |")
    return [*lines, "", "(one adapter of rank 16 in all linears)"]


def _points(difference: Findings) -> str:
    """Return a difference of shares with its interval, in percentage points."""
    value, low, high = (difference[name] * 100 for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _rate(rate: Findings) -> str:
    """Return a rate with its number of trials and its interval."""
    share = rate["k"] / rate["n"]
    return f"{share:.2%} of {rate['n']} [{rate['low']:.2%}, {rate['high']:.2%}]"
