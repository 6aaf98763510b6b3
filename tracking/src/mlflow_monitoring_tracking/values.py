"""What callers hand in, as what is recorded: numbers as floats, parameters and tags as text."""

from __future__ import annotations

import json
import math
from typing import Any

#: Integers up to here are floats without loss.
_EXACT = 2**53


class NotANumberError(TypeError):
    """A metric's value is none. The text says what it is."""


def number_of(value: Any) -> float | None:
    """The value of a metric; None where there is none. Takes whatever says that it is one number.

    :raises NotANumberError: it is text, a list, or anything else that is no single number.
    """
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind is int or kind is bool:
        return _float_of(value)
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise NotANumberError(f"{value[:40]!r} is text, not a number")
    # Tensors that require a gradient and arrays of one element have it, where float() of them is refused.
    item = getattr(value, "item", None)
    try:
        return _float_of(item() if callable(item) else value)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise NotANumberError(f"a {kind.__module__}.{kind.__qualname__} is not one number") from error


def plain(value: Any) -> Any:
    """What a scalar of numpy, or an array of one element, holds; every other value as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "size", 1) == 1 else value


def _float_of(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def exact_integer(value: Any) -> str | None:
    """An integer that a float would round, as text; None for every other value."""
    return str(int(value)) if isinstance(value, int) and abs(value) > _EXACT else None


def text_of(value: Any) -> str:
    """A parameter or a tag as text: what ``str`` makes of it, JSON for dicts and lists, and a name where both fail."""
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, (dict, list, tuple)):
            return json.dumps(value, ensure_ascii=False, default=str)
        return str(value)
    except Exception:  # noqa: BLE001 - it is the caller's own __str__, and a training must not end for it
        return f"<{type(value).__qualname__}>"
