"""Samples as OpenTelemetry's own message types.

One resource for each experiment, one gauge for each key of it, one point for each sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened
from mlflow_monitoring_exporter.prometheus.timeseries import ahead, by_series, clamped

#: What an instrument's name may not hold, and how long it may be (OpenTelemetry metrics API, instrument name syntax).
_ILLEGAL = re.compile(r"[^A-Za-z0-9_./-]")
_LONGEST = 255
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
        request = ExportMetricsServiceRequest()
        experiments: dict[tuple[str, str, str], list[Sample]] = {}
        rejected = []
        for index, sample in enumerate(samples):
            if 0 <= sample.timestamp_ms * 1_000_000 < _END_NS:
                run = sample.run
                experiments.setdefault((run.server, run.experiment_id, run.experiment_name), []).append(sample)
            else:
                rejected.append(index)
        for (server, experiment_id, experiment_name), members in experiments.items():
            of_experiment = {
                **self._resource,
                "mlflow.server": server,
                "mlflow.experiment.id": experiment_id,
                "mlflow.experiment.name": experiment_name,
            }
            group = request.resource_metrics.add()
            group.resource.attributes.extend(_text(name, value) for name, value in of_experiment.items())
            scope = group.scope_metrics.add(
                scope=InstrumentationScope(name="mlflow-monitoring-exporter", version=__version__)
            )
            gauges: dict[str, list[Sample]] = {}
            for sample in members:
                gauges.setdefault(metric_name(sample.key), []).append(sample)
            for name, points in gauges.items():
                metric = scope.metrics.add(name=name)
                metric.gauge.data_points.extend(map(self._point, points))
        return Encoded(request, rejected)

    def _point(self, sample: Sample) -> NumberDataPoint:
        attributes = [_text("mlflow.metric.key", sample.key), *_of_run(sample.run)]
        if self._step:
            attributes.append(KeyValue(key="mlflow.step", value=AnyValue(int_value=sample.step)))
        return NumberDataPoint(
            time_unix_nano=sample.timestamp_ms * 1_000_000, as_double=sample.value, attributes=attributes
        )


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
