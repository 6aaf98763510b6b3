"""A report as a file: HTML or PDF, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from mlflow_monitoring_exporter.analysis.report import Report
from mlflow_monitoring_exporter.core.errors import MissingExtraError, MonitoringExporterError


def write_html(report: Report, file: BinaryIO, redact: Callable[[str], str] = str) -> None:
    """One page that loads nothing. Raises MissingExtraError."""
    file.write(redact(_page(report, interactive=True)).encode())


def write_pdf(report: Report, file: BinaryIO, redact: Callable[[str], str] = str) -> None:
    """The same on paper. Raises MissingExtraError, and MonitoringExporterError where a library of the system lacks."""
    html = redact(_page(report, interactive=False))
    try:
        import weasyprint  # noqa: PLC0415 - an extra
        from weasyprint.urls import URLFetcher  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("a report as PDF", "report", error.name) from None
    except OSError as error:  # it loads Pango
        raise MonitoringExporterError(
            "a report as PDF needs the library Pango "
            f"(Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0): {error}"
        ) from None
    # Pictures are in the page; nothing else is fetched.
    weasyprint.HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=("data",))).write_pdf(file)


def _page(report: Report, *, interactive: bool) -> str:
    try:
        from mlflow_monitoring_exporter.report.page import page  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("a report", "report", error.name) from None
    return page(report, interactive=interactive)
