"""Single fields of MLflow's records: text, whole numbers, values.

Both doors hold more than MLflow writes: SQLite keeps anything in any column, JSON any value in any
field, and either can carry text that is no Unicode. The readers decode what is no UTF-8 to lone
surrogates, so that this is the one place which judges it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from mlflow_monitoring_exporter.core.errors import SourceResponseError
from mlflow_monitoring_exporter.core.foreign_text import escaped
from mlflow_monitoring_exporter.core.values import decode_value

#: Told of everything that was skipped: which item, and why.
OnSkipped = Callable[[str, str], None]

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INT64_MAX = 2**63 - 1
#: What no database, encoder or terminal takes: half of a character, and the end of a string in C.
_UNWRITABLE = re.compile("[\ud800-\udfff\0]")
_REPLACEMENT = "\ufffd"
_LONGEST_NAME = 100


class MalformedError(SourceResponseError):
    """A record is not what MLflow writes."""


def ignore_skipped(item: str, reason: str) -> None:
    """The default OnSkipped."""


def text(value: Any, what: str) -> str:
    """A string for people, in which a character that cannot be written is replaced; raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is not text")
    if value.isascii() and "\0" not in value:
        return value
    return _UNWRITABLE.sub(_REPLACEMENT, value)


def exact(value: Any, what: str) -> str:
    """A string that other records refer to, so that it must be exact; raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is not text")
    if not value.isascii() and not is_unicode(value):
        raise MalformedError(f"{what} is not Unicode")
    return value


def identity(value: Any, what: str) -> str:
    """The id of a record; raises MalformedError."""
    found = exact(value, what)
    if not found:
        raise MalformedError(f"{what} is empty")
    if "\0" in found:
        raise MalformedError(f"{what} holds a null character")
    return found


def integer(value: Any, what: str) -> int:
    """An int64; JSON may carry it as a number or, as protobuf does, as text. Raises MalformedError."""
    if type(value) is not int and (
        (isinstance(value, str) and _INTEGER.fullmatch(value)) or (isinstance(value, float) and value.is_integer())
    ):
        value = int(value)
    if type(value) is not int or not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise MalformedError(f"{what} is not a 64-bit integer")
    return value


def number(value: Any, what: str) -> float:
    """A metric value; JSON spells the non-finite ones ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.

    Raises MalformedError.
    """
    if not isinstance(value, float):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise MalformedError(f"{what} is not a number")
        try:
            value = float(value)
        except (ValueError, OverflowError):
            raise MalformedError(f"{what} is not a number") from None
    return decode_value(value)


def stored_number(value: Any, is_nan: Any, what: str) -> float:
    """A metric value of the database, where NaN is a zero with ``is_nan`` set; raises MalformedError."""
    if is_nan not in (None, 0, 1):
        raise MalformedError(f"whether {what} is NaN is not a boolean")
    return math.nan if is_nan else number(value, what)


def is_unicode(value: str) -> bool:
    """Whether it can be encoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: Any) -> str:
    """A foreign name for a message: printable, of bounded length; ``?`` when it is not even text."""
    if not isinstance(value, str):
        return "?"
    line = escaped(value[:_LONGEST_NAME])
    return f"{line}..." if len(value) > _LONGEST_NAME else line
