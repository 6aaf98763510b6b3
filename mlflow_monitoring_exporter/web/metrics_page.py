"""What /metrics answers: the self metrics and the pages of scraped exporters, in the format that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlflow_monitoring_exporter.exporters.contract import ScrapedExporter
from mlflow_monitoring_exporter.prometheus.exposition import Page
from mlflow_monitoring_exporter.web.negotiation import Format, best, takes_gzip

#: Bytes that are handed to a connection at a time: one that takes nothing holds little more of a large page.
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Offer:
    """A format of the page. All names are ASCII, so no format needs a scheme to escape others."""

    format: Format
    openmetrics: bool
    encode: Callable[[CollectorRegistry], bytes]

    @property
    def content_type(self) -> str:
        return "; ".join([self.format.type, *(f"{name}={value}" for name, value in self.format.parameters.items())])


def _offer(kind: str, version: str, encode: Callable[[CollectorRegistry], bytes]) -> _Offer:
    return _Offer(Format(kind, {"version": version, "charset": "utf-8"}), kind != "text/plain", encode)


#: Best first, for a client that does not care.
_OFFERS = (
    _offer("text/plain", "0.0.4", generate_latest),
    _offer("text/plain", "1.0.0", generate_latest),
    _offer("application/openmetrics-text", "1.0.0", generate_openmetrics),
)
_FORMATS = [offer.format for offer in _OFFERS]


class MetricsPage:
    """``registry`` is small and encoded with every request; the pages of ``scraped`` are ready."""

    def __init__(self, registry: CollectorRegistry, scraped: Iterable[ScrapedExporter]) -> None:
        self._registry = registry
        self._scraped = scraped

    def answer(self, headers: Headers) -> InPieces:
        """For a request with these headers."""
        offer = _OFFERS[best(_all(headers, "accept"), _FORMATS)]
        openmetrics = offer.openmetrics
        first, *others = [exporter.page for exporter in self._scraped] or [Page()]
        # The self metrics come last, and with them OpenMetrics' end mark.
        rest = b"".join([*(page.plain(openmetrics=openmetrics) for page in others), offer.encode(self._registry)])
        answer = {"Content-Type": offer.content_type, "Vary": "Accept, Accept-Encoding"}
        if not takes_gzip(_all(headers, "accept-encoding")):
            return InPieces([*first.chunks(openmetrics=openmetrics), rest], answer)
        body = first.gzip_chunks(rest, openmetrics=openmetrics)
        return InPieces(body, {**answer, "Content-Encoding": "gzip"})


def _all(headers: Headers, name: str) -> str:
    """A header that may be there several times."""
    return ", ".join(headers.getlist(name))


class InPieces(Response):
    """An answer of known length that waits for its reader.

    Its parts are the page's own, not copies: many who ask for a large page and do not read it cost little.
    """

    def __init__(self, parts: Sequence[bytes], headers: dict[str, str]) -> None:
        super().__init__(headers={**headers, "Content-Length": str(sum(map(len, parts)))})
        self.parts = parts

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in _pieces(self.parts):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The same bytes, as many at a time as are worth a call."""
    small: list[bytes] = []
    size = 0
    for part in parts:
        for begin in range(0, len(part), _PIECE):
            small.append(part[begin : begin + _PIECE])
            size += len(small[-1])
            if size >= _PIECE:
                yield b"".join(small)
                small, size = [], 0
    if small:
        yield b"".join(small)
