"""Remote write's two messages, encoded by Google's protobuf and compressed by snappy.

The types are declared here in the library's own terms, so that no generated code is kept. Field numbers are those of
https://prometheus.io/docs/specs/prw/remote_write_spec/ and .../remote_write_spec_2_0/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mlflow_monitoring_exporter.prometheus.timeseries import Dated, Labels

_Field = descriptor_pb2.FieldDescriptorProto
_GAUGE = 2
"""``Metadata.METRIC_TYPE_GAUGE``."""

_V1: Mapping[str, Sequence[tuple[str, int, Any]]] = {
    "Label": [("name", 1, _Field.TYPE_STRING), ("value", 2, _Field.TYPE_STRING)],
    "Sample": [("value", 1, _Field.TYPE_DOUBLE), ("timestamp", 2, _Field.TYPE_INT64)],
    "TimeSeries": [("labels", 1, ["Label"]), ("samples", 2, ["Sample"])],
    "WriteRequest": [("timeseries", 1, ["TimeSeries"])],
}
_V2: Mapping[str, Sequence[tuple[str, int, Any]]] = {
    "Sample": [("value", 1, _Field.TYPE_DOUBLE), ("timestamp", 2, _Field.TYPE_INT64)],
    # An enumeration is a number on the wire.
    "Metadata": [("type", 1, _Field.TYPE_INT32), ("help_ref", 3, _Field.TYPE_UINT32)],
    "TimeSeries": [
        ("labels_refs", 1, [_Field.TYPE_UINT32]),
        ("samples", 2, ["Sample"]),
        ("metadata", 5, "Metadata"),
    ],
    "Request": [("symbols", 4, [_Field.TYPE_STRING]), ("timeseries", 5, ["TimeSeries"])],
}


def _declare(package: str, messages: Mapping[str, Sequence[tuple[str, int, Any]]]) -> Mapping[str, Any]:
    """Message classes by name. A type in a list is repeated, a name is that of another message."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, declaration in fields:
            repeated = isinstance(declaration, list)
            kind = declaration[0] if repeated else declaration
            declared = message.field.add(
                name=field, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                declared.type, declared.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                declared.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


_V1_TYPES = _declare("prometheus", _V1)
_V2_TYPES = _declare("io.prometheus.write.v2", _V2)
WriteRequest, Request = _V1_TYPES["WriteRequest"], _V2_TYPES["Request"]

Series = Mapping[Labels, Sequence[Dated]]


def encode_v1(series: Series) -> bytes:
    """A ``prometheus.WriteRequest``, compressed."""
    request = WriteRequest()
    for labels, dated in series.items():
        one = request.timeseries.add()
        for name, text in labels:
            one.labels.add(name=name, value=text)
        for timestamp_ms, _, value, _ in dated:
            one.samples.add(value=value, timestamp=timestamp_ms)
    return _compressed(request)


def encode_v2(series: Series) -> bytes:
    """An ``io.prometheus.write.v2.Request``, compressed: every text is there once, and referred to by its place."""
    request = Request()
    places = {"": 0}
    for labels, dated in series.items():
        one = request.timeseries.add()
        one.labels_refs.extend(places.setdefault(text, len(places)) for label in labels for text in label)
        for timestamp_ms, _, value, _ in dated:
            one.samples.add(value=value, timestamp=timestamp_ms)
        one.metadata.type = _GAUGE
    request.symbols.extend(places)
    return _compressed(request)


def _compressed(message: Any) -> bytes:
    """In snappy's block format, as both specifications demand."""
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))
