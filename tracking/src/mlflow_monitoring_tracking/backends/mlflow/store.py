"""An MLflow store without a server (``sqlite:///``), through MLflow's own client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.backends.contract import Rejected, Unavailable
from mlflow_monitoring_tracking.backends.mlflow.client import NotFound

_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE"})


class StoreClient:
    """Answers as the REST API does.

    :raises ImportError: MLflow is not installed: the extra [models].
    """

    def __init__(self, address: str) -> None:
        from mlflow import MlflowClient, entities, exceptions

        self._entities = entities
        self._exception = exceptions.MlflowException
        self._client = MlflowClient(tracking_uri=address)
        scheme, _, rest = address.partition("://")
        self.address = f"{scheme}://{rest.rpartition('@')[2]}"
        self._calls: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "experiments/get-by-name": self._experiment,
            "experiments/search": lambda _body: {"experiments": len(self._client.search_experiments(max_results=1))},
            "experiments/create": lambda body: {"experiment_id": self._client.create_experiment(body["name"])},
            "runs/get": lambda query: {"run": _info(self._client.get_run(query["run_id"]))},
            "runs/search": self._search,
            "runs/create": self._create,
            "runs/delete": lambda body: self._client.delete_run(body["run_id"]),
            "runs/update": self._update,
            "runs/log-batch": self._log,
        }

    def get(self, path: str, query: Mapping[str, str]) -> Any:
        """As of REST."""
        return self._call(path, query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """As of REST."""
        return self._call(path, body)

    def put_file(self, path: str, file: Path) -> None:
        """A store has no artifact proxy."""
        raise Rejected(f"{path}: a store without a server has no artifact proxy")

    def close(self) -> None:
        """MLflow keeps its own pool."""

    def _call(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            return self._calls[path](body)
        except self._exception as error:
            text = f"{path}: {error.error_code} {' '.join(str(error.message).split())[:500]}"
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise NotFound(text) from None
            raise (Rejected(text) if error.error_code in _REFUSED else Unavailable(text)) from None

    def _experiment(self, query: Mapping[str, str]) -> Any:
        found = self._client.get_experiment_by_name(query["experiment_name"])
        if found is None:
            raise NotFound(f"there is no experiment {query['experiment_name']!r}")
        return {"experiment": {"experiment_id": found.experiment_id, "lifecycle_stage": found.lifecycle_stage}}

    def _search(self, body: Mapping[str, Any]) -> Any:
        runs = self._client.search_runs(body["experiment_ids"], body["filter"], max_results=body["max_results"])
        return {"runs": [_info(run) for run in runs]}

    def _create(self, body: Mapping[str, Any]) -> Any:
        tags = {tag["key"]: tag["value"] for tag in body["tags"]}
        self._client.create_run(body["experiment_id"], body["start_time"], tags, body["run_name"] or None)
        return {}

    def _update(self, body: Mapping[str, Any]) -> Any:
        if "end_time" in body:
            self._client.set_terminated(body["run_id"], body["status"], body["end_time"])
        else:
            self._client.update_run(body["run_id"], status=body["status"])
        return {}

    def _log(self, body: Mapping[str, Any]) -> Any:
        made = self._entities
        self._client.log_batch(
            body["run_id"],
            [made.Metric(m["key"], float(m["value"]), m["timestamp"], m["step"]) for m in body.get("metrics", ())],
            [made.Param(p["key"], p["value"]) for p in body.get("params", ())],
            [made.RunTag(t["key"], t["value"]) for t in body.get("tags", ())],
            synchronous=True,
        )
        return {}


def _info(run: Any) -> dict[str, Any]:
    names = ("run_id", "experiment_id", "start_time", "artifact_uri")
    return {"info": {name: getattr(run.info, name) for name in names}}
