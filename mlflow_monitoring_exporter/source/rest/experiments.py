"""Experiments through REST, and whether it is MLflow at all that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mlflow_monitoring_exporter.core.errors import SourceRefusedError
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.rest.answer import WHICH_SERVER, MissingItemError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.source.rest.runs import records, skipping

_PAGE = 1000
_PATH = "experiments/search"
#: As many results no MLflow gives.
_REFUSED = -1

_T = TypeVar("_T")


class Experiments:
    """experiments/search of one server; ``on_skipped`` hears of every malformed record."""

    def __init__(self, api: MlflowApi, on_skipped: decode.OnSkipped) -> None:
        self._api = api
        self._on_skipped = on_skipped

    def any(self) -> bool:
        """Whether there is one that can be read."""
        found = records(self._api.call("POST", _PATH, {"max_results": 1}), "experiments")
        return any(True for _ in decode.readable(decode.experiment, found, "an experiment", decode.ignore_skipped))

    def all(self, read: Callable[[Any, decode.OnSkipped], _T]) -> Iterator[_T]:
        """Every active experiment as ``read`` decodes it, in the order of MLflow's ids."""
        fields = {"view_type": "ACTIVE_ONLY", "max_results": _PAGE, "order_by": ["experiment_id ASC"]}
        for answer in self._api.pages("POST", _PATH, fields):
            for record in records(answer, "experiments"):
                with skipping("experiment", record, "experiment_id", self._on_skipped):
                    yield read(record, self._on_skipped)

    def recognise(self) -> None:
        """An answer without experiments may come from any service, and would empty everything that is shown.

        So it is asked for something that MLflow refuses in words of its own, once as long as it answers so. That
        is no request of a usual poll: there is an experiment "Default", and an answer that holds one says enough.
        Raises SourceRefusedError.
        """
        try:
            self._api.call("POST", _PATH, {"max_results": _REFUSED})
        except RefusalError as error:
            if error.code == "INVALID_PARAMETER_VALUE":
                return
            if error.status in (401, 403):
                raise
        except MissingItemError:
            pass
        raise SourceRefusedError(f"{self._api.url} answers, but not as MLflow does: {WHICH_SERVER}")
