"""``make bench``: every benchmark, one after the other; with ``--quick`` a tenth of the work."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import backlog, first_load


def main() -> None:
    for benchmark in (first_load, backlog):
        benchmark.main(Path(".bench"), quick="--quick" in sys.argv[1:])


if __name__ == "__main__":
    main()
