"""The attack of `bench.concepts`: corpora and LoRAs that differ from those with which gradients were found to help."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autolora.lora.slots import slots
from bench.concept_pools import Member, RetrievalTask, condition_tasks, read_condition
from bench.concept_rows import RIDGE, Row, Rows, always
from bench.concept_sources import MAIN, Source, describe_cached, make_material
from playground import bases, conditions, engines

CORPORA = {
    "corpus of the world": Source(),
    "second engine": Source(engine=engines.SECOND),
    "captions by the VLM": Source(captions="vlm"),
    "second engine, captions by the VLM": Source(engine=engines.SECOND, captions="vlm"),
}
FIRST_CORPUS, *_, LAST_CORPUS = CORPORA
"""that on which gradients were found to help, and the one with all attacks"""


def corpus_rows(
    rows: Rows, cache: Path, tasks: Sequence[RetrievalTask], seeds: Sequence[int], sources: dict[str, Source]
) -> dict[str, Row]:
    """Return RIDGE and a row per source, with baselines."""
    table = {RIDGE: Row(lambda task, seed: None, tasks, seeds[:1])}
    for name, source in sources.items():
        make = partial(make_material, rows.root, cache, rows.params, source)
        table[name] = Row(always(make), tasks, seeds, has_baselines=True)
    return table


def measure_conditions(
    rows: Rows, cache: Path, committed: RetrievalTask, seeds: Sequence[int]
) -> dict[str, Any]:
    """Return condition -> its tables, or `missing`: the commands that build it.

    The LoRAs that encoders are trained on are the committed training LoRAs or, on another base, those of the condition
    that differs in the base alone.
    """
    read = partial(read_built, rows, cache)
    references = {MAIN: tuple(committed.by_sha256[sha256] for sha256 in sorted(committed.training))}
    references |= {name: read(name) for name in bases.FURTHER if not missing_commands(name)}
    tables: dict[str, Any] = {}
    for name, condition in conditions.CONDITIONS.items():
        base = base_name(condition)
        commands = missing_commands(name) + (missing_commands(base) if base != MAIN else [])
        if commands:
            tables[name] = {"missing": list(dict.fromkeys(commands))}
            continue
        members = read(name)
        tasks = condition_tasks(members, references[base])
        sources = {row: replace(CORPORA[row], base=base) for row in (FIRST_CORPUS, LAST_CORPUS)}
        table = rows.tables(corpus_rows(rows, cache, tasks, seeds, sources))
        tables[name] = {"LoRAs": len(members), "base": base, "tables": table}
    return tables


def read_built(rows: Rows, cache: Path, name: str) -> tuple[Member, ...]:
    """Return the LoRAs of a condition."""
    describe = partial(describe_cached, rows.params, cache / "captions" / f"{name}.json")
    return read_condition(conditions.HOME / name, rows.params, slots(rows.transformer), describe)


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
