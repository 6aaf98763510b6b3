"""``make bench``: every benchmark, one after the other, or those that are named; with ``--quick`` a tenth of the work.

Tables go to standard output, then the same as one line of JSON, which .bench/results.json holds, too. With ``--quick``
ratios are compared with those of bench/ratios.json: half as much again fails. ``--keep`` writes that file anew.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import structlog

from bench import (
    alerting,
    backlog,
    dashboards,
    first_load,
    freshness,
    guard,
    polls,
    predictions,
    questions,
    replicas,
    surface,
    tracking_calls,
    tracking_million,
    whole,
    wide_run,
)

_BENCHMARKS = {
    "first_load": first_load,
    "whole": whole,
    "polls": polls,
    "wide_run": wide_run,
    "backlog": backlog,
    "surface": surface,
    "freshness": freshness,
    "alerting": alerting,
    "dashboards": dashboards,
    "replicas": replicas,
    "predictions": predictions,
    "questions": questions,
    "tracking_calls": tracking_calls,
    "tracking_million": tracking_million,
}


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    directory = Path(".bench")
    quick = "--quick" in sys.argv[1:]
    names = [name for name in sys.argv[1:] if name in _BENCHMARKS] or list(_BENCHMARKS)
    results = [result for name in names for result in _BENCHMARKS[name].main(directory, quick=quick)]
    path = directory / "results.json"
    path.write_text(json.dumps(results, indent=2))
    print(f"\n{json.dumps(results)}")
    if quick and "--keep" in sys.argv[1:]:
        guard.keep(results)
    elif quick and (slower := guard.slower(results)):
        sys.exit("\n".join(["slower than bench/ratios.json says:", *slower]))


if __name__ == "__main__":
    main()
