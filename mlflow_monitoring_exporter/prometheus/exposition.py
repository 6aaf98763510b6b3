"""Families in Prometheus' text format and in OpenMetrics; those that did not change are not encoded again.

The two formats differ only in a family's head, so the lines of its series are made once for both.
Written here because the encoder of prometheus_client looks at every label of every series with every
scrape; docs/speed.md has the ratio.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.core.values import Family, Snapshot, nonfinite_name
from mlflow_monitoring_exporter.prometheus.escaping import escaped, escaped_help

TEXT = "text/plain; version=0.0.4; charset=utf-8"

#: Of what zlib offers: half the size of none, at a third of the time of the smallest.
_LEVEL = 4
#: Deflate, no name, no time, any system.
_GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")


@dataclass(frozen=True, slots=True)
class _Deflated:
    """Whole blocks of a deflate stream (RFC 1951) that refer to nothing before them; their text's checksum and size."""

    data: bytes
    crc: int
    size: int


class Page:
    """One exposition. It is assembled and compressed on the first request. For any thread."""

    def __init__(self, families: Sequence[tuple[Family, Sequence[bytes]]] = ()) -> None:
        """Of each family its head is taken from one, and after it the lines of its series."""
        self._families = families
        self._deflated: dict[bool, _Deflated] = {}
        self._lock = threading.Lock()

    def plain(self, *, openmetrics: bool) -> bytes:
        """As it is; without OpenMetrics' end mark, because something may follow."""
        return b"".join(self.chunks(openmetrics=openmetrics))

    def gzipped(self, rest: bytes, *, openmetrics: bool) -> bytes:
        """The same and ``rest`` behind it as one gzip file."""
        return b"".join(self.gzip_chunks(rest, openmetrics=openmetrics))

    def gzip_chunks(self, rest: bytes, *, openmetrics: bool) -> Sequence[bytes]:
        """What :meth:`gzipped` is made of; only ``rest`` is compressed each time.

        One member (RFC 1952), because not every client reads a second one.
        """
        page = self._compressed(openmetrics=openmetrics)
        compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
        end = struct.pack("<LL", zlib.crc32(rest, page.crc), (page.size + len(rest)) & 0xFFFFFFFF)
        return [_GZIP_HEADER, page.data, compressor.compress(rest), compressor.flush(), end]

    def _compressed(self, *, openmetrics: bool) -> _Deflated:
        with self._lock:
            if openmetrics not in self._deflated:
                compressor, data, crc, size = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS), [], 0, 0
                for chunk in self.chunks(openmetrics=openmetrics):
                    data.append(compressor.compress(chunk))
                    crc, size = zlib.crc32(chunk, crc), size + len(chunk)
                data.append(compressor.flush(zlib.Z_FULL_FLUSH))
                self._deflated[openmetrics] = _Deflated(b"".join(data), crc, size)
            return self._deflated[openmetrics]

    def chunks(self, *, openmetrics: bool) -> Iterator[bytes]:
        """What :meth:`plain` is made of, large and small, and no copies."""
        for family, lines in self._families:
            yield _head(family, openmetrics=openmetrics)
            yield from lines


class Encoder:
    """Encodes one snapshot after another, each family of an experiment again only when it changed."""

    def __init__(self) -> None:
        # By identity: a snapshot keeps the families that stay. The family is kept, so that its id stays its own.
        self._now: dict[int, tuple[Family, bytes]] = {}
        self._before: dict[int, tuple[Family, bytes]] = {}

    def turn(self) -> None:
        """Another snapshot begins; what the one before the last had is forgotten."""
        self._now, self._before = {}, self._now

    def page(self, snapshot: Snapshot) -> Page:
        """All experiments together."""
        return Page([(parts[0], [self._lines(family) for family in parts]) for parts in snapshot.parts()])

    def text(self, families: Iterable[Family]) -> bytes:
        """Whole families in the text format 0.0.4, without timestamps."""
        return b"".join(part for family in families for part in (_head(family, openmetrics=False), self._lines(family)))

    def _lines(self, family: Family) -> bytes:
        entry = self._now.get(id(family)) or self._before.get(id(family)) or (family, _lines(family))
        self._now[id(family)] = entry
        return entry[1]


def _head(family: Family, *, openmetrics: bool) -> bytes:
    name, text = family.name, escaped(family.help) if openmetrics else escaped_help(family.help)
    if openmetrics and family.type == "counter":
        name = name.removesuffix("_total")
    return f"# HELP {name} {text}\n# TYPE {name} {family.type}\n".encode()


def _lines(family: Family) -> bytes:
    labels = ",".join(f'{label}="%s"' for label in family.labels)
    template = f"{family.name}{{{labels}}} %s\n" if labels else f"{family.name} %s\n"
    escape, spell = escaped, number  # looked up once, not for each of many thousand series
    return "".join([template % (*map(escape, series.labels), spell(series.value)) for series in family.series]).encode()


def number(value: float) -> str:
    """As Prometheus and OpenMetrics spell it."""
    return nonfinite_name(value) or repr(value)
