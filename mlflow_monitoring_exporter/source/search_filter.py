"""MLflow's search syntax for runs: ``metrics.loss < 0.1 and params.optimizer = 'adam' and tags.team LIKE 'a%'``.

A server of MLflow's reads it itself. For its database it is read here, by MLflow's rules
(mlflow/utils/search_utils.py): comparisons joined by AND; a key with other characters than letters, digits and
underscores stands in backticks or double quotes; text stands in quotes, and numbers do not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import MLFLOW_INFINITY


class Entity(StrEnum):
    """What a comparison is about."""

    METRIC = "metric"
    PARAM = "param"
    TAG = "tag"
    ATTRIBUTE = "attribute"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``operator`` is in capitals. The value is a number for metrics and times, None for IS NULL, several for IN."""

    entity: Entity
    key: str
    operator: str
    value: str | float | tuple[str, ...] | None


_ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), Entity.METRIC),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), Entity.PARAM),
    **dict.fromkeys(("tag", "tags"), Entity.TAG),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), Entity.ATTRIBUTE),
    **dict.fromkeys(("dataset", "datasets"), Entity.DATASET),
}
_NUMERIC = frozenset({"start_time", "end_time"})
_ATTRIBUTES = _NUMERIC | {"run_id", "run_name", "status", "user_id", "artifact_uri"}
_ALIASES = {"created": "start_time", "Created": "start_time"} | dict.fromkeys(
    ("run name", "Run name", "Run Name"), "run_name"
)
_DATASET_KEYS = frozenset({"name", "digest", "context"})
_ORDERED = frozenset({"=", "!=", "<", "<=", ">", ">="})
_ALIKE = frozenset({"=", "!=", "LIKE", "ILIKE"})
_LISTS = frozenset({"IN", "NOT IN"})
_PRESENT = frozenset({"IS NULL", "IS NOT NULL"})
_OPERATORS = {
    Entity.METRIC: _ORDERED,
    Entity.PARAM: _ALIKE | _PRESENT,
    Entity.TAG: _ALIKE | _PRESENT,
    Entity.ATTRIBUTE: _ALIKE,
    Entity.DATASET: _ALIKE | _LISTS,
}
#: What MLflow stores for infinity, as its parser takes it: an exponent without a plus.
LARGEST = repr(MLFLOW_INFINITY).replace("+", "")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<operator> <= | >= | != | <> | = | < | > | (?i:NOT\s+IN|NOT\s+LIKE|IN|ILIKE|LIKE|IS\s+NOT\s+NULL|IS\s+NULL)\b )
    | (?P<number>  [-+]?(?:\d+\.?\d*|\.\d+)(?:[eE]-?\d+)?(?![\w.]) )
    | (?P<text>    '(?:[^']|'')*' | "[^"]*" )
    | (?P<name>    [^\W\d]\w*(?:\.(?: `[^`]*` | "[^"]*" | [\w.]+ ))? | `[^`]*` )
    | (?P<mark>    [(),;] )
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse(where: str) -> Sequence[Comparison]:
    """The comparisons, all of which must hold; none for an empty filter. Raises QuestionError."""
    tokens = _tokens(where)
    found: list[Comparison] = []
    at = 0
    while at < len(tokens):
        if found:
            if tokens[at] != _Token("name", tokens[at].text) or tokens[at].text.upper() != "AND":
                raise _refused(where, f"'{tokens[at].text}' stands where AND is expected; MLflow joins with AND only")
            at += 1
        comparison, at = _comparison(where, tokens, at)
        found.append(comparison)
    return found


def quoted(key: str) -> str:
    """A key as a filter or an order has it. Raises QuestionError for one that MLflow's syntax cannot hold."""
    if "`" not in key:
        return f"`{key}`"
    if '"' not in key:
        return f'"{key}"'
    raise QuestionError(f"MLflow's search syntax cannot name {key}: it holds both kinds of quotes")


def _tokens(where: str) -> list[_Token]:
    found: list[_Token] = []
    at, end = 0, len(where.rstrip())
    while at < end:
        match = _TOKEN.match(where, at)
        if match is None or match.lastgroup is None:
            raise _refused(where, f"it cannot be read from '{where[at:].strip()[:20]}' on")
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _comparison(where: str, tokens: Sequence[_Token], at: int) -> tuple[Comparison, int]:
    if len(tokens) < at + 2 or tokens[at].kind != "name" or tokens[at + 1].kind != "operator":
        place = f"behind '{tokens[at - 1].text}'" if at else "at its beginning"
        raise _refused(where, f"{place} a comparison such as metrics.loss < 0.1 is missing")
    entity, key = _identifier(where, tokens[at].text)
    operator = " ".join(tokens[at + 1].text.upper().split()).replace("<>", "!=")
    numeric = entity is Entity.METRIC or (entity is Entity.ATTRIBUTE and key in _NUMERIC)
    allowed = _ORDERED if numeric else _OPERATORS[entity] | (_LISTS if key == "run_id" else frozenset())
    if operator not in allowed:
        raise _refused(where, f"{entity} {key} cannot be compared by {operator}, only by {', '.join(sorted(allowed))}")
    at += 2
    if operator in _PRESENT:
        return Comparison(entity, key, operator, None), at
    if operator in _LISTS:
        values, at = _list(where, tokens, at)
        return Comparison(entity, key, operator, values), at
    kind = "number" if numeric else "text"
    if len(tokens) <= at or tokens[at].kind != kind:
        what = "a number" if numeric else "text in quotes"
        raise _refused(where, f"{entity} {key} {operator} takes {what}")
    text = tokens[at].text
    return Comparison(entity, key, operator, float(text) if numeric else _unquoted(text)), at + 1


def _identifier(where: str, text: str) -> tuple[Entity, str]:
    first, dot, rest = text.partition(".")
    entity = _ENTITIES.get(first.strip("`").lower()) if dot else Entity.ATTRIBUTE
    if entity is None:
        raise _refused(where, f"'{first}' is none of metrics, params, tags, attributes and datasets")
    key = (rest if dot else text).strip()
    if key[:1] in '`"' and key[-1:] == key[:1]:
        key = key[1:-1]
    key = _ALIASES.get(key, key) if entity is Entity.ATTRIBUTE else key
    known = {Entity.ATTRIBUTE: _ATTRIBUTES, Entity.DATASET: _DATASET_KEYS}.get(entity)
    if known is not None and key not in known:
        raise _refused(where, f"there is no {entity} {key}, only {', '.join(sorted(known))}")
    if not key:
        raise _refused(where, f"the {entity} has no name")
    return entity, key


def _list(where: str, tokens: Sequence[_Token], at: int) -> tuple[tuple[str, ...], int]:
    """What stands in ``('a', 'b')``, and where it ends."""
    end = next((place for place in range(at, len(tokens)) if tokens[place] == _Token("mark", ")")), None)
    inside = tokens[at + 1 : end]
    good = (
        end is not None
        and tokens[at] == _Token("mark", "(")
        and all(token.kind == "text" for token in inside[::2])
        and all(token == _Token("mark", ",") for token in inside[1::2])
        and len(inside) % 2
    )
    if end is None or not good:
        raise _refused(where, "IN takes text in quotes within brackets, as in IN ('a', 'b')")
    return tuple(_unquoted(token.text) for token in inside[::2]), end + 1


def _unquoted(text: str) -> str:
    return text[1:-1]


def _refused(where: str, why: str) -> QuestionError:
    return QuestionError(f"the filter {where!r} is not one of MLflow's: {why}")
