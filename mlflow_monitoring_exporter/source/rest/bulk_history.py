"""Whole histories of one key of many runs, by the call that MLflow's own pages draw curves with.

``ajax-api/2.0/mlflow/metrics/get-history-bulk`` costs a server a thirtieth of what get-history-bulk-interval costs for
each run: it is one query for all of them. It samples nothing. But it is cut at 25,000 points without a word, in the
order of run ids (mlflow/server/handlers.py); so an answer as long as that is not used, and of none a series whose
latest point is missing in it. Not every server lets it through: a proxy may close ``ajax-api``. Then it is not asked
for again for an hour.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import structlog

from mlflow_monitoring_exporter.core.errors import SourceResponseError
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.rest.answer import PassingError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.source.rest.points import Records, by_run, step_of
from mlflow_monitoring_exporter.source.rest.runs import records

_log = structlog.get_logger(__name__)

#: Steps up to which all of a series costs no more than a call for its tail.
SHALLOW = 30
#: MLflow's limits: runs in one request, and points in its answer.
_RUNS = 100
_CUT_AT = 25_000
#: The part of such an answer that is aimed at, because how long one will be is only estimated.
_AIM = 0.8
#: Answers in a row that a server may fail at (HTTP 500) before it counts as one that does not offer the call.
_FAILURES = 3
#: Seconds after which a server that did not offer it is asked again.
_AGAIN = 3600.0

_INTERNAL_ERROR = 500


class BulkHistory:
    """The call, as far as a server offers it. Usable by several threads."""

    def __init__(self, on_skipped: decode.OnSkipped) -> None:
        self._on_skipped = on_skipped
        self._points_of_a_series = math.inf
        self._asked_again_at = -math.inf
        self._failures = 0
        self._told: set[bool] = set()

    @property
    def offered(self) -> bool:
        """Whether the server has it, as far as is known."""
        return time.monotonic() >= self._asked_again_at

    def is_for(self, item: Wanted) -> bool:
        """Whether it is the cheapest way to all of what is wanted of a series."""
        shallow = item.from_step is None or item.last_step < SHALLOW
        return shallow and self._expected(item) <= _AIM * _CUT_AT and self.offered

    def groups(self, wanted: Iterable[Wanted]) -> Iterator[tuple[str, list[Wanted]]]:
        """Series of one key whose points should fit into one answer; whole ones and tails apart."""
        by_key: dict[tuple[str, bool], list[Wanted]] = {}
        for item in wanted:
            by_key.setdefault((item.key, item.from_step is None), []).append(item)
        for (key, _), items in by_key.items():
            group: list[Wanted] = []
            size = 0.0
            for item in items:
                expected = self._expected(item)
                if group and (len(group) == _RUNS or size + expected > _AIM * _CUT_AT):
                    yield key, group
                    group, size = [], 0.0
                group.append(item)
                size += expected
            yield key, group

    def ask(self, api: MlflowApi, key: str, items: Sequence[Wanted]) -> Records | None:
        """The points of those runs of which it is certain that they are all; None when another call must be used.

        Raises SourceUnavailableError when the server does not answer now.
        """
        fields = {"run_id": [item.run_id for item in items], "metric_key": key}
        try:
            found = records(api.call("GET", "metrics/get-history-bulk", fields, root="ajax-api"), "metrics")
        except SourceResponseError:  # a run is gone, in stores that are no databases; or it is no answer
            return {}
        except PassingError as error:
            if error.status != _INTERNAL_ERROR:
                raise
            self._failures += 1  # one of the runs may hold what MLflow cannot read itself
            if self._failures >= _FAILURES:
                self._refused(str(error))
            return None
        except RefusalError as error:
            self._refused(str(error))
            return None
        self._failures = 0
        self._tell(offered=True)
        if len(found) >= _CUT_AT:
            if len(items) == 1:
                return {}
            middle = len(items) // 2
            halves = [self.ask(api, key, some) for some in (items[:middle], items[middle:])]
            return {run_id: points for half in halves for run_id, points in (half or {}).items()}
        runs = by_run(found, key, [item.run_id for item in items], self._on_skipped)
        whole = {item.run_id: runs[item.run_id] for item in items if _reaches(runs[item.run_id], item)}
        if whole:
            self._points_of_a_series = sum(map(len, whole.values())) / len(whole)
        return whole

    def _expected(self, item: Wanted) -> float:
        """How many points a whole series may have: by its steps, which may be sparse, and by what others had."""
        return min(max(1, item.last_step + 1), 2 * self._points_of_a_series)

    def _refused(self, reason: str) -> None:
        self._failures, self._asked_again_at = 0, time.monotonic() + _AGAIN
        self._tell(offered=False, reason=reason)

    def _tell(self, *, offered: bool, **details: str) -> None:
        """Once."""
        if offered in self._told:
            return
        self._told.add(offered)
        if offered:
            _log.info("reading histories through get-history-bulk, many runs at a time")
        else:
            _log.info("MLflow does not offer get-history-bulk here; reading histories through slower calls", **details)


def _reaches(points: Sequence[Any], item: Wanted) -> bool:
    """Whether the latest point that is known of a series is among these."""
    return max(map(step_of, points), default=-math.inf) >= item.last_step
