"""The attack of `bench.concepts`: corpora and LoRAs that differ from those with which gradients were found to help."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autolora.slots import slots
from bench.concept_pools import Trial, condition_trials, read_condition
from bench.concept_rows import RIDGE, Row, Rows, always
from bench.concept_sources import MAIN, Source, describe_cached, make_material
from playground import bases, conditions, engines

WORLD = Source()
SECOND_VLM = Source(engine=engines.SECOND, captions="vlm")
CORPORA = {
    "corpus of the world": WORLD,
    "second engine": Source(engine=engines.SECOND),
    "captions by the VLM": Source(captions="vlm"),
    "second engine, captions by the VLM": SECOND_VLM,
}


def corpus_rows(
    rows: Rows, cache: Path, trials: Sequence[Trial], seeds: Sequence[int], sources: dict[str, Source]
) -> dict[str, Row]:
    """Return RIDGE and a row per source, with baselines."""
    table = {RIDGE: Row(lambda trial, seed: None, trials, seeds[:1])}
    for name, source in sources.items():
        make = partial(make_material, rows.root, cache, rows.params, source)
        table[name] = Row(always(make), trials, seeds, has_baselines=True)
    return table


def measure_conditions(rows: Rows, cache: Path, committed: Trial, seeds: Sequence[int]) -> dict[str, Any]:
    """Return condition -> its tables, or `missing`: the commands that build it."""
    tables: dict[str, Any] = {}
    for name, condition in conditions.CONDITIONS.items():
        commands = missing_commands(name)
        if commands:
            tables[name] = {"missing": commands}
            continue
        base = base_name(condition)
        known = slots(rows.transformer)
        describe = partial(describe_cached, rows.params, cache / "captions" / f"{name}.json")
        members = read_condition(conditions.HOME / name, rows.params, known, describe)
        trials = condition_trials(members, committed, base == MAIN)
        sources = {
            row: replace(CORPORA[row], base=base)
            for row in ("corpus of the world", "second engine, captions by the VLM")
        }
        tables[name] = {
            "LoRAs": len(members),
            "base": base,
            "tables": rows.tables(corpus_rows(rows, cache, trials, seeds, sources)),
        }
    return tables


def base_name(condition: conditions.Condition) -> str:
    """Return MAIN or the name of a further base."""
    names = {base.home: name for name, base in bases.FURTHER.items()}
    return names.get(condition.base.home, MAIN)


def missing_commands(name: str) -> list[str]:
    """Return the commands that build what a condition lacks; none if it is there."""
    base = base_name(conditions.CONDITIONS[name])
    commands = []
    if base != MAIN and not (bases.FURTHER[base].home / "model_index.json").exists():
        commands.append(f"python -m playground.bases {base}")
    if commands or not (conditions.HOME / name / "themes.json").exists():
        commands.append(f"python -m playground.conditions {name}")
    return commands
