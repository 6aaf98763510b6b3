"""Searches for runs through REST.

MLflow's page token is an offset, which skips a run whenever an earlier one is deleted. So each page
is a search of its own that begins where the last one ended, oldest start first; only runs that
started in one millisecond are paged by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.errors import SourceResponseError
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import MalformedError, identity, integer, shown
from mlflow_monitoring_exporter.source.protocol import RunPage
from mlflow_monitoring_exporter.source.rest.api import MlflowApi, next_page_token

#: Experiment ids in one request; the server binds each of them in a query.
IDS = 1000
#: Run ids in one filter.
_RUN_IDS = 100
#: Runs asked for at a time while looking for the newest experiments.
_PROBE = 10


class RunSearch:
    """runs/search of one server. Of the parameters of a run only ``params`` are read; None means all.

    ``on_skipped`` hears of every malformed record.
    """

    def __init__(self, api: MlflowApi, on_skipped: decode.OnSkipped, params: frozenset[str] | None) -> None:
        self._api = api
        self._on_skipped = on_skipped
        self._params = params

    def pages(
        self, experiment_ids: Sequence[str], *, condition: str = "", after: str | None = None, limit: int = 1000
    ) -> Iterator[RunPage]:
        """Every active run that meets ``condition``, oldest start first, each once.

        A position is ``<first experiment id of its request>:<start time in ms>``.
        """
        first, _, start = (after or "").rpartition(":")
        ids = sorted(i for i in experiment_ids if i >= first)
        since = int(start) if start else None
        parts = list(batches(ids, IDS))
        for number, part in enumerate(parts):
            end = f"{parts[number + 1][0]}:" if number + 1 < len(parts) else None
            yield from self._pages_of(part, condition, since, limit, end)
            since = None

    def named(self, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> Iterator[Run]:
        """Those of these runs that are active in one of these experiments."""
        for part in batches(run_ids, _RUN_IDS):
            for ids in batches(experiment_ids, IDS):
                condition = f"attributes.run_id IN ({_quoted(part)})"
                yield from self.decoded(self.search(ids, len(part), filter=condition))

    def deleted(self, experiment_ids: Sequence[str], *, known: Sequence[str], limit: int) -> list[str]:
        """At most ``limit`` deleted runs of these experiments; those that are ``known`` cost nothing."""
        condition = f"attributes.run_id NOT IN ({_quoted(known)})" if known else ""
        found: list[str] = []
        for ids in batches(experiment_ids, IDS):
            answer = self.search(ids, limit, filter=condition, run_view_type="DELETED_ONLY")
            for record in records(answer, "runs"):
                info = field(record, "info")
                with skipping("deleted run", info, "run_id", self._on_skipped):
                    found.append(identity(field(info, "run_id"), "run_id"))
        return found[:limit]

    def activity(self, experiment_ids: Sequence[str], limit: int) -> dict[str, int]:
        """The newest start or end of a run, in ms, of at least the ``limit`` newest experiments.

        The k with the newest start and the k with the newest end together hold the k with the newest of either.
        """
        found: dict[str, int] = {}
        for ids in batches(experiment_ids, IDS):
            for name in ("start_time", "end_time"):
                for experiment_id, when in self._newest_by(name, ids, limit):
                    found[experiment_id] = max(when, found.get(experiment_id, when))
        return found

    def _newest_by(self, name: str, ids: Sequence[str], limit: int) -> Iterator[tuple[str, int]]:
        """The ``limit`` experiments whose newest ``name`` of a run is newest, with that time in ms.

        Take the newest runs, leave their experiments out, repeat. Runs without the field sort last.
        """
        left = dict.fromkeys(ids)
        found = 0
        while left and found < limit:
            answer = self.search(list(left), min(limit - found, _PROBE), order_by=[f"attributes.{name} DESC"])
            before = len(left)
            for record in records(answer, "runs"):
                info = field(record, "info")
                experiment_id, when = field(info, "experiment_id"), field(info, name)
                if when in (None, 0):
                    return
                with skipping("run", info, "run_id", self._on_skipped):
                    time = integer(when, f"its {name}")
                    if identity(experiment_id, "experiment_id") in left:
                        del left[experiment_id]
                        found += 1
                        yield experiment_id, time
            if len(left) == before:
                return

    def search(self, ids: Sequence[str], max_results: int, **fields: Any) -> Mapping[str, Any]:
        """One page of runs/search; a field that is empty is left out."""
        return self._api.call(
            "POST",
            "runs/search",
            {
                "experiment_ids": ids,
                "run_view_type": "ACTIVE_ONLY",
                "max_results": max_results,
                **{name: value for name, value in fields.items() if value},
            },
        )

    def _pages_of(
        self, ids: Sequence[str], condition: str, since: int | None, limit: int, end: str | None
    ) -> Iterator[RunPage]:
        cursor = _Cursor(since)
        while True:
            both = " AND ".join(part for part in (condition, cursor.condition) if part)
            order = ["attributes.start_time ASC"]
            answer = self.search(ids, limit, filter=both, order_by=order, page_token=cursor.token)
            by_id = {run.run_id: run for run in self.decoded(answer)}
            page = [run for run_id, run in by_id.items() if run_id not in cursor.seen]
            token = next_page_token(answer, self._api.url)
            found = records(answer, "runs")
            if not token or not found:
                yield RunPage(page, end)
                return
            if not cursor.advance(page, _last_start(found), token):
                raise SourceResponseError(f"{self._api.url} repeats a page of runs without end")
            yield RunPage(page, f"{ids[0]}:{'' if cursor.since is None else cursor.since}")

    def decoded(self, answer: Mapping[str, Any]) -> Iterator[Run]:
        """The runs of an answer."""
        for record in records(answer, "runs"):
            with skipping("run", field(record, "info"), "run_id", self._on_skipped):
                yield decode.run(record, self._params, self._on_skipped)


class _Cursor:
    """Where the next page begins: with the runs that started at ``since`` (in ms), or behind ``token`` among them."""

    def __init__(self, since: int | None) -> None:
        self.since = since
        self.token = ""
        #: Runs of earlier pages that may come again.
        self.seen: set[str] = set()
        self._tokens: set[str] = set()

    @property
    def condition(self) -> str:
        return "" if self.since is None else f"attributes.start_time >= {self.since}"

    def advance(self, page: Sequence[Run], last_start: int | None, token: str) -> bool:
        """Move behind ``page``, whose last run started at ``last_start``; False if ``token`` came before."""
        if last_start is not None and (self.since is None or last_start > self.since):
            self.since, self.token = last_start, ""
            self._tokens.clear()
            # Only runs that started in this millisecond can come again.
            self.seen = {run.run_id for run in page if run.start_ms == last_start}
            return True
        self.seen.update(run.run_id for run in page)
        self.token = token
        is_new = token not in self._tokens
        self._tokens.add(token)
        return is_new


@contextmanager
def skipping(kind: str, record: Any, name: str, on_skipped: decode.OnSkipped) -> Iterator[None]:
    """A malformed record inside the block is told of, and that is all."""
    try:
        yield
    except decode.MalformedError as error:
        on_skipped(f"{kind} {shown(field(record, name))}", str(error))


def records(answer: Mapping[str, Any], name: str) -> list[Any]:
    """The list in a field of an answer; empty when there is none.

    Raises SourceResponseError when it is anything else: that is not the same as an MLflow that holds nothing.
    """
    found = answer.get(name)
    if not isinstance(found, list | None):
        raise SourceResponseError(f"MLflow answered with {name} that are not a list")
    return found or []


def field(record: Any, name: str) -> Any:
    """A field of a record that may be malformed."""
    return record.get(name) if isinstance(record, dict) else None


def _last_start(runs: Sequence[Any]) -> int | None:
    """The start, in ms, of the last run that has a readable one."""
    return next((start for run in reversed(runs) if (start := _start(run)) is not None), None)


def _start(run: Any) -> int | None:
    try:
        return integer(field(field(run, "info"), "start_time"), "its start time")
    except MalformedError:
        return None


def _quoted(run_ids: Sequence[str]) -> str:
    # MLflow makes ids of hexadecimal digits only; what else a store may hold must not end the quotes.
    return ",".join(f"'{run_id}'" for run_id in run_ids if run_id.isalnum())
