"""Columns and values that are not the same in both databases."""

from __future__ import annotations

import math

from sqlalchemy import BigInteger, Dialect, Integer, Text, TypeDecorator

#: SQLite numbers rows by a column that is called INTEGER, and nothing else.
ROW_ID = BigInteger().with_variant(Integer, "sqlite")


class AnyText(TypeDecorator[str]):
    """Any text. PostgreSQL takes all characters but U+0000, which is written as U+0001 and a zero there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x01", "\x011").replace("\x00", "\x010")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\x010", "\x00").replace("\x011", "\x01")


def stored(value: float) -> float | None:
    """SQLite cannot store NaN."""
    return None if math.isnan(value) else value


def loaded(value: float | None) -> float:
    """What :func:`stored` stored."""
    return math.nan if value is None else value
