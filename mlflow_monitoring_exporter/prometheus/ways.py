"""Gauges of MLflow reach Prometheus in two ways, by scrape and through a Pushgateway, and expressions pick one."""

from __future__ import annotations

#: Seconds after which what was pushed counts no more. The exporter pushes what has not changed every ten minutes.
PUSHED_WITHIN = 3600


def one_way(labels: str, selector: str, function: str = "{}") -> str:
    """The largest value by these labels: of what is scraped or, where nothing is, of what was pushed lately.

    ``selector`` is of one or several families, ``function`` what is done with it, such as ``avg_over_time({}[10m])``.
    Series that were pushed have the job of their group's ``push_time_seconds``, which is the Pushgateway's own.
    """
    series = function.format(selector)
    lately = f"(time() - push_time_seconds < {PUSHED_WITHIN})"
    return (
        f"(max by ({labels}) ({series} unless on (job) push_time_seconds) "
        f"or max by ({labels}) ({series} and on (job, server, experiment_id) {lately}))"
    )
