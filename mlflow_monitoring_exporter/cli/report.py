"""``generate-report``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_monitoring_exporter.cli.output import print_result, redactor, replaced
from mlflow_monitoring_exporter.cli.question_options import QuestionOptions
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

_DAY_MS = 86_400_000


def generate_report(
    options: QuestionOptions,
    output: Annotated[Path, typer.Option(help="File to write, .html or .pdf; it is replaced as a whole.")] = Path(
        "report.html"
    ),
    days: Annotated[int, typer.Option(help="Over so many days up to now, unless --since says otherwise.", min=1)] = 30,
    metric: Annotated[str | None, typer.Option(help="What ranks runs. [default: one for each experiment]")] = None,
) -> None:
    """A report to show to somebody: one file that loads nothing, with the best runs, what they depend on, what failed.

    Needs the extra "report", and "analysis" for the importance of parameters.
    """
    kind = output.suffix.lower()
    if kind not in {".html", ".htm", ".pdf"}:
        raise ConfigError([ConfigProblem("--output", "", f"{output.name} ends neither in .html nor in .pdf")])
    from mlflow_monitoring_exporter.questions.report import make_report
    from mlflow_monitoring_exporter.report.write import write_html, write_pdf

    which = options.which()
    until = which.until_ms if which.until_ms is not None else now_ms()
    since = which.since_ms if which.since_ms is not None else until - days * _DAY_MS
    with options.ask() as questions:
        report = make_report(questions, which, since_ms=since, until_ms=until, metric=metric)
    with replaced(output) as file:
        (write_pdf if kind == ".pdf" else write_html)(report, file, redactor.text)
    runs = sum(report.counts.values())
    print_result(f"{output}: {runs} runs in {len(report.counts)} experiments, {output.stat().st_size / 1e6:.1f} MB")
