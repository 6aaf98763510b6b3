"""What /metrics answers: the self metrics and the pages of scraped exporters, in the format that was asked for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.datastructures import Headers
from starlette.responses import Response

from mlflow_monitoring_exporter.exporters.contract import ScrapedExporter
from mlflow_monitoring_exporter.exporters.exposition import Page


class MetricsPage:
    """``registry`` is small and encoded with every request; the pages of ``scraped`` are ready."""

    def __init__(self, registry: CollectorRegistry, scraped: Iterable[ScrapedExporter]) -> None:
        self._registry = registry
        self._scraped = scraped

    def answer(self, headers: Headers) -> Response:
        """For a request with these headers."""
        encode, content_type = choose_encoder(headers.get("accept", ""))
        openmetrics = content_type.startswith("application/openmetrics-text")
        first, *others = [exporter.page for exporter in self._scraped] or [Page()]
        # The self metrics come last, and with them OpenMetrics' end mark.
        rest = b"".join([*(page.plain(openmetrics=openmetrics) for page in others), encode(self._registry)])
        answer = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if not _takes_gzip(headers.get("accept-encoding", "")):
            return Response(first.plain(openmetrics=openmetrics) + rest, headers=answer)
        body = first.gzipped(rest, openmetrics=openmetrics)
        return Response(body, headers={**answer, "Content-Encoding": "gzip"})


def _takes_gzip(accepted: str) -> bool:
    """What Accept-Encoding says of gzip (RFC 9110, 12.5.3)."""
    qualities: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        quality = next((p.partition("=")[2].strip() for p in parameters if p.replace(" ", "").startswith("q=")), "1")
        qualities[coding] = quality.strip("0.") != ""
    return qualities.get("gzip", qualities.get("*", False))
