"""Filters of a search: an SQL condition over columns of the index, evaluated over all rows at once.

sqlglot parses the text; each node of its tree is either in `OPERATORS` or an error. Nothing is executed, and a column
that is null makes a comparison unknown, as in SQL: a row passes if the condition is true, not if it is unknown.
"""

import datetime
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from autolora.errors import FilterError
from autolora.index.conditions import FILTER_COLUMNS
from autolora.index.store import EXACT_COLUMNS
from autolora.storage.arrays import BoolArray
from autolora.storage.arrow_values import constant, read_flags
from autolora.storage.suggestions import did_you_mean

TEXT, NUMBER, FLAG, DATE, TEXTS = "text", "number", "true or false", "date", "list of texts"
KINDS = {
    pa.string(): TEXT, pa.int64(): NUMBER, pa.float64(): NUMBER, pa.bool_(): FLAG, pa.date32(): DATE,
    pa.list_(pa.string()): TEXTS,
}  # fmt: skip
MAX_SHOWN = 200
"""characters of a condition in an error"""
ORDERED = (TEXT, NUMBER, DATE)

Value: TypeAlias = pa.Array | pa.Scalar
"""one per row, or one for all rows"""


def evaluate(where: str, columns: pa.Table) -> BoolArray:
    """Return which rows of a table pass a condition (N,).

    Raises FilterError if the text is not a condition, names something other than FILTER_COLUMNS, or compares values of
    different kinds.
    """
    try:
        passes = _flag(_parse(where), columns)
    except RecursionError as error:
        raise _error(where, "is nested too deeply") from error
    except (pa.ArrowException, OverflowError) as error:
        raise _error(where, f"cannot be evaluated ({error})") from error
    if isinstance(passes, pa.Scalar):
        return np.full(columns.num_rows, bool(passes.as_py()))
    return read_flags(passes)


def _parse(where: str) -> exp.Expr:
    if not where.strip():
        raise _error(where, "is empty")
    try:
        return sqlglot.parse_one(where, into=exp.Condition)
    except SqlglotError as error:
        raise _error(where, "is not an SQL condition") from error


