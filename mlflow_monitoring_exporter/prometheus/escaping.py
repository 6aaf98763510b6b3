"""Text inside Prometheus' formats: label values, help texts, and strings of PromQL."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def escaped(text: str) -> str:
    """A label's value, a help text of OpenMetrics, or a string of PromQL, without its quotes."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def escaped_help(text: str) -> str:
    """A help text in the text format 0.0.4, which leaves quotes alone."""
    return text.replace("\\", r"\\").replace("\n", r"\n")


def quoted(text: str) -> str:
    """A string of PromQL."""
    return f'"{escaped(text)}"'
