"""By which column values a series becomes unread: all of it, or its tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, case

from mlflow_monitoring_exporter.state.schema import series

#: A new series: no exporter has anything of it.
NEW: Mapping[str, int | bool] = {"mask": 0, "base": 0, "from_step": 0, "pending": True, "revision": 0}
#: The same of one that is known: as far as is known, no exporter has anything of it.
UNREAD: Mapping[str, Any] = {**NEW, "revision": series.c.revision + 1}


def tail_from(step: ColumnElement[int]) -> dict[str, Any]:
    """Column values that make a series unread from ``step`` on.

    Who had all of it has all below ``step`` now. If an exporter lagged behind already, the lower of
    both steps counts for everybody.
    """
    lagging = series.c.base.bitwise_and(series.c.mask.bitwise_not()) != 0
    lower = lagging & (series.c.from_step < step)
    return {
        "from_step": case((lower, series.c.from_step), else_=step),
        "base": series.c.mask.bitwise_or(series.c.base),
        "mask": 0,
        "pending": True,
        "revision": series.c.revision + 1,
    }
