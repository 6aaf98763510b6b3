"""Samples as OpenTelemetry's own message types.

One resource for each experiment, one gauge for each key of it, one point for each sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.core.sample_columns import columns_of
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened
from mlflow_monitoring_exporter.prometheus.timeseries import ahead, by_series, clamped

#: What an instrument's name may not hold, and how long it may be (OpenTelemetry metrics API, instrument name syntax).
_ILLEGAL = re.compile(r"[^A-Za-z0-9_./-]")
_LONGEST = 255
#: The first attribute of each point.
_KEY = "mlflow.metric.key"
#: Nanoseconds since 1970 that an unsigned number of 64 bits holds.
_END_NS = 1 << 64


def metric_name(key: str) -> str:
    """``mlflow.<key>`` with every character that names may not hold replaced by ``_``."""
    return f"mlflow.{_ILLEGAL.sub('_', key)}"[:_LONGEST]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request, and the indexes of the samples that it could not hold."""

    request: ExportMetricsServiceRequest
    rejected: Sequence[int]


class Encoder:
    """Makes requests. ``resource`` is what every resource says of itself, ``step`` whether each point says its step."""

    def __init__(self, resource: Mapping[str, str], *, step: bool) -> None:
        self._resource = resource
        self._step = step

    def encode(self, samples: Sequence[Sample], read_ms: int) -> Encoded:
        """Of samples that were read at ``read_ms``."""
        if ahead(samples, read_ms):
            samples = _clamped(samples, read_ms)
        request = _Request(self._resource)
        rejected = []
        # What all points of a series say is written once, and copied: a third of the time.
        points: dict[tuple[int, str], tuple[Any, NumberDataPoint]] = {}
        columns = columns_of(samples)
        rows = zip(columns.runs, columns.keys, columns.steps, columns.timestamps_ms, columns.values, strict=True)
        for place, (run, key, step, timestamp_ms, value) in enumerate(rows):
            if not 0 <= timestamp_ms * 1_000_000 < _END_NS:
                rejected.append(place)
                continue
            series = points.get((id(run), key))
            if series is None:
                series = points[id(run), key] = request.points_of(run, key), request.blank(run, key)
            point = series[0].add()
            point.CopyFrom(series[1])
            point.time_unix_nano, point.as_double = timestamp_ms * 1_000_000, value
            if self._step:
                point.attributes.add(key="mlflow.step").value.int_value = step
        return Encoded(request.message, rejected)


class _Request:
    """A request while it grows: a resource for each experiment, a gauge for each key of it."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self.message = ExportMetricsServiceRequest()
        self._resource = resource
        self._scopes: dict[tuple[str, str, str], Any] = {}
        self._points: dict[tuple[tuple[str, str, str], str], Any] = {}
        self._of_run: dict[int, NumberDataPoint] = {}

    def points_of(self, run: RunContext, key: str) -> Any:
        """The list of points to which those of this series belong."""
        experiment = run.server, run.experiment_id, run.experiment_name
        gauge = experiment, metric_name(key)
        if gauge not in self._points:
            scope = self._scopes.get(experiment) or self._scope(experiment)
            self._points[gauge] = scope.metrics.add(name=gauge[1]).gauge.data_points
        return self._points[gauge]

    def blank(self, run: RunContext, key: str) -> NumberDataPoint:
        """A point of this series without time and value."""
        of_run = self._of_run.get(id(run))
        if of_run is None:
            of_run = self._of_run[id(run)] = NumberDataPoint(attributes=[_text(_KEY, ""), *_of_run(run)])
        point = NumberDataPoint()
        point.CopyFrom(of_run)
        point.attributes[0].value.string_value = shortened(key, OF_SAMPLES)
        return point

    def _scope(self, experiment: tuple[str, str, str]) -> Any:
        of_experiment = {
            **self._resource,
            **dict(zip(("mlflow.server", "mlflow.experiment.id", "mlflow.experiment.name"), experiment, strict=True)),
        }
        group = self.message.resource_metrics.add()
        group.resource.attributes.extend(_text(name, value) for name, value in of_experiment.items())
        instrumentation = InstrumentationScope(name="mlflow-monitoring-exporter", version=__version__)
        self._scopes[experiment] = group.scope_metrics.add(scope=instrumentation)
        return self._scopes[experiment]


def _clamped(samples: Sequence[Sample], read_ms: int) -> Sequence[Sample]:
    """What claims to be from the future has the time when it was read: many receivers keep time in order."""
    times = {
        one.place: one.timestamp_ms
        for series in by_series(samples, lambda sample: (sample.run.server, sample.run.run_id, sample.key)).values()
        for one in clamped(series, read_ms)
    }
    return [replace(sample, timestamp_ms=times[place]) for place, sample in enumerate(samples)]


def _of_run(run: RunContext) -> list[KeyValue]:
    attributes = {"mlflow.run.id": run.run_id, "mlflow.run.name": run.run_name}
    if run.parent_run_id:
        attributes["mlflow.parent_run.id"] = run.parent_run_id
    attributes |= {f"mlflow.tag.{name}": value for name, value in run.tags.items()}
    return [_text(name, value) for name, value in attributes.items()]


def _text(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=shortened(value, OF_SAMPLES)))
