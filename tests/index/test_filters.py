"""Filters: conditions agree with a plain loop over the rows, and whatever is not a condition is an error."""

import datetime
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from autolora.errors import FilterError
from autolora.index.conditions import FILTER_COLUMNS, any_of, is_set
from autolora.index.filters import KINDS, evaluate
from autolora.index.store import EXACT_COLUMNS
from autolora.storage.sql import quote

ROOT = Path(__file__).parents[2]
WORDS = ("mit", "MIT", "it's", 'a "b"', "50%", "under_score", "back\\slash", "", "é; DROP TABLE x --")
START = datetime.date(2026, 1, 1)
NUM_TABLES, NUM_CONDITIONS = 20, 40
Truth = bool | None
"""None: unknown"""
Condition = tuple[str, Callable[[Mapping[str, Any]], Truth]]
"""SQL text, and what it means for one row"""


def random_table(rng: random.Random, rows: int) -> pa.Table:
    """Return a table with the columns of the index; a fifth of the values are null."""
    values: dict[pa.DataType, Callable[[], object]] = {
        pa.string(): lambda: rng.choice(WORDS),
        pa.int64(): lambda: rng.choice((-1, 0, 1, 16, 2**53 + 1)),
        pa.bool_(): lambda: rng.random() < 0.5,
        pa.date32(): lambda: START + datetime.timedelta(rng.randrange(5)),
        pa.list_(pa.string()): lambda: rng.sample(WORDS, rng.randrange(3)),
    }
    return pa.table(
        {
            name: pa.array([None if rng.random() < 0.2 else values[kind]() for _ in range(rows)], kind)
            for name, kind in EXACT_COLUMNS.items()
        }
    )


def random_condition(rng: random.Random, depth: int = 3) -> Condition:
    """Return a condition with its meaning under SQL's logic of three values."""
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((comparison, membership, interval, flag, null, like, contains))(rng)
    (left, left_holds), (right, right_holds) = (random_condition(rng, depth - 1) for _ in range(2))
    match rng.choice(("and", "or", "not")):
        case "and":
            return f"({left}) AND ({right})", lambda row: both(left_holds(row), right_holds(row))
        case "or":
            return f"({left} OR {right})", lambda row: negated(
                both(negated(left_holds(row)), negated(right_holds(row)))
            )
        case _:
            return f"NOT ({left})", lambda row: negated(left_holds(row))


def both(left: Truth, right: Truth) -> Truth:
    return False if left is False or right is False else None if left is None or right is None else True


def negated(value: Truth) -> Truth:
    return None if value is None else not value


def random_literal(rng: random.Random, column: str) -> tuple[str, Any]:
    """Return a literal of a column's kind, as SQL and as a Python value."""
    if EXACT_COLUMNS[column] == pa.string():
        word = rng.choice(WORDS)
        return quote(word), word
    if EXACT_COLUMNS[column] == pa.int64():
        number = rng.choice((-1, 0, 15, 16, 2**53 + 1))
        return str(number), number
    date = START + datetime.timedelta(rng.randrange(5))
    return rng.choice((f"DATE '{date}'", f"'{date}'")), date


def comparison(rng: random.Random) -> Condition:
    column = rng.choice(("license", "rank_max", "first_seen", "size", "hub"))
    sql, value = random_literal(rng, column)
    symbol, holds = rng.choice(
        (
            ("=", lambda x: x == value),
            ("<>", lambda x: x != value),
            ("!=", lambda x: x != value),
            ("<", lambda x: x < value),
            ("<=", lambda x: x <= value),
            (">", lambda x: x > value),
            (">=", lambda x: x >= value),
        )
    )
    if EXACT_COLUMNS[column] == pa.string() and symbol not in ("=", "<>", "!="):
        return f"{column} = {sql}", known(column, lambda x: x == value)  # texts are ordered by their bytes
    return f"{column} {symbol} {sql}", known(column, holds)


def known(column: str, holds: Callable[[Any], bool]) -> Callable[[Mapping[str, Any]], Truth]:
    return lambda row: None if row[column] is None else holds(row[column])


def membership(rng: random.Random) -> Condition:
    column = rng.choice(("license", "rank_max", "first_seen"))
    literals = [random_literal(rng, column) for _ in range(rng.randrange(1, 4))]
    negate, values = rng.random() < 0.5, [value for _, value in literals]
    sql = f"{column} {'NOT ' if negate else ''}IN ({', '.join(sql for sql, _ in literals)})"
    return sql, known(column, lambda x: (x in values) != negate)


def interval(rng: random.Random) -> Condition:
    column = rng.choice(("rank_max", "first_seen"))
    (low_sql, low), (high_sql, high) = (random_literal(rng, column) for _ in range(2))
    return f"{column} BETWEEN {low_sql} AND {high_sql}", known(column, lambda x: low <= x <= high)


def flag(rng: random.Random) -> Condition:
    column = rng.choice(("commercial", "nsfw", "person"))
    wanted = rng.random() < 0.5
    return rng.choice(
        (
            (column, lambda row: row[column]),
            (f"{column} IS {wanted}", lambda row: row[column] is wanted),
            (f"{column} IS NOT {wanted}", lambda row: row[column] is not wanted),
            (f"{column} = {wanted}", known(column, lambda x: x == wanted)),
        )
    )


def null(rng: random.Random) -> Condition:
    column = rng.choice(FILTER_COLUMNS)
    if rng.random() < 0.5:
        return f"{column} IS NULL", lambda row: row[column] is None
    return f"{column} IS NOT NULL", lambda row: row[column] is not None


