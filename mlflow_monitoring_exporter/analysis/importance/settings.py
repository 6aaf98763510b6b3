"""Parameters as numbers and categories: MLflow keeps them as text.

A parameter is a number where all of its values are, on a logarithmic scale where they are spread like that, and a
category otherwise. One that only some runs have is conditional: on the category of another parameter if that tells
exactly who has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: A parameter with as many categories says no more than the id of a run.
_MOST_CATEGORIES = 50
#: From what ratio of the largest to the smallest value on a scale may be logarithmic, how many values that takes, and
#: how far up at most the middle one lies.
_LOG_RATIO, _LOG_VALUES, _LOG_MIDDLE = 100, 3, 0.2


class Kind(StrEnum):
    """How the values of a parameter are laid out."""

    NUMBER = "number"
    LOG = "log"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter is there where ``parent`` has one of ``codes``."""

    parent: str
    codes: frozenset[float]


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter with one code for each run: the number, its logarithm (base 10), or the place of its category.

    ``fill`` is the code of runs that lack it. ``condition`` says when that is, where another parameter tells.
    """

    key: str
    kind: Kind
    codes: tuple[float, ...]
    fill: float | None = None
    categories: tuple[str, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """``used`` are parameters that vary; ``left_out`` says of the others why they cannot matter here."""

    used: tuple[Setting, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_settings(runs: Sequence[Mapping[str, str]]) -> Settings:
    """The parameters of runs, of each by its key."""
    found: dict[str, Setting] = {}
    left_out: dict[str, str] = {}
    for key in sorted({key for run in runs for key in run}):
        texts = [run.get(key) for run in runs]
        present = [text for text in texts if text is not None]
        distinct = set(present)
        if len(distinct) == 1 and len(present) == len(texts):
            left_out[key] = f"is {present[0]} in every run"
            continue
        setting = _numbers(key, texts) or _categories(key, texts)
        if len(distinct) > _MOST_CATEGORIES and setting.kind is Kind.CATEGORY:
            left_out[key] = f"has {len(distinct)} different texts"
            continue
        found[key] = setting
    conditional = {
        key: _conditioned(setting, found) if setting.fill is not None else setting for key, setting in found.items()
    }
    return Settings(tuple(conditional.values()), left_out)


def _numbers(key: str, texts: Sequence[str | None]) -> Setting | None:
    """As a number; None if a value is none."""
    values = [None if text is None else _number(text) for text in texts]
    known = [value for value in values if value is not None]
    if len(known) < sum(text is not None for text in texts):
        return None
    log = _is_logarithmic(sorted(known))
    codes = [None if value is None else math.log10(value) if log else value for value in values]
    there = sorted(code for code in codes if code is not None)
    fill = None
    if len(there) < len(codes):
        # Below all others, so that a tree can tell who lacks it; one that another parameter tells becomes the middle.
        fill = there[0] - max(1.0, there[-1] - there[0])
    return Setting(
        key, Kind.LOG if log else Kind.NUMBER, tuple(fill or 0.0 if code is None else code for code in codes), fill
    )


def _is_logarithmic(ordered: Sequence[float]) -> bool:
    """Positive numbers over two powers of ten, most of them near the small end; evenly spread ones are not."""
    low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    spans = low > 0 and high / low >= _LOG_RATIO and len(set(ordered)) >= _LOG_VALUES
    return spans and (middle - low) / (high - low) < _LOG_MIDDLE


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _categories(key: str, texts: Sequence[str | None]) -> Setting:
    names = sorted({text for text in texts if text is not None})
    place = {name: float(at) for at, name in enumerate(names)}
    absent = float(len(names)) if any(text is None for text in texts) else None
    codes = tuple(absent if text is None and absent is not None else place[text or ""] for text in texts)
    return Setting(key, Kind.CATEGORY, codes, absent, tuple(names))


def _conditioned(setting: Setting, others: Mapping[str, Setting]) -> Setting:
    """With the parameter that tells where this one is, if one does; then those without it count as in the middle."""
    is_there = [code != setting.fill for code in setting.codes]
    for parent in sorted(others.values(), key=lambda other: (other.fill is not None, other.key)):
        if parent.key == setting.key or parent.kind is not Kind.CATEGORY:
            continue
        having = {code for code, there in zip(parent.codes, is_there, strict=True) if there}
        lacking = {code for code, there in zip(parent.codes, is_there, strict=True) if not there}
        if having & lacking or not having or not lacking:
            continue
        there = sorted(code for code, is_one in zip(setting.codes, is_there, strict=True) if is_one)
        middle = there[len(there) // 2]
        codes = tuple(code if is_one else middle for code, is_one in zip(setting.codes, is_there, strict=True))
        condition = Condition(parent.key, frozenset(having))
        return Setting(setting.key, setting.kind, codes, middle, setting.categories, condition)
    return setting
