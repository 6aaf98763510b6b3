"""The model registry through REST.

Aliases come with registered-models/search only, the runs of versions with model-versions/search only.
The former is asked first: a model's answer differs when anything of it or of its versions does, because
MLflow notes the time of the change (mlflow/store/model_registry/sqlalchemy_store.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from mlflow_monitoring_exporter.core.values import ModelVersion
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.rest.answer import MissingItemError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.source.rest.runs import records, skipping

_log = structlog.get_logger(__name__)

_PAGE = 1000


class RestRegistry:
    """The registry of one server, and what was read of it last."""

    def __init__(self, api: MlflowApi, on_skipped: decode.OnSkipped) -> None:
        self._api = api
        self._on_skipped = on_skipped
        self._models: list[Any] | None = None
        self._versions: Sequence[ModelVersion] = ()
        self._missed = False

    def read(self, *, refresh: bool) -> Sequence[ModelVersion]:
        """Every version, sorted; the same object as before when nothing changed. Nothing without a registry."""
        try:
            models = self._records("registered-models/search", "registered_models")
            if refresh or models != self._models:
                versions = tuple(sorted(self._read_versions(models), key=lambda v: (v.model, v.version)))
                if versions != self._versions:
                    self._versions = versions
                self._models = models
        except (RefusalError, MissingItemError) as error:
            if isinstance(error, RefusalError) and error.status == 401:
                raise
            if not self._missed:
                self._missed = True
                _log.warning("cannot read the model registry; taking stages from run tags only", reason=str(error))
            return ()
        return self._versions

    def _read_versions(self, models: list[Any]) -> list[ModelVersion]:
        aliases: list[tuple[str, int, str]] = []
        for record in models:
            with skipping("registered model", record, "name", self._on_skipped):
                aliases += decode.aliases(record, self._on_skipped)
        named = decode.by_version(aliases)
        found = []
        for record in self._records("model-versions/search", "model_versions"):
            with skipping("model version of", record, "name", self._on_skipped):
                found.append(decode.model_version(record, named))
        return found

    def _records(self, path: str, name: str) -> list[Any]:
        pages = self._api.pages("GET", path, {"max_results": _PAGE})
        return [record for answer in pages for record in records(answer, name)]