def like(rng: random.Random) -> Condition:
    operator, pattern, matches = rng.choice(
        (
            ("LIKE", "m%", lambda x: x.startswith("m")),
            ("ILIKE", "m_t", lambda x: x.lower() == "mit"),
            ("LIKE", "%''%", lambda x: "'" in x),
            ("NOT LIKE", "%i%", lambda x: "i" not in x),
        )
    )
    return f"license {operator} '{pattern}'", known("license", matches)


def contains(rng: random.Random) -> Condition:
    word = rng.choice(WORDS)
    sql = f"array_contains(trigger_words, {quote(word)})"
    return sql, known("trigger_words", lambda words: word in words)


@pytest.mark.parametrize("seed", range(NUM_TABLES))
def test_conditions_agree_with_a_loop_over_the_rows(seed: int) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rows=rng.choice((0, 1, 50)))
    rows = table.to_pylist()
    for _ in range(NUM_CONDITIONS):
        sql, holds = random_condition(rng)
        assert evaluate(sql, table).tolist() == [holds(row) is True for row in rows], sql


def test_a_condition_without_a_column_holds_for_all_rows_or_none() -> None:
    table = random_table(random.Random(0), rows=3)
    assert evaluate("1 = 1", table).tolist() == [True] * 3
    assert evaluate("FALSE", table).tolist() == [False] * 3


def test_integers_are_compared_with_fractions() -> None:
    table = pa.table({"size": pa.array([1, 2, 2**60])})
    assert evaluate("size > 1.5", table).tolist() == [False, True, True]
    assert evaluate("size < 1e400", table).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("", "is empty"),
        ("license =", "is not an SQL condition"),
        ("license = 'mit", "is not an SQL condition"),
        ("license = 'mit'; DROP TABLE adapters", "is not an SQL condition"),
        ("license = 'mit' UNION SELECT 1", "is not an SQL condition"),
        ("SELECT 1", "is not an SQL condition"),
        ("lisence = 'mit'", "`lisence` is not a column"),
        ("license = mit", "`mit` is not a column; a text is set in single quotes"),
        ('license = "mit"', "is not a column; a text is set in single quotes"),
        ("listing_digest = 'a'", "is not a column"),
        ("adapters.license = 'mit'", "is not supported"),
        ("rank_max + 1 = 2", "is not supported"),
        ("license IN (SELECT license)", "is not supported"),
        ("license IN ()", "needs a list of values"),
        ("license IN (hub)", "needs a list of values"),
        ("lower(license) = 'mit'", "is not supported"),
        ("__import__('os').system('true')", "is not"),
        ("license LIKE 'a' ESCAPE 'b'", "is not supported"),
        ("rank_max BETWEEN SYMMETRIC 3 AND 1", "is not supported"),
        ("license = NULL", "is not supported"),
        ("license = ?", "is not supported"),
        ("CAST('2026-01-01' AS TIMESTAMP) < first_seen", "is not supported"),
        ("license", "is a text, not a condition"),
        ("NOT rank_max", "is a number, not a condition"),
        ("license = 1", "compares a value that is text with one that is number"),
        ("license IN ('mit', 1)", "compares a value that is text with one that is number"),
        ("trigger_words = 'a'", "compares a value that is list of texts"),
        ("nsfw > TRUE", "orders values that are true or false"),
        ("nsfw IS 3", "write IS NULL, IS TRUE or IS FALSE"),
        ("-license = 'a'", "negates something other than a number"),
        ("first_seen > 'yesterday'", "'yesterday' is not YYYY-MM-DD"),
        ("first_seen > DATE '2026-13-45'", "'2026-13-45' is not YYYY-MM-DD"),
        ("rank_max LIKE 'a'", "compares something other than a text with a pattern"),
        ("license LIKE hub", "compares something other than a text with a pattern"),
        ("array_contains(license, 'a')", "takes a column that is a list of texts"),
        ("size = 1" + 30 * "0", "cannot be evaluated"),
        ("(" * 5000 + "nsfw" + ")" * 5000, "is nested too deeply"),
        (" AND ".join(["nsfw"] * 5000), "is nested too deeply"),
    ],
)
def test_whatever_is_not_a_condition_is_an_error_that_lists_the_columns(where: str, problem: str) -> None:
    table = random_table(random.Random(0), rows=3)
    with pytest.raises(FilterError, match=re.escape(problem)) as caught:
        evaluate(where, table)
    assert "; the columns are hub (text), id (text)" in str(caught.value)
    assert "commercial (true or false)" in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", WORDS)
def test_a_quoted_text_is_compared_unchanged(text: str) -> None:
    table = pa.table({"license": [text, text + "x", None]})
    assert evaluate(f"license = {quote(text)}", table).tolist() == [True, False, False]
    condition = any_of("license", [text])
    assert condition is not None and evaluate(condition, table).tolist() == [True, False, False]


def test_options_become_conditions() -> None:
    table = pa.table({"nsfw": [True, False, None], "commercial": [True, True, True]})
    assert any_of("hub", []) is None and is_set("nsfw", None) is None
    unwanted = is_set("nsfw", False)
    assert unwanted is not None and evaluate(unwanted, table).tolist() == [False, True, False]


def test_every_column_is_documented_with_its_kind() -> None:
    page = (ROOT / "docs/howto/search.md").read_text(encoding="utf-8")
    documented = {
        name: kind
        for names, kind in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([\w ]+) \|", page, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert documented == {name: KINDS[EXACT_COLUMNS[name]] for name in FILTER_COLUMNS}