def _value(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of a node."""
    function, allowed = OPERATORS.get(type(node), (None, ""))
    present = {name for name, value in node.args.items() if value not in (None, False, [])}
    if function is None or not present <= set(allowed.split()):
        raise _error(node.sql(), "is not supported in a filter")
    return function(node, columns)


def _flag(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of a node that must be true or false."""
    value = _value(node, columns)
    if _kind(value) != FLAG:
        raise _error(node.sql(), f"is a {_kind(value)}, not a condition")
    return value


def _column(node: exp.Expr, columns: pa.Table) -> Value:
    name = node.name.lower()
    if name not in FILTER_COLUMNS:
        raise _error(
            node.sql(), f"is not a column{did_you_mean(name, FILTER_COLUMNS)}; a text is set in single quotes"
        )
    return columns.column(name).combine_chunks()


def _literal(node: exp.Expr, columns: pa.Table) -> Value:
    number = pa.int64() if node.is_int else pa.float64()
    return constant(node.name, pa.string() if node.is_string else number)


def _date(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of `DATE '2026-01-31'`."""
    if not node.args["to"].is_type("date") or not node.this.is_string:
        raise _error(node.sql(), "is not supported in a filter")
    return _to_date(node.this.name, node)


def _negative(node: exp.Expr, columns: pa.Table) -> Value:
    value = _value(node.this, columns)
    if _kind(value) != NUMBER:
        raise _error(node.sql(), "negates something other than a number")
    return pc.negate(value)


def _compare(node: exp.Expr, columns: pa.Table) -> Value:
    left, right = _same_kind(node, _value(node.this, columns), _value(node.expression, columns))
    if type(node) not in (exp.EQ, exp.NEQ) and _kind(left) not in ORDERED:
        raise _error(node.sql(), f"orders values that are {_kind(left)}")
    return COMPARISONS[type(node)](left, right)


def _between(node: exp.Expr, columns: pa.Table) -> Value:
    limits = (
        exp.GTE(this=node.this, expression=node.args["low"]),
        exp.LTE(this=node.this, expression=node.args["high"]),
    )
    low, high = (_compare(limit, columns) for limit in limits)
    return pc.and_kleene(low, high)


def _is_in(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of `column IN (literals)`; unknown if the column is."""
    left = _value(node.this, columns)
    options = [_same_kind(node, left, _value(option, columns))[1] for option in node.expressions]
    if not options or not all(isinstance(option, pa.Scalar) for option in options):
        raise _error(node.sql(), "needs a list of values after IN")
    values = pa.concat_arrays([pa.repeat(option.cast(left.type, safe=False), 1) for option in options])
    return _known(left, pc.is_in(left, value_set=values))


def _is(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of `column IS NULL`, `IS TRUE` or `IS FALSE`, which is never unknown."""
    if isinstance(node.expression, exp.Null):
        return pc.is_null(_value(node.this, columns))
    if not isinstance(node.expression, exp.Boolean):
        raise _error(node.sql(), "is not supported: write IS NULL, IS TRUE or IS FALSE")
    flag = _flag(node.this, columns)
    return pc.fill_null(flag if node.expression.this else pc.invert(flag), _boolean(False))


def _like(node: exp.Expr, columns: pa.Table) -> Value:
    text, pattern = (_value(child, columns) for child in (node.this, node.expression))
    if _kind(text) != TEXT or _kind(pattern) != TEXT or not isinstance(pattern, pa.Scalar):
        raise _error(node.sql(), "compares something other than a text with a pattern")
    passes = pc.match_like(text, pattern.as_py(), ignore_case=isinstance(node, exp.ILike))
    return pc.invert(passes) if node.args.get("negate") else passes


def _contains(node: exp.Expr, columns: pa.Table) -> Value:
    """Return the value of `array_contains(column, 'text')`."""
    texts, text = (_value(child, columns) for child in (node.this, node.expression))
    if _kind(texts) != TEXTS or _kind(text) != TEXT or not isinstance(text, pa.Scalar):
        raise _error(node.sql(), "takes a column that is a list of texts, and a text")
    having = pc.list_parent_indices(texts).filter(pc.equal(pc.list_flatten(texts), text))
    rows = pa.py_buffer(np.arange(len(texts), dtype=np.int64))
    positions = pa.Array.from_buffers(pa.int64(), len(texts), [None, rows])
    return _known(texts, pc.is_in(positions, value_set=having))


def _and(node: exp.Expr, columns: pa.Table) -> Value:
    return pc.and_kleene(_flag(node.this, columns), _flag(node.expression, columns))


def _or(node: exp.Expr, columns: pa.Table) -> Value:
    return pc.or_kleene(_flag(node.this, columns), _flag(node.expression, columns))


def _same_kind(node: exp.Expr, left: Value, right: Value) -> tuple[Value, Value]:
    """Return two values that can be compared; a text beside a date is read as a date."""
    kinds = [_kind(left), _kind(right)]
    if kinds == [DATE, TEXT] and isinstance(right, pa.Scalar):
        return left, _to_date(right.as_py(), node)
    if kinds == [TEXT, DATE] and isinstance(left, pa.Scalar):
        return _to_date(left.as_py(), node), right
    if kinds[0] != kinds[1] or TEXTS in kinds:
        raise _error(node.sql(), f"compares a value that is {kinds[0]} with one that is {kinds[1]}")
    if left.type != right.type:  # an integer and a fraction
        return left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)
    return left, right


def _known(values: Value, flags: Value) -> Value:
    """Return flags, which are unknown for rows whose value is."""
    return pc.if_else(pc.is_valid(values), flags, pa.nulls(1, pa.bool_())[0])


def _boolean(flag: bool) -> Value:
    return constant(str(flag).lower(), pa.bool_())


def _to_date(text: str, node: exp.Expr) -> Value:
    try:
        return constant(datetime.date.fromisoformat(text).isoformat(), pa.date32())
    except ValueError as error:
        raise _error(node.sql(), f"names no date: '{text}' is not YYYY-MM-DD") from error


def _kind(value: Value) -> str:
    return KINDS[value.type]


def _error(text: str, problem: str) -> FilterError:
    columns = ", ".join(f"{name} ({KINDS[EXACT_COLUMNS[name]]})" for name in FILTER_COLUMNS)
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return FilterError(f"the filter `{shown}` {problem}; the columns are {columns}")


COMPARISONS: Mapping[type, Callable[[Value, Value], Value]] = {
    exp.EQ: pc.equal,
    exp.NEQ: pc.not_equal,
    exp.LT: pc.less,
    exp.LTE: pc.less_equal,
    exp.GT: pc.greater,
    exp.GTE: pc.greater_equal,
}
OPERATORS: Mapping[type, tuple[Callable[[exp.Expr, pa.Table], Value], str]] = {
    **dict.fromkeys(COMPARISONS, (_compare, "this expression")),
    exp.And: (_and, "this expression"),
    exp.Or: (_or, "this expression"),
    exp.Not: (lambda node, columns: pc.invert(_flag(node.this, columns)), "this"),
    exp.Paren: (lambda node, columns: _value(node.this, columns), "this"),
    exp.Column: (_column, "this"),
    exp.Literal: (_literal, "this is_string"),
    exp.Boolean: (lambda node, columns: _boolean(bool(node.this)), "this"),
    exp.Neg: (_negative, "this"),
    exp.Cast: (_date, "this to"),
    exp.Between: (_between, "this low high"),
    exp.In: (_is_in, "this expressions"),
    exp.Is: (_is, "this expression"),
    exp.Like: (_like, "this expression negate"),
    exp.ILike: (_like, "this expression negate"),
    exp.ArrayContains: (_contains, "this expression"),
}
"""node of the tree -> its function, and the parts of the node that the function reads; other parts are errors"""
